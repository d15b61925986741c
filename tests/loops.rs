//! Hosts with loops of their own: a server inside libuv, inside GLib and inside plain epoll; many
//! servers and arbiters in one process; and what all that leaves behind in the process: nothing.
//!
//! The programs are `tests/c/loop_*.c`.

mod harness;

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::client::{Client, End};
use harness::{SIGTERM, Server, support, until};

/// A foreign loop's program: its source, what pkg-config calls the loop, and Debian its package.
struct Loop {
    source: &'static str,
    library: Option<(&'static str, &'static str)>,
}

const EPOLL: Loop = Loop { source: "loop_epoll.c", library: None };
const UV: Loop = Loop { source: "loop_uv.c", library: Some(("libuv", "libuv1-dev")) };
const GLIB: Loop = Loop { source: "loop_glib.c", library: Some(("glib-2.0", "libglib2.0-dev")) };

impl Loop {
    fn program(&self, test: &str) -> PathBuf {
        let mut flags = Vec::new();
        if let Some((name, package)) = self.library {
            let ask = Command::new("pkg-config").args(["--cflags", "--libs", name]).output();
            let found = ask.ok().filter(|found| found.status.success());
            let found = found.unwrap_or_else(|| {
                panic!("pkg-config finds no {name}: install {package} (make setup)")
            });
            // Their headers are not what the strict warnings are for.
            let words = String::from_utf8(found.stdout).expect("flags are text");
            let words = words.split_whitespace();
            flags.extend(words.map(|word| match word.strip_prefix("-I") {
                Some(dir) => format!("-isystem{dir}"),
                None => word.to_owned(),
            }));
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        compile(self.source, test, &flags)
    }

    /// A server in this loop; tests run side by side, so that each has its own program.
    fn start(&self, test: &str, options: &[&str]) -> Server {
        Server::start(&self.program(test), &[&["{}"], options].concat())
    }
}

fn compile(source: &str, test: &str, flags: &[&str]) -> PathBuf {
    let out = support::scratch_dir().join(format!("{}-{test}", source.trim_end_matches(".c")));
    support::compile_c(&support::root().join("tests/c").join(source), &out, flags);
    out
}

/// `/state`: threads, turns.
fn state(client: &mut Client) -> (u64, u64) {
    let text = client.get("/state").text();
    let words: Vec<&str> = text.split(' ').collect();
    let number = |at: usize| words[at].parse().expect("a number");
    assert_eq!((words[0], words[2]), ("threads", "turns"), "{text}");
    (number(1), number(3))
}

/// Requests one after the other and many at once, kept alive, with bodies; one thread; and no more
/// turns than there is to do.
fn serves(host: &Loop) {
    let server = host.start("serves", &["keepalive=1h"]);
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    let mut requests = 0;
    for _ in 0..40 {
        for client in &mut clients {
            let response = client.get("/");
            assert_eq!(response.text(), "hello, loop\n");
            assert!(response.keeps_alive());
            requests += 1;
        }
    }
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(16));
    }
    for client in &mut clients {
        for _ in 0..16 {
            assert_eq!(client.response("GET").text(), "hello, loop\n");
            requests += 1;
        }
    }
    // More than sockets hold: the loop must come back for the rest, in both directions.
    let large = vec![b'x'; 8 << 20];
    assert!(clients[0].post("/echo", &large).body == large, "the body came back changed");

    let (threads, turns) = state(&mut clients[0]);
    assert_eq!(threads, 1);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("its threads");
    assert_eq!(tasks.count(), 1);
    // A loop that does not wait turns many thousand times in this while.
    thread::sleep(Duration::from_millis(500));
    let (_, later) = state(&mut clients[0]);
    assert!(later - turns < 50, "{} turns while idle", later - turns);
    assert!(turns < 4 * requests + 4000, "{turns} turns for {requests} requests");
    assert_eq!(server.stop().stdout, "stopped\n");
}

/// Nothing comes any more, so that time alone can end these connections: what the server asked the
/// loop to wait is kept.
fn times_out(host: &Loop) {
    let server = host.start("times-out", &["keepalive=1s", "header_timeout=1200ms"]);
    let mut idle = server.connect();
    assert_eq!(idle.get("/").text(), "hello, loop\n");
    assert_eq!(idle.end(), End::Closed);

    let mut slow = server.connect();
    slow.send("GET / HTTP/1.1\r\nHos");
    assert_eq!(slow.response("GET").status, 408);
    assert_eq!(slow.end(), End::Closed);
    server.stop();
}

/// A graceful stop from outside of the turn: what is under way is answered, nothing else begins.
fn stops(host: &Loop) {
    let server = host.start("stops", &["keepalive=1h", "graceful_timeout=1h", "body_timeout=1h"]);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    assert_eq!(idle.get("/").text(), "hello, loop\n");
    busy.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    // Answered after the half was read: the server turns in order.
    assert_eq!(idle.get("/").text(), "hello, loop\n");

    server.signal(SIGTERM);
    assert_eq!(idle.end(), End::Closed);
    until("it accepts no connections", || TcpStream::connect(server.address()).is_err());
    busy.send("full");
    let response = busy.response("POST");
    assert_eq!(response.text(), "halffull");
    assert!(!response.keeps_alive());
    assert_eq!(busy.end(), End::Closed);
    let ended = server.end();
    assert_eq!((ended.status, &*ended.stdout), (Some(0), "stopped\n"), "{ended:?}");
}

macro_rules! hosts {
    ($($name:ident: $host:expr;)*) => { $(
        mod $name {
            #[test]
            fn serves() {
                super::serves(&$host);
            }
            #[test]
            fn times_out() {
                super::times_out(&$host);
            }
            #[test]
            fn stops() {
                super::stops(&$host);
            }
        }
    )* };
}

hosts! {
    epoll: super::EPOLL;
    uv: super::UV;
    glib: super::GLIB;
}

// ---- what is left behind ----

/// An address of its own for each program that is not a [`Server`].
fn address(number: u8) -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{number}:8001", 1 + (pid >> 8) % 254, pid % 256)
}

/// A directory with a short path, as sockets need it; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("gateway-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("create a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A thousand times two servers and three arbiters at once, a process and two threads as workers,
/// requests to all of them, and an address that is taken: memory and descriptors stay what they were.
#[test]
fn many_servers_and_arbiters_leave_nothing() {
    let program = compile("loop_churn.c", "many", &[]);
    let directory = Directory::new("many");
    let mut churn = Command::new(program);
    let said = support::run(churn.arg(address(1)).arg(&directory.0).arg("1000"));
    let rows: Vec<Vec<i64>> = said
        .lines()
        .map(|line| line.split(' ').map(|n| n.parse().expect("a number")).collect())
        .collect();
    let [early, late] = &rows[..] else { panic!("{said}") };
    assert_eq!((early[0], late[0]), (100, 1000), "{said}");
    assert!(early[1] > 0, "no resident memory: {said}");
    let growth = late[1] - early[1];
    assert!(growth < 256, "{growth} KiB in 900 rounds: {said}");
    assert_eq!(late[2], early[2], "descriptors: {said}");
}

/// How the process was and is, after a scenario of `tests/c/loop_state.c`.
fn state_after(program: &PathBuf, number: u8, scenario: &str) -> (bool, String) {
    let directory = Directory::new(scenario);
    let mut state = Command::new(program);
    let ended = support::output(state.arg(scenario).arg(address(number)).arg(&directory.0));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let code = ended.status.code();
    assert!(matches!(code, Some(0 | 1)) && stderr.is_empty(), "{scenario}: {ended:?}");
    (code == Some(0), String::from_utf8(ended.stdout).expect("facts are text"))
}

fn state_program(test: &str) -> PathBuf {
    compile("loop_state.c", test, &["-rdynamic", "-ldl"])
}

#[test]
fn the_process_is_as_before() {
    let program = state_program("before");
    let scenarios = [
        "server",
        "server-cut",
        "serve-inline",
        "arbiter-term",
        "arbiter-int",
        "arbiter-host",
        "arbiter-kill",
        "arbiter-cut",
        "threads-term",
        "threads-int",
        "threads-host",
        "threads-kill",
        "threads-cut",
        "failures",
    ];
    for (number, scenario) in (2..).zip(scenarios) {
        let (same, said) = state_after(&program, number, scenario);
        assert!(same && said == "same\n", "{scenario}:\n{said}");
    }
}

/// What the test above looks at: each of these is a change that it must see.
#[test]
fn a_process_that_is_not_as_before_is_noticed() {
    let program = state_program("noticed");
    let changes = [
        ("spoil-action", "+ signal 13: 0x1"),
        ("spoil-flags", "+ signal 15: "),
        ("spoil-mask", "SigBlk:"),
        ("spoil-umask", "Umask:"),
        ("spoil-environ", "SPOILT=1"),
        ("spoil-fd", "+ descriptor "),
        ("spoil-fd-flags", "+ descriptor 0: "),
        ("spoil-nonblock", "+ descriptor 2: "),
        ("spoil-atexit", "+ at exit 1"),
        ("spoil-name", "spoilt"),
        ("spoil-cwd", "+ cwd /\n"),
        ("spoil-limit", "+ limit 7: "),
        ("spoil-child", "+ waitpid 0"),
        ("spoil-thread", "+ thread "),
    ];
    for (change, sign) in changes {
        let (same, said) = state_after(&program, 100, change);
        assert!(!same && said.contains(sign), "{change}: no `{sign}` in\n{said}");
    }
}

/// Handlers for the end of the process, which a process cannot list: the library does not even know
/// the functions that would register one.
#[test]
fn the_library_registers_nothing_for_the_end_of_the_process() {
    let mut nm = Command::new("nm");
    let text = support::run(nm.args(["-D", "--undefined-only"]).arg(support::library()));
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_whitespace().last()?.split('@').next()).collect();
    assert!(names.contains(&"sigaction"), "{text}");
    for name in ["atexit", "__cxa_atexit", "on_exit", "at_quick_exit", "__cxa_at_quick_exit"] {
        assert!(!names.contains(&name), "the library uses {name}");
    }
    // Of umask only the option of this name makes use, and of chdir a new process that becomes the
    // program again: the_process_is_as_before knows it without.
    for name in ["pthread_atfork", "__register_atfork", "exit", "setrlimit"] {
        assert!(!names.contains(&name), "the library uses {name}");
    }
}
