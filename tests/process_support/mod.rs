//! A harness for tests that fork: this process has one thread, and each test, and each program that
//! a test drives, is a process of its own.

#![allow(dead_code, unreachable_pub, missing_docs)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A hung test is killed after so many seconds; far more than any takes.
const WATCHDOG: u32 = 120;

/// A program that tests start: gets its arguments, returns its exit status.
pub type Role = (&'static str, fn(&Args) -> i32);

/// Runs the tests whose names contain one of the arguments; or, started as a role, the role.
pub fn main(tests: &[(&str, fn())], roles: &[Role]) {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "role") {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(WATCHDOG) };
        let name = args.get(1).expect("a role's name").clone();
        let role = roles.iter().find(|role| role.0 == name).expect("a role");
        std::process::exit(role.1(&Args(args.split_off(2))));
    }
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.0));
        return;
    }
    args.retain(|arg| !arg.starts_with('-'));
    if let Some(name) = args.first().and_then(|arg| arg.strip_prefix("only=")) {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(WATCHDOG) };
        tests.iter().find(|test| test.0 == name).expect("a test").1();
        return;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, _) in tests {
        if !args.is_empty() && !args.iter().any(|arg| name.contains(arg.as_str())) {
            continue;
        }
        // To a file: a process that a broken test left behind would keep a pipe open.
        let path = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        let file = File::create(&path).expect("a file for what the test says");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .arg(format!("only={name}"))
            .stdout(file.try_clone().expect("a second descriptor"))
            .stderr(file)
            .status()
            .expect("start a test");
        let output = std::fs::read(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        println!("test {name} ... {}", if status.success() { "ok" } else { "FAILED" });
        if status.success() {
            passed += 1;
        } else {
            println!("{}\n{status}", String::from_utf8_lossy(&output));
            failed += 1;
        }
    }
    // In libtest's words: tests/side_by_side.py reads them.
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed");
    if failed > 0 {
        std::process::exit(101);
    }
}

/// `key=value` arguments.
pub struct Args(Vec<String>);

impl Args {
    pub fn of(args: &[&str]) -> Args {
        Args(args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn number(&self, key: &str, preset: u64) -> u64 {
        self.text(key).map_or(preset, |text| text.parse().expect("a number"))
    }
}

/// One line to whoever drives this program, in one write.
pub fn say(line: &str) {
    let mut line = line.to_owned();
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes()).expect("standard output");
}

/// A program that is driven, and its lines.
pub struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: Vec<String>,
    /// Lines that were read, and that nobody has expected yet.
    passed: Vec<String>,
}

impl Program {
    pub fn start(role: &str, args: &[&str]) -> Program {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["role", role])
            .args(args)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("start a role");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Program { child, lines, seen: Vec::new(), passed: Vec::new() }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// The first line that contains `text` and was not expected before.  Lines of several processes
    /// come in any order.
    pub fn expect(&mut self, text: &str) -> String {
        if let Some(at) = self.passed.iter().position(|line| line.contains(text)) {
            return self.passed.remove(at);
        }
        loop {
            let Some(line) = self.line() else {
                panic!("no line with {text:?} in:\n{}", self.seen.join("\n"));
            };
            if line.contains(text) {
                return line;
            }
            self.passed.push(line);
        }
    }

    /// The numbers in the next line that contains `text`.
    pub fn expect_numbers(&mut self, text: &str) -> Vec<i64> {
        let line = self.expect(text);
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    }

    /// All lines to the end, and how it ended.
    pub fn finish(mut self) -> (Vec<String>, ExitStatus) {
        while self.line().is_some() {}
        let status = self.child.wait().expect("wait for the role");
        (std::mem::take(&mut self.seen), status)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).expect("read from the role") == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        self.seen.push(line.clone());
        Some(line)
    }
}

pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// Workers that must not outlive a test, also when it fails.
pub struct Workers<'a>(pub &'a [i64]);

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|pid| kill(*pid as i32, libc::SIGKILL));
        }
    }
}

/// Whether the process runs: a zombie does not.
pub fn alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| {
        let state = rest.trim_start().chars().next();
        state.is_some_and(|state| !"ZX".contains(state))
    })
}

/// Waits for something that takes a moment.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(u64::from(WATCHDOG) / 2);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The dispositions of all signals: handler, flags and mask of each.
pub fn dispositions() -> Vec<(usize, i32)> {
    (1..=64)
        .map(|signal| {
            // SAFETY: only asks; a sigaction is numbers and a pointer, for which zero is a value.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                // Of the flags not SA_RESTORER, which libc adds by itself.
                (action.sa_sigaction, action.sa_flags & !0x0400_0000)
            }
        })
        .collect()
}

/// Sets a handler, or SIG_DFL or SIG_IGN.
pub fn set_handler(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: the tests' handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// The signals that this thread has blocked.
pub fn blocked() -> Vec<i32> {
    // SAFETY: only asks.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        (1..=64).filter(|signal| libc::sigismember(&set, *signal) == 1).collect()
    }
}
