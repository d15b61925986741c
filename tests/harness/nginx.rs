//! nginx with `ngx_http_gateway_module`: the real server, built for, configured and started.
//!
//! Each has a directory and a loopback address of its own, stays in the foreground as a child of the
//! test, and is ended by its process id.  A configuration says `${RUN}`, `${IP}`, `${SUITE}` and so on
//! (see [`Nginx::names`]); the frame around it is [`FRAME`].

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::again::{lives, processes_of};
use super::client::{Client, Response};
use super::fronts::{Dir, installed};
use super::life::named_by;
use super::{PATIENCE, SIGKILL, SIGQUIT, kill, support, until};

const SIGHUP: i32 = 1;

/// What is around `http { }`.
const FRAME: &str = "
load_module ${MODULE};
user root;
pid ${RUN}/nginx.pid;
error_log ${RUN}/error.log info;
";

/// What is always in `http { }`.
const HTTP: &str = "
    log_format gateway '$status $gateway_status $gateway_app_time $gateway_queue_time \"$request\"';
    access_log ${RUN}/access.log gateway;
    client_body_temp_path ${RUN}/body;
    proxy_temp_path ${RUN}/proxy;
    fastcgi_temp_path ${RUN}/fastcgi;
    uwsgi_temp_path ${RUN}/uwsgi;
    scgi_temp_path ${RUN}/scgi;
    client_max_body_size 0;
    merge_slashes off;
";

/// The module, built against the sources of the nginx that is installed, with the library of this run.
pub fn module() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = support::scratch_dir().join("nginx");
        let build = support::root().join("bindings/nginx/build");
        support::run(Command::new(build).arg(&out).arg(support::library_dir()));
        out.join("objs/ngx_http_gateway_module.so")
    })
}

/// An application as a module: a C source that has `gw_module_init`.
pub fn application(source: &str) -> PathBuf {
    let name = Path::new(source).file_stem().expect("a file").to_string_lossy().into_owned();
    let place = support::scratch_dir().join(format!("{name}-module.so"));
    let fresh = place.with_extension(std::process::id().to_string());
    support::compile_c(&support::root().join(source), &fresh, &["-shared", "-fPIC"]);
    fs::rename(&fresh, &place).expect("put the module in place");
    place
}

/// `tests/c/suite.c` as a module; its arguments may be `blocks`, which makes it one that needs threads.
pub fn suite() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| application("tests/c/suite.c"))
}

/// A program of nginx's, and the module that was built for it.
#[derive(Clone, Debug)]
pub struct Build {
    pub program: PathBuf,
    pub module: PathBuf,
}

impl Build {
    /// The nginx that is installed.
    pub fn installed() -> Build {
        Build { program: installed("nginx"), module: module().to_path_buf() }
    }
}

/// A server that runs.
pub struct Nginx {
    /// None: it is nobody's child, and known by its pid file.
    child: Option<Child>,
    build: Build,
    dir: Dir,
    ip: String,
}

impl Nginx {
    /// Start with this inside `http { }`, and one worker; the rest is usual.
    pub fn start(http: &str) -> Nginx {
        Nginx::launch("", http).listening()
    }

    /// The same, with `main` beside `http { }`; without waiting.
    pub fn launch(main: &str, http: &str) -> Nginx {
        Nginx::launch_as(Build::installed(), main, http)
    }

    /// The same of another nginx.
    pub fn launch_as(build: Build, main: &str, http: &str) -> Nginx {
        let (dir, ip) = (Dir::new(), address());
        configure(&build, &dir, &ip, main, http);
        let mut command = Command::new(&build.program);
        let child = arguments(&mut command, &dir)
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .spawn()
            .expect("start nginx");
        Nginx { child: Some(child), build, dir, ip }
    }

    /// One that goes into the background: only such a one starts another in its place (USR2).
    pub fn daemon(main: &str, http: &str) -> Nginx {
        let (build, dir, ip) = (Build::installed(), Dir::new(), address());
        configure(&build, &dir, &ip, main, http);
        support::run(arguments(&mut Command::new(&build.program), &dir));
        let nginx = Nginx { child: None, build, dir, ip };
        until("nginx says which process it is", || nginx.pid_in("nginx.pid").is_some());
        nginx.listening()
    }

    /// One process, in the foreground, under valgrind; when it stops, nothing may have been found.
    pub fn under_valgrind(http: &str) -> Nginx {
        let (build, dir, ip) = (Build::installed(), Dir::new(), address());
        configure(&build, &dir, &ip, "", http);
        let mut command = Command::new("valgrind");
        command.args(["-q", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
        command.args(["--errors-for-leak-kinds=definite,indirect"]);
        let known = support::root().join("tests/valgrind.supp");
        command.arg(format!("--suppressions={}", known.display()));
        command.arg(format!("--log-file={}/found.%p", dir.path().display()));
        let child = arguments(command.arg(&build.program), &dir)
            .args(["-g", "daemon off; master_process off;"])
            .stdin(Stdio::null())
            .spawn()
            .expect("start valgrind");
        let nginx = Nginx { child: Some(child), build, dir, ip };
        let address = nginx.address(nginx.port());
        until("nginx serves under valgrind", || TcpStream::connect(&address).is_ok());
        nginx
    }

    /// `nginx -t` of such a configuration: whether it is good, and what is said.
    pub fn test(main: &str, http: &str) -> (bool, String) {
        let (dir, build) = (Dir::new(), Build::installed());
        configure(&build, &dir, &address(), main, http);
        let mut command = Command::new(&build.program);
        let Output { status, stdout, stderr } =
            support::output(arguments(&mut command, &dir).arg("-t"));
        (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// When it has answered, and has all its workers: what listens may not have one yet.
    pub fn listening(mut self) -> Nginx {
        let address = self.address(self.port());
        let since = Instant::now();
        while TcpStream::connect(&address).is_err() || self.workers().len() < self.wanted() {
            if let Some(status) = self.ended() {
                panic!("nginx ended with {status}: {}", self.log());
            }
            assert!(since.elapsed() < PATIENCE, "nginx does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }

    /// How many workers the configuration asks for.
    fn wanted(&self) -> usize {
        let text = self.read("nginx.conf");
        let word = text.split("worker_processes ").nth(1).and_then(|it| it.split(';').next());
        word.map_or(1, |number| number.parse().expect("worker_processes"))
    }

    /// The first port of the configuration.
    fn port(&self) -> u16 {
        let text = self.read("nginx.conf");
        let at = text.split(&format!("{}:", self.ip)).nth(1).expect("listen ${IP}:port");
        at.split(|it: char| !it.is_ascii_digit())
            .next()
            .and_then(|it| it.parse().ok())
            .expect("a port")
    }

    pub fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.ip)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> i32 {
        match &self.child {
            Some(child) => i32::try_from(child.id()).expect("a process id"),
            None => self.pid_in("nginx.pid").expect("a pid file"),
        }
    }

    /// The master that a pid file names: `nginx.pid`, or `nginx.pid.oldbin`.
    pub fn pid_in(&self, file: &str) -> Option<i32> {
        named_by(&self.dir.path().join(file).display().to_string())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("wait for nginx")
    }

    /// Those that serve, also those that are to exit.
    pub fn workers(&self) -> Vec<i32> {
        processes_of(self.pid())
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Another configuration, for a reload.
    pub fn configure(&self, main: &str, http: &str) {
        configure(&self.build, &self.dir, &self.ip, main, http);
    }

    /// `nginx -s reload`, until all workers are others.
    pub fn reload(&self) {
        let before = self.workers();
        self.signal(SIGHUP);
        until("there are other workers, and only those", || {
            let now = self.workers();
            now.len() == self.wanted() && now.iter().all(|pid| !before.contains(pid))
        });
    }

    /// The error log.
    pub fn log(&self) -> String {
        self.read("error.log")
    }

    /// A file of its directory.
    pub fn read(&self, name: &str) -> String {
        let octets = fs::read(self.dir.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Lines of the error log that are worse than a warning.
    pub fn errors(&self) -> Vec<String> {
        let is_bad = |line: &&str| {
            ["[error]", "[crit]", "[alert]", "[emerg]"].iter().any(|level| line.contains(level))
        };
        self.log().lines().filter(is_bad).map(str::to_owned).collect()
    }

    /// Let it end what it does; nothing may have gone wrong.
    pub fn stop(self) {
        self.stop_with(|_| false);
    }

    /// The same, but for errors that are `expected`.
    pub fn stop_with(self, expected: impl Fn(&str) -> bool) {
        self.end_with(SIGQUIT, expected);
    }

    /// The same by another signal.
    pub fn end_with(mut self, signal: i32, expected: impl Fn(&str) -> bool) {
        let pid = self.pid();
        self.signal(signal);
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.ended() {
                break (status.code(), status.signal());
            }
            if self.child.is_none() && !lives(pid) {
                break (Some(0), None);
            }
            assert!(since.elapsed() < PATIENCE, "nginx does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status, (Some(0), None), "{}", self.log());
        let mut wrong = self.errors();
        wrong.retain(|line| !expected(line));
        assert!(wrong.is_empty(), "{wrong:#?}");
        let log = self.log();
        let ended = log.lines().find(|line| line.contains("exited on signal"));
        assert_eq!(ended, None);
        let found = self.found();
        assert!(found.is_empty(), "the checker found:\n{found}");
    }

    /// What valgrind has found.
    fn found(&self) -> String {
        let entries = fs::read_dir(self.dir.path()).expect("read the directory").flatten();
        let found = entries.filter(|it| it.file_name().to_string_lossy().starts_with("found."));
        found.map(|it| fs::read_to_string(it.path()).expect("read a finding")).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let mut masters = Vec::new();
        if self.child.is_none() {
            masters.extend(["nginx.pid.oldbin", "nginx.pid"].map(|it| self.pid_in(it)));
        } else if self.ended().is_none() {
            masters.push(Some(self.pid()));
        }
        // The masters first: they would start others.
        let masters: Vec<i32> = masters.into_iter().flatten().filter(|pid| lives(*pid)).collect();
        let workers: Vec<i32> = masters.iter().flat_map(|master| processes_of(*master)).collect();
        for pid in masters.into_iter().chain(workers) {
            kill(pid, SIGKILL);
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
        // See the other servers: the test does not know.
        if std::thread::panicking() {
            let (found, log) = (self.found(), self.log());
            if !found.is_empty() {
                eprintln!("the checker found:\n{found}");
            }
            if log.contains("exited on signal") || log.contains("panicked at") {
                eprintln!("the server crashed:\n{log}");
            }
        }
    }
}

/// One that nobody else has.
fn address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (count, pid) = (COUNT.fetch_add(1, Ordering::Relaxed), std::process::id());
    // Servers of the other kinds count up from 1.
    format!("127.{}.{}.{}", 1 + (pid >> 8) % 254, pid % 256, 254 - count % 100)
}

fn arguments<'a>(command: &'a mut Command, dir: &Dir) -> &'a mut Command {
    let run = dir.path().display().to_string();
    let args = ["-p", &run, "-e", &format!("{run}/error.log"), "-c", &format!("{run}/nginx.conf")];
    command.args(args).current_dir(dir.path())
}

fn configure(build: &Build, dir: &Dir, ip: &str, main: &str, http: &str) {
    let of_events =
        if main.contains("events") { "" } else { "events { worker_connections 1024; }" };
    let mut text = format!("{FRAME}{main}\n{of_events}\nhttp {{{HTTP}{http}\n}}\n");
    let names = [
        ("RUN", dir.path().display().to_string()),
        ("IP", ip.to_owned()),
        ("MODULE", build.module.display().to_string()),
        ("SUITE", suite().display().to_string()),
    ];
    for (name, value) in names {
        text = text.replace(&format!("${{{name}}}"), &value);
    }
    fs::write(dir.path().join("nginx.conf"), text).expect("write the configuration");
}

/// `tests/c/nginx_app.c` as a module: `blocks`, it runs on threads.
pub fn waits() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| application("tests/c/nginx_app.c").display().to_string())
}

/// `server { }` with this, on port 8080; `${APP}` is [`waits`].
pub fn server(inside: &str) -> String {
    format!("server {{ listen ${{IP}}:8080; {inside} }}").replace("${APP}", waits())
}

/// nginx with that.
pub fn start(inside: &str) -> Nginx {
    Nginx::start(&server(inside))
}

pub fn connect(nginx: &Nginx) -> Client {
    Client::connect(&nginx.address(8080))
}

pub fn get(nginx: &Nginx, target: &str) -> Response {
    connect(nginx).get(target)
}

pub fn text(nginx: &Nginx, target: &str) -> String {
    let response = get(nginx, target);
    assert_eq!(response.status, 200, "{target}: {response:?}");
    response.text()
}

/// A request with these lines in its head.
pub fn with(nginx: &Nginx, target: &str, lines: &str) -> Response {
    let mut client = connect(nginx);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n"));
    client.response("GET")
}

/// FNV-1a, as /tell of `tests/c/suite.c` has it.
pub fn digest(octets: &[u8]) -> String {
    let sum =
        octets.iter().fold(2166136261u32, |sum, &it| (sum ^ u32::from(it)).wrapping_mul(16777619));
    format!("body: {} {sum:08x}\n", octets.len())
}
