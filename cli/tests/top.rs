//! `gateway top` in a terminal: tmux shows what is on the screen.

#[path = "../../tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use harness::life::{master, unique};
use harness::{SIGKILL, SIGTERM, Server, kill, until};

const TOP: &str = env!("CARGO_BIN_EXE_gateway");

/// What stands in the terminal before, and is to stand there after.
const BEFORE: &str = "what was here before";

fn start(control: &str) -> Server {
    let socket = format!("control_socket={control}");
    let binds = ["bind={}", "bind=scgi://{ip}:8003"];
    let options = ["{}", "signals=1", "errorlog=-", "workers=2", "threads=2", &socket];
    let server = Server::start(&master(), &[&options[..], &binds].concat());
    until("it is ready", || once(control).contains(": ready, 2 of 2 workers"));
    server
}

fn once(control: &str) -> String {
    let output = Command::new(TOP).args(["top", "--once", "--control", control]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A request that stays in the application, with a target that no terminal should see.
fn hang(server: &Server) -> TcpStream {
    let mut client = TcpStream::connect(server.address().replace(":8000", ":8003")).unwrap();
    let variables =
        b"CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET\0SCRIPT_NAME\0\0PATH_INFO\0/hang\0\
                      QUERY_STRING\0\0REQUEST_URI\0/hang?\xc2\x9b2J\xe2\x80\xae\xff\0";
    client.write_all(format!("{}:", variables.len()).as_bytes()).unwrap();
    client.write_all(&[&variables[..], b","].concat()).unwrap();
    client
}

/// A terminal of 100 columns and 24 rows, with a shell in it.
struct Terminal {
    name: String,
}

impl Terminal {
    fn new() -> Terminal {
        let name = unique("tmux").rsplit_once('/').unwrap().1.to_owned();
        let terminal = Terminal { name };
        let shell = format!("PS1='$ ' ENV= exec sh -c 'echo {BEFORE}; exec sh'");
        let size = ["-x", "100", "-y", "24"];
        let new = ["-f", "/dev/null", "new-session", "-d"];
        let output = terminal.tmux(&[&new[..], &size, &[&shell]].concat());
        assert!(output.status.success(), "tmux (scripts/setup test installs it): {output:?}");
        until("there is a shell", || terminal.screen().contains(BEFORE));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.name]).args(args).env_remove("TMUX").env("TERM", "xterm-256color");
        tmux.stdin(Stdio::null()).output().expect("tmux: scripts/setup test installs it")
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// What is on the screen, as soon as that is so.
    fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let last = std::cell::RefCell::new(String::new());
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(what, || {
                screen = self.screen();
                last.borrow_mut().clone_from(&screen);
                is(&screen)
            });
        }));
        assert!(found.is_ok(), "never: {what}\n{}", last.borrow());
        screen
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"], keys].concat()).status.success());
    }

    fn line(&self, text: &str) {
        self.keys(&["-l", text]);
        self.keys(&["Enter"]);
    }

    fn top(&self, control: &str) {
        self.line(&format!("{TOP} top --interval 0.2 --control {control}; echo it returned $?"));
    }

    /// Of the program that runs in it.
    fn pid_of_top(&self) -> i32 {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).stdout;
        let shell: i32 = String::from_utf8(shell).unwrap().trim().parse().unwrap();
        harness::again::processes_of(shell)[0]
    }

    /// The screen of before, with nothing of the other on it, and a terminal that works.
    fn is_as_it_was(&self, status: i32) {
        let returned = format!("it returned {status}");
        let screen = self.until("it ends", |it| it.lines().any(|line| line == returned));
        assert!(screen.starts_with(BEFORE), "{screen}");
        assert!(!screen.contains("RESTARTS"), "{screen}");
        let state = "#{alternate_on} #{cursor_flag} #{wrap_flag} #{mouse_any_flag}";
        let state = self.tmux(&["display-message", "-p", state]).stdout;
        assert_eq!(String::from_utf8(state).unwrap().trim(), "0 1 1 0");
        // Lines are edited, and what is typed is shown.
        self.line("stty -a | tr ' ;' '\\n\\n' | grep -xE -- '-?(icanon|echo|isig|opost|icrnl)' | tr '\\n' ' '; echo .");
        self.until("its modes", |it| {
            it.contains("isig icanon echo") || it.contains("icrnl opost isig icanon echo")
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn it_shows_workers_and_requests_in_place() {
    let control = unique("control");
    let mut server = start(&control);
    let client = hang(&server);
    let terminal = Terminal::new();
    terminal.top(&control);
    let screen = terminal.until("the request is there", |it| it.contains("/hang?"));
    let workers = server.workers();
    let rows = |screen: &str, pid: i32| -> Vec<String> {
        let of = |line: &&str| line.split_whitespace().nth(1) == Some(&pid.to_string());
        screen.lines().filter(of).map(str::to_owned).collect()
    };
    let lines: Vec<_> = screen.lines().collect();
    assert!(lines[0].contains(&format!("pid {}: ready, 2 of 2 workers", server.pid())), "{screen}");
    assert!(lines[1].contains("in flight 1;"), "{screen}");
    assert!(lines[3].starts_with("WORKER      PID STATE "), "{screen}");
    for (line, worker) in lines[4..6].iter().zip(&workers) {
        assert!(line.contains(&format!(" {worker} ")), "{screen}");
    }
    let request = lines.iter().find(|line| line.contains("/hang?")).unwrap();
    assert!(request.contains(" app   GET     /hang?\\u{9b}2J\\u{202e}\\xff"), "{screen}");
    let words: Vec<_> = request.split_whitespace().collect();
    let busy: i32 = words[1].parse().unwrap();
    assert!(workers.contains(&busy), "{screen}");
    assert_eq!(rows(&screen, busy).len(), 2, "the worker and its request: {screen}");

    // One that is killed is followed by another, in the same row.
    let idle = *workers.iter().find(|pid| **pid != busy).unwrap();
    let row = lines.iter().position(|line| line.contains(&format!(" {idle} "))).unwrap();
    kill(idle, SIGKILL);
    let screen = terminal.until("it is replaced", |it| {
        rows(it, idle).is_empty() && it.contains(": ready, 2 of 2 workers, 3 started")
    });
    let lines: Vec<_> = screen.lines().collect();
    let new = server.workers().into_iter().find(|pid| !workers.contains(pid)).unwrap();
    assert!(lines[row].contains(&format!(" {new} ")) && lines[row].ends_with(" 1"), "{screen}");
    assert_eq!(screen.matches("WORKER      PID STATE ").count(), 1, "{screen}");
    assert_eq!(screen.matches("libgateway/").count(), 1, "{screen}");

    // A smaller terminal, and a larger one.
    terminal.tmux(&["resize-window", "-x", "50", "-y", "8"]);
    let screen =
        terminal.until("it is smaller", |it| it.lines().count() <= 8 && it.contains("/hang?"));
    assert!(screen.lines().all(|line| line.len() <= 50), "{screen}");
    terminal.tmux(&["resize-window", "-x", "120", "-y", "30"]);
    terminal.until("it is larger", |it| it.contains("RESTARTS") && it.contains("2J\\u{202e}\\xff"));

    server.stdin("release\n");
    terminal.until("it is answered", |it| it.contains("in flight 0;") && !it.contains("/hang?"));
    drop(client);
    terminal.keys(&["q"]);
    terminal.is_as_it_was(0);
    server.stop();
}

#[test]
fn a_server_that_goes_is_waited_for() {
    let control = unique("control");
    let server = start(&control);
    let terminal = Terminal::new();
    terminal.top(&control);
    terminal.until("it is there", |it| it.contains("2 of 2 workers"));
    server.stop();
    let screen = terminal.until("it is gone", |it| it.contains("not running: "));
    assert!(screen.contains("waiting for it") && !screen.contains("RESTARTS"), "{screen}");
    let server = start(&control);
    terminal.until("another is there", |it| it.contains(&format!("pid {}: ready", server.pid())));
    server.stop();
    terminal.keys(&["C-c"]);
    terminal.is_as_it_was(0);
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let control = unique("control");
    let server = start(&control);
    let terminal = Terminal::new();
    terminal.top(&control);
    terminal.until("it is there", |it| it.contains("2 of 2 workers"));
    kill(terminal.pid_of_top(), SIGTERM);
    terminal.is_as_it_was(0);
    server.stop();
}

#[test]
fn a_terminal_that_goes_ends_it() {
    let control = unique("control");
    let server = start(&control);
    let terminal = Terminal::new();
    // Nor does it need a signal to know.
    terminal.line("trap '' HUP");
    terminal.top(&control);
    terminal.until("it is there", |it| it.contains("2 of 2 workers"));
    let top = terminal.pid_of_top();
    drop(terminal);
    until("it ends", || !fs::exists(format!("/proc/{top}")).unwrap());
    server.stop();
}

#[test]
fn one_frame_is_plain_text() {
    let control = unique("control");
    let mut server = start(&control);
    let client = hang(&server);
    until("the request is there", || once(&control).contains("/hang?"));
    // And where standard output is no terminal.
    let out = Command::new(TOP).args(["top", "--control", &control]).output().unwrap();
    for text in [String::from_utf8(out.stdout).unwrap(), once(&control)] {
        assert!(text.contains("/hang?\\u{9b}2J\\u{202e}\\xff\n"), "{text}");
        assert!(
            text.bytes().all(|octet| octet == b'\n' || (b' '..=b'~').contains(&octet)),
            "{text}"
        );
    }
    server.stdin("release\n");
    drop(client);
    server.stop();
    let out = Command::new(TOP).args(["top", "--control", &control]).output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(3), 0));
    for wrong in ["0", "-1", "x", "1e9"] {
        let out = Command::new(TOP).args(["top", "--interval", wrong, "--control", "x"]).output();
        assert_eq!(out.unwrap().status.code(), Some(2), "{wrong}");
    }
    assert!(!fs::exists(&control).unwrap());
}
