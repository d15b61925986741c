//! How many system calls a request costs: two on a warm connection, four for a connection of its
//! own, and the wait shared by all that is ready.  Counted by strace; no clock is involved.

mod harness;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use harness::client::{Client, End};
use harness::{SIGCONT, SIGINT, SIGSTOP, Server, kill, program, support, until};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 20;

/// strace, attached to a process.
struct Trace {
    strace: Child,
    path: std::path::PathBuf,
}

impl Trace {
    fn attach(pid: i32) -> Trace {
        let path = support::scratch_dir().join(format!("strace-{pid}"));
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-o"])
            .arg(&path)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("start strace (make setup installs it)");
        let mut line = String::new();
        let stderr = strace.stderr.as_mut().expect("its output");
        BufReader::new(stderr).read_line(&mut line).expect("its first line");
        assert!(line.contains("attached"), "strace may not attach here: {line}");
        Trace { strace, path }
    }

    /// The calls by name.
    fn counts(mut self) -> BTreeMap<String, usize> {
        kill(i32::try_from(self.strace.id()).expect("a process id"), SIGINT);
        self.strace.wait().expect("strace ends");
        let text = std::fs::read_to_string(&self.path).expect("its table");
        std::fs::remove_file(&self.path).expect("remove its table");
        let rows = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        });
        // A debug build of the standard library looks at each descriptor before it closes it.
        let ours = rows.filter(|(_, name)| name != "total" && name != "fcntl");
        ours.map(|(n, name)| (name, n)).collect()
    }
}

fn serving(server: &Server) -> i32 {
    // It accepts connections before it has forked.
    until("there is one worker", || server.workers().len() == 1);
    server.workers()[0]
}

/// One round: all ask while the worker is stopped, so that it finds all of them ready at once.
fn round(worker: i32, clients: impl FnOnce() -> Vec<Client>, close: &str) -> Vec<Client> {
    kill(worker, SIGSTOP);
    let mut clients = clients();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{close}\r\n"));
    }
    kill(worker, SIGCONT);
    for client in &mut clients {
        assert_eq!(client.response("GET").body.len(), 13);
    }
    clients
}

fn hello(address: &str) -> Server {
    let server = Server::start(&program(&["examples/hello.c"]), &[address, "1"]);
    assert_eq!(server.get("/"), "hello, world\n");
    server
}

#[test]
fn a_warm_request_is_one_read_and_one_write() {
    let server = hello("{}");
    let worker = serving(&server);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    clients = round(worker, || clients, "");
    let trace = Trace::attach(worker);
    for _ in 0..ROUNDS {
        clients = round(worker, || clients, "");
    }
    let counts = trace.counts();
    let requests = CONNECTIONS * ROUNDS;
    let total: usize = counts.values().sum();
    // A few waits each round, and what the clock and the heartbeat cost.
    assert!(total <= requests * 2 + ROUNDS * 6, "{requests} requests: {counts:?}");
    drop(clients);
    server.stop();
}

/// Whoever takes them and turns, in one thread: nobody is to be woken.
#[test]
fn a_request_that_is_taken_costs_no_more() {
    let server = Server::start(&program(&["tests/c/taken.c"]), &["{}"]);
    assert_eq!(server.get("/"), "hello, world\n");
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    clients = round(server.pid(), || clients, "");
    let trace = Trace::attach(server.pid());
    for _ in 0..ROUNDS {
        clients = round(server.pid(), || clients, "");
    }
    let counts = trace.counts();
    let requests = CONNECTIONS * ROUNDS;
    let total: usize = counts.values().sum();
    assert!(total <= requests * 2 + ROUNDS * 10, "{requests} requests: {counts:?}");
    drop(clients);
    server.stop();
}

#[test]
fn a_short_connection_is_four_calls() {
    four_calls("{}");
}

/// What connections are told they inherit.
#[test]
fn options_of_a_listener_cost_its_connections_nothing() {
    four_calls("{}?nodelay=1&defer_accept=5&fastopen=16&rcvbuf=64k&sndbuf=64k");
}

fn four_calls(address: &str) {
    let server = hello(address);
    let worker = serving(&server);
    let connect = || (0..CONNECTIONS).map(|_| server.connect()).collect();
    let short = || {
        for mut client in round(worker, connect, "Connection: close\r\n") {
            assert_eq!(client.end(), End::Closed);
        }
    };
    short();
    let trace = Trace::attach(worker);
    for _ in 0..ROUNDS {
        short();
    }
    let counts = trace.counts();
    let requests = CONNECTIONS * ROUNDS;
    let total: usize = counts.values().sum();
    assert_eq!(counts.get("close"), Some(&requests), "{counts:?}");
    // An accept that finds nothing more, and a few waits, each round.
    assert!(total <= requests * 4 + ROUNDS * 12, "{requests} requests: {counts:?}");
    server.stop();
}

/// The kernel holds a static file's path to its root and sends the file: nobody reads it.
#[test]
fn a_static_file_is_opened_twice_and_sent_by_the_kernel() {
    let root = support::scratch_dir().join("syscalls-static");
    std::fs::create_dir_all(&root).expect("make a directory");
    std::fs::write(root.join("large"), vec![b'x'; 500_000]).expect("write a file");
    let app = format!("app=static root={}", root.display());
    let args = ["bind={}", "workers=1", &app];
    let server = Server::start(&program(&["tests/c/builtin.c"]), &args);
    let worker = serving(&server);
    let mut client = server.connect();
    assert_eq!(client.get("/large").body.len(), 500_000);
    let trace = Trace::attach(worker);
    for _ in 0..ROUNDS {
        assert_eq!(client.get("/large").body.len(), 500_000);
        client.send("GET /large HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n");
        assert_eq!(client.response("GET").status, 304);
    }
    let counts = trace.counts();
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let requests = 2 * ROUNDS;
    // The root by its name, and the file below it.
    assert_eq!((count("openat"), count("openat2")), (requests, requests), "{counts:?}");
    assert_eq!(count("close"), 2 * requests, "{counts:?}");
    assert_eq!(count("statx") + count("fstat") + count("newfstatat"), requests, "{counts:?}");
    assert!(count("sendfile") >= ROUNDS && count("pread64") == 0, "{counts:?}");
    server.stop();
}
