//! Starts compiled C servers and speaks HTTP/1.1 to them, octet by octet.
//!
//! `GATEWAY_UNDER=valgrind` or `=sanitize` runs every server under that checker; what the checker
//! finds, in any process of the server, fails the test that stopped the server.
//!
//! Each server listens on a loopback address of its own (127.0.0.0/8 is large), so that tests run
//! side by side without asking for free ports.  Timeouts are generous: they end a hang, they are
//! not what is tested.

#![allow(dead_code)] // Each test program uses its own part of this.

pub mod again;
pub mod client;
pub mod fastcgi;
pub mod fronts;
pub mod host;
pub mod life;
pub mod load;
pub mod nginx;
#[path = "../support/mod.rs"]
pub mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;

/// How long anything may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until it is so: what a process does can be seen a moment after it was told to.
#[track_caller]
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "never, in {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    Nothing,
    Valgrind,
    Sanitizers,
}

/// The checker that this run asks for.
pub fn under() -> Under {
    match std::env::var("GATEWAY_UNDER").as_deref() {
        Err(_) | Ok("") => Under::Nothing,
        Ok("valgrind") => Under::Valgrind,
        Ok("sanitize") => Under::Sanitizers,
        Ok(other) => panic!("GATEWAY_UNDER={other}: valgrind, sanitize or nothing"),
    }
}

/// A number of repetitions: a checker makes each some twenty times slower.
pub fn scaled(n: usize) -> usize {
    if under() == Under::Valgrind { n.div_ceil(20) } else { n }
}

/// The compiled form of C sources (paths below the project's top), made once per test program.
pub fn program(sources: &[&str]) -> PathBuf {
    static MADE: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    let key = sources.join(" ");
    if let Some(path) = made.get(&key) {
        return path.clone();
    }
    let name = sources[0].replace(['/', '.'], "-");
    let out = support::scratch_dir().join(format!("{name}-{:?}", under()));
    // Made under a name of its own: another test program may be running the older one.
    let fresh = out.with_extension(std::process::id().to_string());
    let others: Vec<_> = sources[1..].iter().map(|s| support::root().join(s)).collect();
    let mut extra: Vec<&str> = others.iter().map(|p| p.to_str().expect("a plain path")).collect();
    if under() == Under::Sanitizers {
        extra.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        extra.push("-fno-omit-frame-pointer");
    }
    support::compile_c(&support::root().join(sources[0]), &fresh, &extra);
    fs::rename(&fresh, &out).expect("put the program in place");
    made.insert(key, out.clone());
    out
}

/// In this test program lint is around every application: `tests/c/linted.c` is loaded before.
const LINTED: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"examples_linted");

/// A command that runs `program` under the checker, which writes what it finds into `findings`.
fn checked(program: &Path, findings: &Path) -> Command {
    let mut command = bare(program, findings);
    if LINTED {
        command.env("LD_PRELOAD", linted()).env("LINTED", findings.join("linted"));
    }
    command
}

fn linted() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let out = support::scratch_dir().join(format!("linted-{}.so", std::process::id()));
        let source = support::root().join("tests/c/linted.c");
        support::compile_c(&source, &out, &["-shared", "-fPIC", "-ldl"]);
        out
    };
    MADE.get_or_init(make).clone()
}

fn bare(program: &Path, findings: &Path) -> Command {
    let log = findings.join("found.%p");
    if under() != Under::Valgrind {
        let log = findings.join("found").display().to_string();
        let mut command = Command::new(program);
        command.env("ASAN_OPTIONS", format!("log_path={log}:detect_stack_use_after_return=1"));
        command.env("UBSAN_OPTIONS", format!("log_path={log}:print_stacktrace=1"));
        return command;
    }
    let mut command = Command::new("valgrind");
    command.args(["-q", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
    command.args(["--errors-for-leak-kinds=definite,indirect", "--child-silent-after-fork=no"]);
    let known = support::root().join("tests/valgrind.supp");
    command.arg(format!("--suppressions={}", known.display()));
    command.arg(format!("--log-file={}", log.display())).arg(program);
    command
}

/// A running server; killed if the test forgets it.
pub struct Server {
    child: Child,
    address: String,
    findings: PathBuf,
    /// Workers that are to end at once end where they stand, and free nothing.
    was_hurried: AtomicBool,
}

/// How a server ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Server {
    /// Start a program; `{}` in an argument stands for the address, which is the one argument when
    /// there is none, and `{ip}` for the address without its port.  Returns when it accepts connections.
    pub fn start(program: &Path, args: &[&str]) -> Server {
        Server::launch(program, args).listening()
    }

    /// When it accepts connections.
    pub fn listening(self) -> Server {
        let mut server = self;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&server.address).is_err() {
            if server.child.try_wait().expect("wait for the server").is_some() {
                panic!("the server ended at its start: {:?}", server.end());
            }
            assert!(Instant::now() < deadline, "the server does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// The same without waiting.
    pub fn launch(program: &Path, args: &[&str]) -> Server {
        Server::launch_with(program, args, &[])
    }

    /// The same with something in its environment.
    pub fn launch_with(program: &Path, args: &[&str], environment: &[(&str, &str)]) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let ip = format!("127.{}.{}.{}", 1 + (pid >> 8) % 254, pid % 256, 1 + count % 254);
        let address = format!("{ip}:8000");
        let findings = support::scratch_dir().join(format!("findings-{pid}-{count}"));
        fs::create_dir_all(&findings).expect("create a directory for findings");

        let args = if args.is_empty() { &["{}"] } else { args };
        let child = checked(program, &findings)
            .args(args.iter().map(|arg| arg.replace("{}", &address).replace("{ip}", &ip)))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Server { child, address, findings, was_hurried: AtomicBool::new(false) }
    }

    /// `tests/c/app.c`, with options; one process that serves, unless they say otherwise.
    pub fn app(options: &[&str]) -> Server {
        let mut args = vec!["{}", "worker_model=inline"];
        args.extend(options);
        Server::start(&program(&["tests/c/app.c"]), &args)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// The processes that it has forked.
    pub fn workers(&self) -> Vec<i32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    pub fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// One request on a connection of its own; the body of the answer, which must be a 200.
    pub fn get(&self, target: &str) -> String {
        let mut client = self.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        let response = client.response("GET");
        assert_eq!(response.status, 200, "{target}: {response:?}");
        response.text()
    }

    /// A count of `/counts`.
    pub fn count(&self, name: &str) -> u64 {
        let counts = self.get("/counts");
        let mut words = counts.split(' ').skip_while(|word| *word != name).skip(1);
        words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {counts}"))
    }

    /// Wait until a count has a value, and stays there for a moment.
    pub fn wait_for_count(&self, name: &str, value: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(name) < value && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(50));
        assert_eq!(self.count(name), value, "{name}");
    }

    pub fn signal(&self, signal: i32) {
        self.was_hurried.fetch_or([SIGINT, SIGQUIT].contains(&signal), Ordering::Relaxed);
        kill(self.pid(), signal);
    }

    /// Give it something on its standard input, or, with nothing, the end of it.
    pub fn stdin(&mut self, text: &str) {
        use std::io::Write;
        match self.child.stdin.as_mut() {
            Some(stdin) if !text.is_empty() => stdin.write_all(text.as_bytes()).expect("write"),
            _ => drop(self.child.stdin.take()),
        }
    }

    /// Ask it to end gracefully; it must end with 0, and the checker must have found nothing.
    pub fn stop(self) -> Ended {
        self.signal(SIGTERM);
        let ended = self.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        ended
    }

    /// Wait until it has ended by itself; the checker must have found nothing.
    pub fn end(mut self) -> Ended {
        let mut outputs = [None, None];
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        thread::scope(|scope| {
            let out = scope.spawn(|| read_all(stdout));
            let err = scope.spawn(|| read_all(stderr));
            let deadline = Instant::now() + PATIENCE;
            while self.child.try_wait().expect("wait for the server").is_none() {
                if Instant::now() > deadline {
                    self.destroy();
                    panic!("the server does not end");
                }
                thread::sleep(Duration::from_millis(5));
            }
            outputs = [out.join().ok(), err.join().ok()];
        });
        let [stdout, stderr] = outputs.map(Option::unwrap_or_default);
        let status = self.child.wait().expect("wait for the server");
        tell_of_a_crash(status, &stderr);
        let ended = Ended { status: status.code(), signal: status.signal(), stdout, stderr };
        if LINTED {
            let linted = fs::remove_file(self.findings.join("linted"));
            assert!(linted.is_ok() || ended.status != Some(0), "lint was not there: {ended:?}");
            let breaches = [&ended.stdout, &ended.stderr].map(|text| text.contains("lint: "));
            assert_eq!(breaches, [false; 2], "{ended:?}");
        }
        let found = self.found();
        assert!(found.is_empty(), "the checker found:\n{found}\n{ended:?}");
        ended
    }

    fn found(&self) -> String {
        let entries = fs::read_dir(&self.findings).expect("read the findings");
        let texts = entries.map(|e| fs::read_to_string(e.expect("a finding").path()));
        let mut found = texts.map(|text| text.expect("read a finding")).collect::<String>();
        if under() == Under::Valgrind {
            found = self.records(&found);
        }
        if found.is_empty() {
            let _ = fs::remove_dir_all(&self.findings);
        }
        found
    }

    /// What valgrind found, without what it says of itself (a system call that it does not know).
    fn records(&self, text: &str) -> String {
        let lines = text.lines().filter(|line| line.starts_with("=="));
        let lines = lines.map(|line| format!("{line}\n")).collect::<Vec<_>>();
        // An empty line, after the process id, ends a record.
        let records = lines.split_inclusive(|line| line.ends_with("== \n"));
        let is_leak = |record: &[String]| record.iter().any(|line| line.contains(" lost in loss "));
        let kept =
            records.filter(|record| !(self.was_hurried.load(Ordering::Relaxed) && is_leak(record)));
        kept.flatten().map(String::as_str).collect()
    }

    fn destroy(&mut self) {
        for worker in self.workers() {
            kill(worker, SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.destroy();
        }
        // A test that fails since the server went away under it does not know why.
        let stderr = self.child.stderr.take();
        if thread::panicking() && self.findings.exists() {
            let found = self.found();
            if !found.is_empty() {
                eprintln!("the checker found:\n{found}");
            }
            if let (Some(stderr), Ok(status)) = (stderr, self.child.wait()) {
                tell_of_a_crash(status, &said(stderr));
            }
        }
    }
}

/// Says so, for who reads why a test has failed, when the server, or a worker of it, has crashed: tests/side_by_side.py
/// forgives no such test.  Also one that was being killed has the signal that it died of first.
fn tell_of_a_crash(status: ExitStatus, stderr: &str) {
    const CRASHES: [&str; 5] = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"];
    let is_crash = |line: &str| {
        let was_sent = |signal| line.contains(&format!("was sent {signal}!"));
        line.contains("panicked at")
            || CRASHES.into_iter().any(was_sent) && !line.contains("By the arbiter")
    };
    let how = status.to_string();
    if CRASHES.iter().any(|signal| how.contains(signal)) || stderr.lines().any(is_crash) {
        eprintln!("the server crashed: {how}\n{stderr}");
    }
}

/// What is in the pipe: a process that the server has left behind may keep it open.
fn said(mut from: impl Read + Send + 'static) -> String {
    let (to, parts) = mpsc::channel();
    thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut part) {
            let _ = to.send(part[..n].to_vec());
        }
    });
    let mut octets = Vec::new();
    while let Ok(part) = parts.recv_timeout(Duration::from_secs(1)) {
        octets.extend(part);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;

/// Send a signal to a process that a test has started.
pub fn kill(pid: i32, signal: i32) {
    // By the shell: the tests have no unsafe code.
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).output();
}

fn read_all(from: Option<impl Read>) -> String {
    let mut octets = Vec::new();
    if let Some(mut from) = from {
        let _ = from.read_to_end(&mut octets);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// What curl makes of it; it must succeed.
pub fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "120"]).args(args);
    support::run(&mut command)
}
