//! An engine, the clients that speak to it, and what they receive.

#![allow(dead_code, unused_imports)] // Some test programs use only a part of this.

pub mod capp;
pub mod client;
pub mod response;

use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway::base::error::Result;
use gateway::base::log::Level;
use gateway::base::octets::Pair;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::app::{App, Application};
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;
use gateway::gateway::counters::Counters;
use gateway::server::engine::{Engine, Stop};
use gateway::server::setup::Setup;
use gateway::sys::sock;

pub use capp::Journal;
pub use client::{Client, End};
pub use response::{Framing, Parse, Response};

/// How long anything may take before it counts as hung.  Not what is tested.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the error log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub id: String,
    pub text: String,
}

/// Lines that the server's log callback was given.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    /// The lines that contain `text`.
    pub fn with(&self, text: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.text.contains(text)).collect()
    }
}

/// An engine that the test turns.
pub struct Server {
    pub engine: Engine,
    pub log: Log,
    pub counters: Arc<Counters>,
    stopped: bool,
}

impl Server {
    /// An application that never blocks.
    pub fn new(configure: impl FnOnce(&mut Config), app: impl App + 'static) -> Self {
        Server::with(configure, Application::new(app).nonblocking())
    }

    /// An application that may block: it owns the thread while it runs.
    pub fn blocking(configure: impl FnOnce(&mut Config), app: impl App + 'static) -> Self {
        Server::with(configure, Application::new(app))
    }

    pub fn with(configure: impl FnOnce(&mut Config), app: Application) -> Self {
        Server::made_of(|config| {
            configure(config);
            config.application(app);
        })
    }

    /// No application unless `configure` sets one.
    pub fn made_of(configure: impl FnOnce(&mut Config)) -> Self {
        let log = Log::default();
        let mut config = Config::new();
        config.set("worker_model", "inline").unwrap();
        let lines = Arc::clone(&log.0);
        config.log(
            Level::Debug,
            Box::new(move |record| {
                lines.lock().unwrap().push(Line {
                    level: record.level,
                    id: record.request_id.to_owned(),
                    text: record.message.to_owned(),
                });
            }),
        );
        configure(&mut config);
        let setup = Arc::new(Setup::new(config).unwrap());
        let listeners = setup.bind().unwrap();
        let counters = Arc::new(Counters::default());
        let engine = Engine::new(setup, listeners, counters.clone()).unwrap();
        Server { engine, log, counters, stopped: false }
    }

    /// A client on a unix socket pair, whose other end the engine adopted.
    pub fn connect(&mut self) -> Client {
        let (mine, theirs) = UnixStream::pair().unwrap();
        self.engine.adopt(theirs.into_raw_fd()).unwrap();
        Client::unix(mine)
    }

    /// A client on a TCP connection, whose other end the engine adopted.
    pub fn connect_tcp(&mut self) -> Client {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mine = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        self.engine.adopt(theirs.into_raw_fd()).unwrap();
        Client::tcp(mine)
    }

    /// A client of the first listener, which the engine has to accept.
    pub fn dial(&self) -> Client {
        Client::tcp(std::net::TcpStream::connect(self.engine.listeners()[0].local()).unwrap())
    }

    /// One turn that waits `wait_ms` at most.
    pub fn turn(&mut self, wait_ms: i64) -> Option<i64> {
        let next = self.engine.turn(wait_ms).unwrap();
        self.stopped = next.is_none();
        next
    }

    /// Whether the engine has said that it stopped.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Turn until there is nothing to do but to wait.
    pub fn settle(&mut self) {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < PATIENCE, "the engine never comes to rest");
            let Some(next) = self.turn(0) else { return };
            if next != 0 && !sock::wait_readable(self.engine.fd(), 0).unwrap() {
                return;
            }
        }
    }

    /// Turn until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Server) -> bool) {
        let since = Instant::now();
        while !done(self) {
            assert!(since.elapsed() < PATIENCE, "this never happened: {what}");
            self.turn(5);
        }
    }

    /// Turn until the engine has stopped.
    pub fn finish(&mut self) {
        self.until("the engine stops", |server| server.stopped);
    }

    pub fn stop(&mut self, how: Stop) {
        self.engine.control().stop(how);
    }

    /// The next response on a connection, whole; what follows it stays with the client.
    pub fn reply(&mut self, client: &mut Client) -> Response {
        self.reply_if(client, false)
    }

    /// The same, to a HEAD.
    pub fn reply_to_head(&mut self, client: &mut Client) -> Response {
        self.reply_if(client, true)
    }

    fn reply_if(&mut self, client: &mut Client, to_head: bool) -> Response {
        let mut whole = None;
        self.until("a whole response", |_| {
            client.pull();
            whole = client.take_response(to_head);
            if whole.is_none() && client.end.is_some() {
                panic!("the connection ended ({:?}) with {}", client.end, client.shown());
            }
            whole.is_some()
        });
        whole.unwrap()
    }

    /// Send `request` on a connection of its own; the response, behind which nothing may come.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.connect();
        self.ask_on(&mut client, request)
    }

    /// Send `request`; the response, behind which nothing may come.
    pub fn ask_on(&mut self, client: &mut Client, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.feed(client, request);
        let response = self.reply_if(client, request.starts_with(b"HEAD "));
        self.settle();
        client.pull();
        assert!(client.inbox.is_empty(), "octets behind a response: {}", client.shown());
        response
    }

    /// Send all of `octets`, while the engine takes them.
    pub fn feed(&mut self, client: &mut Client, mut octets: &[u8]) {
        self.until("the server takes what is sent", |server| {
            let n = client.try_send(octets);
            octets = &octets[n..];
            server.settle();
            octets.is_empty()
        });
    }

    /// Turn until the connection has ended; everything that came on it.
    pub fn until_end(&mut self, client: &mut Client) -> End {
        self.until("the end of the connection", |_| {
            client.pull();
            client.end.is_some()
        });
        client.end.unwrap()
    }

    /// A response that was cut: its head and what came of its body.  The client must be able to
    /// tell that something is missing.
    pub fn truncated(&mut self, client: &mut Client) -> Response {
        let end = self.until_end(client);
        match response::parse(&client.inbox, false, Some(end)) {
            Parse::Partial(Some(response)) => response,
            other => panic!("not a truncated response: {other:?} of {}", client.shown()),
        }
    }

    /// Whether the connection is still open, once everything was done.
    pub fn is_kept(&mut self, client: &mut Client) -> bool {
        self.settle();
        client.pull();
        client.end.is_none()
    }
}

/// An application that says hello.
pub fn hello(_: &Environ, start: &StartResponse<'_>) -> Result<Body> {
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_static(b"hello\n"))
}

/// An application that returns the request's body, read to its end.
pub fn echo(env: &Environ, start: &StartResponse<'_>) -> Result<Body> {
    let body = read_to_end(env, 1000)?;
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_vec(body))
}

pub const TEXT: [Pair<'static>; 1] = [Pair::new(b"Content-Type", b"text/plain")];

/// Read to the end, `step` octets at most at a time.
pub fn read_to_end(env: &Environ, step: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = vec![0; step];
    loop {
        match env.read(&mut buf)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// A request with a body of known length.
pub fn post(body: &[u8]) -> Vec<u8> {
    post_with("", body)
}

/// The same, with more header lines.
pub fn post_with(lines: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST /p HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// `body` in chunks of `size` octets.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

pub const POST_CHUNKED: &str = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

pub const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// `n` octets without a pattern that a shift would hide.
pub fn noise(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..n).map(|_| step()).collect()
}

/// A directory that is removed with this.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gateway-conv-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    pub fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the descriptor is open in this process.
pub fn is_open(fd: &impl AsRawFd) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).is_ok()
}

/// The environ for as long as the request runs, which is how long C programs keep theirs: for an
/// iterator that looks at it when it is asked for chunks.
pub fn lasting(env: &gateway::Environ) -> &'static gateway::Environ {
    // SAFETY: an environ stays where it is until the request is over, and the iterators of these
    // tests are dropped before that.
    unsafe { &*std::ptr::from_ref(env) }
}
