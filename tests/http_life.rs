//! The life of a server on its host: pid files, what systemd sees of it, and who it is.

mod harness;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::{Ended, PATIENCE, SIGKILL, SIGTERM, Server, Under, kill, program, support, under};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;

/// How a server may be started.
const WAYS: [[&str; 2]; 5] = [
    ["as=serve", "worker_model=fork"],
    ["as=serve", "worker_model=threads"],
    ["as=serve", "worker_model=inline"],
    ["as=arbiter", "worker_model=fork"],
    ["as=arbiter", "worker_model=threads"],
];

fn life() -> PathBuf {
    program(&["tests/c/life.c"])
}

fn master() -> PathBuf {
    program(&["tests/c/master.c"])
}

/// A name that no other test uses, in a directory for temporary files: short enough for a socket.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("gw-{what}-{}-{count}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

fn launch(options: &[&str], environment: &[(&str, &str)]) -> Server {
    let common = ["bind={}", "workers=1", "signals=1", "errorlog=-"];
    let common = if options.contains(&"worker_model=inline") { &common[..1] } else { &common };
    Server::launch_with(&life(), &[common, options].concat(), environment)
}

fn start(options: &[&str]) -> Server {
    let server = launch(options, &[]).listening();
    server.get("/");
    server
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One that does not start: what it says, and with which status it ends.
fn refused(options: &[&str]) -> Ended {
    let server = launch(options, &[]);
    let address = server.address().to_owned();
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(TcpStream::connect(address).is_err());
    ended
}

// ---- pid files ----

fn named_by(path: &str) -> Option<i32> {
    fs::read_to_string(path).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok())
}

#[test]
fn the_pid_file_is_there_from_the_bind_to_the_end() {
    for way in WAYS {
        let path = unique("pid");
        let server = start(&[&way[..], &[&format!("pidfile={path}")]].concat());
        assert_eq!(named_by(&path), Some(server.pid()), "{way:?}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        // The end of a worker is not the end.
        if let Some(worker) = server.workers().first() {
            kill(*worker, SIGTERM);
            until("it is replaced", || server.workers().first().is_some_and(|new| new != worker));
            server.get("/");
            assert_eq!(named_by(&path), Some(server.pid()));
        }
        server.stop();
        assert!(!Path::new(&path).exists(), "{way:?}");
    }
}

#[test]
fn a_server_that_runs_keeps_its_pid_file_and_the_next_one_does_not_start() {
    for way in WAYS {
        let (path, socket) = (unique("pid"), unique("sock"));
        let pidfile = format!("pidfile={path}");
        let first = start(&["worker_model=fork", &pidfile]);
        let bind = format!("bind=unix:{socket}");
        let ended = refused(&[&way[..], &[&pidfile, &bind]].concat());
        let said = format!("already running: pid {} ({path})", first.pid());
        assert!(ended.stderr.contains(&said), "{ended:?}");
        assert!(!Path::new(&socket).exists(), "nothing was bound");
        assert_eq!(named_by(&path), Some(first.pid()));
        first.stop();
        assert!(!Path::new(&path).exists());
    }
}

#[test]
fn a_stale_pid_file_is_replaced() {
    let path = unique("pid");
    let pidfile = format!("pidfile={path}");
    let first = start(&["worker_model=fork", &pidfile]);
    let pid = first.pid();
    kill(pid, SIGKILL);
    first.end();
    assert_eq!(named_by(&path), Some(pid), "nobody could remove it");
    let second = start(&["worker_model=fork", &pidfile]);
    assert_eq!(named_by(&path), Some(second.pid()));
    second.stop();
    assert!(!Path::new(&path).exists());
}

#[test]
fn what_is_no_pid_file_is_an_error_and_stays() {
    for way in WAYS {
        let path = unique("pid");
        fs::write(&path, "important").unwrap();
        let ended = refused(&[&way[..], &[&format!("pidfile={path}")]].concat());
        assert!(ended.stderr.contains("is not the id of a process"), "{ended:?}");
        assert!(ended.stderr.contains(&path), "{ended:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "important");
        fs::remove_file(&path).unwrap();
        let ended = refused(&[&way[..], &["pidfile=/nonexistent/app.pid"]].concat());
        assert!(ended.stderr.contains("pidfile = /nonexistent/app.pid: No such"), "{ended:?}");
    }
}

#[test]
fn a_pid_file_that_became_somebody_elses_stays() {
    let path = unique("pid");
    let server = start(&["worker_model=fork", &format!("pidfile={path}")]);
    fs::write(&path, "1\n").unwrap();
    server.stop();
    assert_eq!(named_by(&path), Some(1));
    fs::remove_file(&path).unwrap();
}

#[test]
fn an_address_that_cannot_be_bound_leaves_no_pid_file() {
    let path = unique("pid");
    let pidfile = format!("pidfile={path}");
    let first = start(&["worker_model=fork"]);
    for way in WAYS {
        let bind = format!("bind={}", first.address());
        let ended = Server::launch(&life(), &[&way[..], &[&bind, &pidfile]].concat()).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("Address already in use"), "{ended:?}");
        assert!(!Path::new(&path).exists(), "{way:?}");
    }
    // Nor do first workers that do not boot.
    let limits = ["boot=hangs", "boot_timeout=300ms", "graceful_timeout=100ms"];
    let options = ["{}", "signals=1", "workers=1", &pidfile];
    let ended = Server::launch(&master(), &[&options[..], &limits].concat()).end();
    assert_eq!(ended.status, Some(3), "{ended:?}");
    assert!(!Path::new(&path).exists());
    first.stop();
}

#[test]
fn a_reload_moves_the_pid_file_and_writes_it_again() {
    for model in ["worker_model=fork", "worker_model=threads"] {
        let (first, second) = (unique("pid"), unique("pid"));
        let pidfile = format!("pidfile={first}");
        let mut server = Server::start(&master(), &["{}", "signals=1", model, &pidfile]);
        server.get("/");
        assert_eq!(named_by(&first), Some(server.pid()));
        let reloaded = |server: &Server, n: usize| {
            until("it has reloaded", || server.get("/state").starts_with(&format!("reloads {n} ")));
        };
        // Somebody has tidied up.
        fs::remove_file(&first).unwrap();
        server.signal(SIGHUP);
        reloaded(&server, 1);
        until("it is written again", || named_by(&first) == Some(server.pid()));
        server.stdin(&format!("reload pidfile={second}\n"));
        reloaded(&server, 2);
        until("it has moved", || named_by(&second) == Some(server.pid()));
        until("it has moved", || !Path::new(&first).exists());
        // One that cannot be had is an error at once, and changes nothing.
        server.stdin("reload pidfile=/nonexistent/x\n");
        server.stdin("reload pidfile=\n");
        reloaded(&server, 3);
        until("it is gone", || !Path::new(&second).exists());
        let ended = server.stop();
        assert_eq!(ended.stdout.matches("GW_ERR_IO").count(), 1, "{ended:?}");
        assert!(!Path::new(&first).exists() && !Path::new(&second).exists());
    }
}

// ---- what a service manager is told ----

/// A service manager's socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_path() -> Manager {
        let name = unique("notify");
        Manager { socket: UnixDatagram::bind(&name).unwrap(), name }.patient()
    }

    fn abstract_() -> Manager {
        let name = unique("notify");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Manager { socket, name: format!("@{name}") }.patient()
    }

    fn patient(self) -> Manager {
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self
    }

    fn launch(&self, options: &[&str], more: &[(&str, &str)]) -> Server {
        launch(options, &[&[("NOTIFY_SOCKET", &*self.name)], more].concat())
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut octets = [0; 4096];
        let n = self.socket.recv(&mut octets).expect("a message");
        String::from_utf8(octets[..n].to_vec()).unwrap()
    }

    /// The next one that has this line; those before it are dropped.
    fn hear_of(&self, line: &str) -> String {
        loop {
            let message = self.hear();
            if message.lines().any(|it| it == line) {
                return message;
            }
        }
    }

    /// Whether nothing was said that has not been heard.
    fn all_is_heard(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut [0; 4096]);
        self.socket.set_nonblocking(false).unwrap();
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.name.starts_with('/') {
            let _ = fs::remove_file(&self.name);
        }
    }
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    for way in WAYS {
        let manager = Manager::at_path();
        let server = manager.launch(&[&way[..], &["systemd=1"]].concat(), &[]);
        let ready = manager.hear();
        let pid = server.pid();
        assert!(ready.starts_with(&format!("READY=1\nMAINPID={pid}\nSTATUS=Ready: 1 workers,")));
        // Ready is ready: nobody has to wait and see.
        assert_eq!(server.get("/"), "hello");
        server.stop();
        assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=Stopping", "{way:?}");
        assert!(manager.all_is_heard());
    }
}

#[test]
fn it_is_a_preset_of_gw_serve_alone() {
    for way in WAYS {
        let manager = Manager::abstract_();
        let server = manager.launch(&way, &[]).listening();
        server.get("/");
        if way[0] == "as=serve" {
            manager.hear_of("READY=1");
            server.stop();
            manager.hear_of("STOPPING=1");
        } else {
            server.stop();
        }
        assert!(manager.all_is_heard(), "{way:?}");
        // And it can be turned off.
        let server = manager.launch(&[&way[..], &["systemd=0"]].concat(), &[]).listening();
        server.get("/");
        server.stop();
        assert!(manager.all_is_heard(), "{way:?}");
    }
}

#[test]
fn a_server_is_not_ready_before_its_workers() {
    let manager = Manager::at_path();
    let options = ["{}", "signals=1", "systemd=1", "workers=2", "boot=hangs"];
    let environment = [("NOTIFY_SOCKET", &*manager.name)];
    let mut server = Server::launch_with(&master(), &options, &environment).listening();
    until("both have begun", || server.workers().len() == 2);
    assert!(manager.all_is_heard());
    server.stdin("boot well\n");
    let message = manager.hear();
    assert!(message.starts_with("READY=1\n"), "{message}");
    server.stop();
    manager.hear_of("STOPPING=1");
}

#[test]
fn systemd_is_told_of_reloads() {
    for model in ["worker_model=fork", "worker_model=threads"] {
        let manager = Manager::at_path();
        let environment = [("NOTIFY_SOCKET", &*manager.name)];
        let options = ["{}", "signals=1", "systemd=1", model, "workers=2"];
        let mut server = Server::launch_with(&master(), &options, &environment).listening();
        manager.hear_of("READY=1");
        let uptime = || -> f64 {
            let text = fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let before = uptime();
        server.signal(SIGHUP);
        let message = manager.hear_of("RELOADING=1");
        let usec = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let seconds = usec.unwrap().parse::<u64>().unwrap() as f64 / 1e6;
        // The two clocks are one unless the machine has slept.
        assert!(seconds + 0.02 >= before && seconds <= uptime() + 0.02, "{seconds} {before}");
        let message = manager.hear();
        assert!(message.starts_with("READY=1\nSTATUS=Ready: 2 workers, "), "{message}");
        assert!(message.ends_with(" 1 reloads"), "{message}");
        // One that fails has ended, too.
        server.stdin("boot fails\n");
        server.signal(SIGHUP);
        manager.hear_of("RELOADING=1");
        let message = manager.hear();
        assert!(message.starts_with("READY=1\n"), "{message}");
        assert!(message.contains("; the last reload failed: reload: worker ("), "{message}");
        server.signal(SIGTERM);
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        manager.hear_of("STOPPING=1");
        assert!(manager.all_is_heard());
    }
}

#[test]
fn the_watchdog_is_fed_while_the_loop_turns() {
    for way in WAYS {
        let manager = Manager::at_path();
        let options = [&way[..], &["systemd=1"]].concat();
        let server = manager.launch(&options, &[("WATCHDOG_USEC", "200000")]);
        manager.hear_of("READY=1");
        for _ in 0..5 {
            manager.hear_of("WATCHDOG=1");
        }
        server.stop();
        manager.hear_of("STOPPING=1");
        // One that is meant for another process is not ours.
        let another = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
        let server = manager.launch(&options, &another);
        while manager.all_is_heard() {
            std::thread::sleep(Duration::from_millis(5));
        }
        (0..20).for_each(|_| drop(server.get("/")));
        server.stop();
        assert!(!manager.hear_of("STOPPING=1").contains("WATCHDOG"));
        assert!(manager.all_is_heard());
    }
}

#[test]
fn the_watchdog_starves_when_all_that_serves_hangs() {
    for way in [["as=serve", "worker_model=inline"], ["as=serve", "worker_model=threads"]] {
        let manager = Manager::at_path();
        let options = [&way[..], &["systemd=1", "app=loop", "heartbeat_timeout=300ms"]].concat();
        let server = manager.launch(&options, &[("WATCHDOG_USEC", "200000")]);
        manager.hear_of("WATCHDOG=1");
        let mut hangs = TcpStream::connect(server.address()).unwrap();
        hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Fifteen times as long as it may be silent at most.
        manager.socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        until("it starves", || manager.socket.recv(&mut [0; 4096]).is_err());
        kill(server.pid(), SIGKILL);
        server.end();
    }
}

#[test]
fn what_the_manager_says_is_not_left_to_workers() {
    for way in WAYS {
        let manager = Manager::abstract_();
        let environment = [("WATCHDOG_USEC", "60000000"), ("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
        for heeds in ["systemd=1", "systemd=0"] {
            let server = manager.launch(&[&way[..], &[heeds]].concat(), &environment).listening();
            let there = server.get("/env");
            // The environment of the host is the host's.
            let is_clean = heeds == "systemd=1" && way[1] == "worker_model=fork";
            assert_eq!(there.lines().count(), if is_clean { 0 } else { 4 }, "{way:?} {there}");
            server.stop();
        }
    }
}

#[test]
fn a_notify_socket_that_is_none_is_an_error_and_one_that_is_gone_is_not() {
    for way in WAYS {
        let options = [&way[..], &["systemd=1"]].concat();
        let ended = launch(&options, &[("NOTIFY_SOCKET", "here")]).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("NOTIFY_SOCKET = here: neither a path nor"), "{ended:?}");
        let gone = unique("notify");
        let server = launch(&options, &[("NOTIFY_SOCKET", &gone)]).listening();
        server.get("/");
        let ended = server.stop();
        assert_eq!(ended.stderr.matches("systemd is not told").count(), 1, "{ended:?}");
    }
}

// ---- sockets that systemd passes ----

/// `systemd-socket-activate`, which executes the server at the first connection.
fn activated(sockets: &[&str], options: &[&str]) -> Server {
    let program = life().display().to_string();
    let args = [sockets, &["--", &*program], options].concat();
    Server::launch(Path::new("systemd-socket-activate"), &args)
}

#[test]
fn passed_sockets_are_listened_on_without_bind() {
    for way in WAYS {
        let common = [&way[..], &["systemd=1"]].concat();
        let more = ["workers=1", "signals=1", "errorlog=-"];
        let is_inline = way[1] == "worker_model=inline";
        let more = if is_inline { &[] } else { &more[..] };
        let server = activated(&["-l", "{}"], &[&common[..], more].concat()).listening();
        assert_eq!(server.get("/"), "hello");
        let ended = server.stop();
        let address = "Listening at: 127.";
        assert!(ended.stderr.contains(address), "{ended:?}");
        assert!(!ended.stderr.contains("127.0.0.1:8000"), "{ended:?}");
    }
}

/// One answer over a unix socket.
fn ask_unix(path: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn passed_sockets_have_names() {
    let path = unique("sock");
    let sockets = ["-l", "{}", "-l", &path, "--fdname=web:side"];
    for bind in
        ["bind=systemd:web,fd://side", "bind=systemd:", "bind=http+systemd:side,systemd:web"]
    {
        let server = activated(&sockets, &[bind, "workers=1", "errorlog=-"]).listening();
        assert_eq!(server.get("/"), "hello", "{bind}");
        assert!(ask_unix(&path).ends_with("hello"), "{bind}");
        server.stop();
        // It was somebody else's to make, and is his to remove.
        assert!(Path::new(&path).exists(), "{bind}");
        fs::remove_file(&path).unwrap();
    }
    let server = activated(&sockets, &["bind=systemd:other", "workers=1"]);
    let address = server.address().to_owned();
    until("it is there", || TcpStream::connect(&address).is_ok());
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let said = "bind systemd:other: no such socket: there are web, side";
    assert!(ended.stderr.contains(said), "{ended:?}");
    let _ = fs::remove_file(&path);
    let ended = refused(&["bind=systemd:web"]);
    assert!(ended.stderr.contains("no such socket: none was passed to this process"), "{ended:?}");
}

#[test]
fn a_passed_socket_is_not_listened_on_twice_and_not_left_to_programs() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: strace wants the program for itself");
        return;
    }
    let (path, trace, listing) = (unique("sock"), unique("trace"), unique("fds"));
    let program = life().display().to_string();
    let calls = "trace=listen,unlink,unlinkat";
    let strace = ["-f", "-e", calls, "-o", &trace, "systemd-socket-activate"];
    let sockets = ["-l", "{}", "-l", &path, "--", &*program];
    let run = format!("run=ls /proc/self/fd > {listing}");
    let options = ["worker_model=fork", "workers=2", "backlog=17", &run];
    let args = [&strace[..], &sockets, &options].concat();
    let server = Server::launch(Path::new("strace"), &args).listening();
    // What a worker runs has none of our descriptors: three are standard.
    server.get("/");
    assert_eq!(server.get("/run"), "0");
    let fds = fs::read_to_string(&listing).unwrap();
    assert!(fds.lines().all(|fd| ["0", "1", "2", "3"].contains(&fd)), "{fds}");
    let workers = server.workers();
    kill(workers[0], SIGTERM);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let calls = fs::read_to_string(&trace).unwrap();
    // By systemd-socket-activate: one for each.
    assert_eq!(calls.matches("listen(").count(), 2, "{calls}");
    assert!(!calls.contains(&format!("\"{path}\"")), "{calls}");
    for path in [&path, &trace, &listing] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn passed_sockets_stay_across_a_reload() {
    let program = master().display().to_string();
    let args = ["-l", "{}", "--", &*program, "unused", "bind=systemd:", "signals=1", "workers=1"];
    let mut server = Server::launch(Path::new("systemd-socket-activate"), &args).listening();
    assert!(server.get("/").starts_with("first "));
    server.stdin("reload name=second\n");
    until("it has reloaded", || server.get("/").starts_with("second "));
    server.stop();
}

// ---- who serves ----

/// The numbers of `nobody`, who has no rights, and whom every system has.
fn nobody() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("nobody:")).expect("nobody");
    let mut fields = line.split(':').skip(2).map(|number| number.parse().expect("a number"));
    (fields.next().expect("a user"), fields.next().expect("a group"))
}

/// Only root can become somebody else.
fn is_root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        eprintln!("NOT TESTED, SINCE THIS IS NOT ROOT: {test}");
    }
    is_root
}

/// A number of `/who`.
fn who(server: &Server, name: &str) -> u32 {
    let text = server.get("/who");
    let mut words = text.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// A directory, for root alone.
fn own_directory() -> String {
    let path = unique("dir");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn workers_become_somebody_else_and_the_arbiter_does_not() {
    if !is_root("workers_become_somebody_else_and_the_arbiter_does_not") {
        return;
    }
    let (uid, gid) = nobody();
    for way in [["as=serve", "worker_model=fork"], ["as=arbiter", "worker_model=fork"]] {
        // Where nobody could not bind.
        let dir = own_directory();
        let (socket, pidfile) = (format!("{dir}/s"), format!("{dir}/pid"));
        let options = [&format!("bind=unix:{socket}"), &format!("pidfile={pidfile}"), "umask=027"];
        let server = start(&[&way[..], &["user=nobody", "app=loop"], &options[..]].concat());
        for (name, value) in [
            ("uid", uid),
            ("euid", uid),
            ("gid", gid),
            ("egid", gid),
            ("root", 0),
            ("umask", 27),
            ("ppid", server.pid() as u32),
            // KILL, when the arbiter dies; of the thread that is asked, which is the first.
            ("pdeathsig", 9),
            ("groups", gid),
        ] {
            assert_eq!(who(&server, name), value, "{name} {way:?}");
        }
        assert!(ask_unix(&socket).ends_with("hello"));
        assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), 0);
        // Also those that come later.
        let worker = server.workers()[0];
        kill(worker, SIGKILL);
        until("it is replaced", || server.workers().first().is_some_and(|new| *new != worker));
        assert_eq!(who(&server, "uid"), uid);
        server.stop();
        fs::remove_dir(&dir).expect("nothing is left in it");
    }
    // By numbers, and the group alone.
    for (options, is) in [
        (&["user=54321", "group=54322"][..], (54321, 54322)),
        (&["user=nobody", "group=0"], (uid, 0)),
        (&["group=54322"], (0, 54322)),
    ] {
        let server = start(&[&["worker_model=fork"], options].concat());
        assert_eq!((who(&server, "uid"), who(&server, "gid")), is);
        assert_eq!(who(&server, "groups"), is.1);
        server.stop();
    }
}

#[test]
fn a_process_that_serves_becomes_somebody_else_itself() {
    if !is_root("a_process_that_serves_becomes_somebody_else_itself") {
        return;
    }
    let (uid, gid) = nobody();
    for model in ["worker_model=inline", "worker_model=threads"] {
        let dir = own_directory();
        let (socket, pidfile) = (format!("{dir}/s"), format!("{dir}/pid"));
        let options = [model, "user=nobody", "umask=077"];
        let paths = [&*format!("bind=unix:{socket}"), &*format!("pidfile={pidfile}")];
        let server = start(&[&options[..], &paths].concat());
        for (name, value) in
            [("uid", uid), ("egid", gid), ("root", 0), ("umask", 77), ("pid", server.pid() as u32)]
        {
            assert_eq!(who(&server, name), value, "{name} {model}");
        }
        assert!(ask_unix(&socket).ends_with("hello"));
        let (threads, pid) = (format!("/proc/{}/task", server.pid()), server.pid());
        for thread in fs::read_dir(threads).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
        }
        let ended = server.stop();
        // Nobody may not remove it; the next one replaces it.
        assert_eq!(named_by(&pidfile), Some(pid));
        assert!(ended.stderr.contains("Permission denied"), "{ended:?}");
        start(&["worker_model=fork", &format!("pidfile={pidfile}")]).stop();
        assert!(!Path::new(&pidfile).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn an_application_is_loaded_by_the_user() {
    if !is_root("an_application_is_loaded_by_the_user") {
        return;
    }
    let module = PathBuf::from(unique("module")).with_extension("so");
    let source = support::root().join("tests/c/life.c");
    let mut args = vec!["-shared", "-fPIC", "-DMODULE"];
    if under() == Under::Sanitizers {
        args.push("-fsanitize=address,undefined");
    }
    support::compile_c(&source, &module, &args);
    fs::set_permissions(&module, fs::Permissions::from_mode(0o755)).unwrap();
    let option = format!("module={}", module.display());
    for way in WAYS.iter().filter(|way| **way != ["as=arbiter", "worker_model=threads"]) {
        let server = start(&[&way[..], &["user=nobody", &option]].concat());
        assert_eq!(who(&server, "loaded_by"), nobody().0, "{way:?}");
        server.stop();
    }
    // What is shared is loaded before.
    let server = start(&["worker_model=fork", "preload=1", "user=nobody", &option]);
    assert_eq!((who(&server, "loaded_by"), who(&server, "uid")), (0, nobody().0));
    server.stop();
    // Which the user must be able to do, and the trial says it.
    fs::set_permissions(&module, fs::Permissions::from_mode(0o700)).unwrap();
    for way in [WAYS[0], WAYS[1], WAYS[2], WAYS[3]] {
        let options = [&way[..], &["user=nobody", &option]].concat();
        let ended = launch(&options, &[]).end();
        assert!(ended.stderr.contains("Permission denied"), "{way:?} {ended:?}");
        assert_eq!(ended.status, Some(4), "{way:?} {ended:?}");
    }
    fs::remove_file(&module).unwrap();
}

#[test]
fn a_user_who_is_not_there_is_an_error() {
    for way in WAYS {
        for (option, said) in [
            ("user=no-such-user", "user = no-such-user: there is no such user"),
            ("group=no-such-group", "group = no-such-group: there is no such group"),
            ("user=54321", "user = 54321: no account has this number: set group, too"),
            ("user=4294967295", "nobody has this number"),
        ] {
            let ended = refused(&[&way[..], &[option]].concat());
            assert!(ended.stderr.contains(said), "{ended:?}");
        }
    }
}

#[test]
fn a_process_that_is_the_hosts_is_not_changed() {
    for option in ["user=root", "group=0", "umask=022"] {
        let ended = refused(&["as=arbiter", "worker_model=threads", option]);
        assert!(ended.stderr.contains("which only gw_serve may change"), "{ended:?}");
    }
    for option in ["user=root", "group=0", "umask=022", "pidfile=/nonexistent/x", "systemd=1"] {
        let ended = refused(&["as=server", option]);
        let said = format!("{}: a server in a foreign loop", option.split('=').next().unwrap());
        assert!(ended.stderr.contains(&said), "{ended:?}");
    }
}

#[test]
fn who_is_not_root_stays_who_it_is() {
    let program = life().display().to_string();
    let mut setpriv = vec!["--reuid=12345", "--regid=12345", "--clear-groups", "--"];
    let (mut uid, mut runner) = (12345, Path::new("setpriv"));
    if !is_root("who_is_not_root_stays_who_it_is, as somebody else than this user") {
        uid = fs::metadata("/proc/self").unwrap().uid();
        (setpriv, runner) = (Vec::new(), Path::new(&program));
    } else if under() != Under::Nothing {
        eprintln!("NOT UNDER A CHECKER: user 12345 may not write what it finds");
        return;
    } else {
        setpriv.push(&program);
    }
    let common = ["bind={}", "workers=1", "errorlog=-"];
    let ended = Server::launch(runner, &[&setpriv[..], &common, &["user=root"]].concat()).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let said = format!("only root can become user 0 and group 0, and this process is user {uid}");
    assert!(ended.stderr.contains(&said), "{ended:?}");
    // Itself it is already.
    let (user, group) = (format!("user={uid}"), format!("group={uid}"));
    let gid = fs::metadata("/proc/self").unwrap().gid();
    let group = if setpriv.is_empty() { format!("group={gid}") } else { group };
    let server = Server::launch(runner, &[&setpriv[..], &common, &[&user, &group]].concat());
    let server = server.listening();
    assert_eq!(who(&server, "uid"), uid);
    server.stop();
}

#[test]
fn a_worker_of_somebody_else_dies_with_its_arbiter() {
    if !is_root("a_worker_of_somebody_else_dies_with_its_arbiter") {
        return;
    }
    // It spins, and so does not look at the life-line.
    let server = start(&["worker_model=fork", "app=loop", "user=nobody"]);
    let worker = server.workers()[0];
    let mut hangs = TcpStream::connect(server.address()).unwrap();
    hangs.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    kill(server.pid(), SIGKILL);
    server.end();
    let status = format!("/proc/{worker}/status");
    until("it is dead", || fs::read_to_string(&status).map_or(true, |it| it.contains("(zombie)")));
}

#[test]
fn logs_are_opened_again_by_somebody_else() {
    if !is_root("logs_are_opened_again_by_somebody_else") {
        return;
    }
    let (uid, _) = nobody();
    for model in ["worker_model=fork", "worker_model=threads", "worker_model=inline"] {
        // Only root makes files here, and everybody may use them.
        let dir = own_directory();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let (access, error) = (format!("{dir}/access"), format!("{dir}/error"));
        let [to_access, to_error] = [format!("accesslog={access}"), format!("errorlog={error}")];
        let server = start(&[model, "user=nobody", &to_access, &to_error]);
        assert_eq!(fs::metadata(&access).unwrap().uid(), uid);
        let old = format!("{access}.1");
        fs::rename(&access, &old).unwrap();
        server.signal(SIGUSR1);
        let lines = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.matches("GET /who").count()
        };
        if model == "worker_model=fork" {
            until("lines go to the new file", || {
                server.get("/who");
                lines(&access) > 0
            });
            assert_eq!(fs::metadata(&access).unwrap().uid(), uid);
        } else {
            // The process can make none; it says so, and loses nothing.
            let said = format!("open log {access}: Permission denied (os error 13); its lines go");
            until("it complains", || fs::read_to_string(&error).unwrap().contains(&said));
            server.get("/who");
            until("the line is in the old file", || lines(&old) == 1);
        }
        // One that is root's alone cannot be opened by workers.
        if model == "worker_model=fork" {
            let _ = fs::remove_file(&access);
            fs::write(&access, "").unwrap();
            fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).unwrap();
            server.signal(SIGUSR1);
            let said = format!("open log {access}: Permission denied (os error 13); its lines go");
            until("it complains", || fs::read_to_string(&error).unwrap().contains(&said));
        }
        server.stop();
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_log_that_was_there_is_not_given_away() {
    if !is_root("a_log_that_was_there_is_not_given_away") {
        return;
    }
    let (secret, link) = (unique("secret"), unique("link"));
    fs::write(&secret, "").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let errorlog = format!("errorlog={link}");
    let server = start(&["worker_model=fork", "user=nobody", &errorlog]);
    server.signal(SIGUSR1);
    until("it has tried", || fs::read_to_string(&secret).unwrap().contains("usr1"));
    server.stop();
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    fs::remove_file(&link).unwrap();
    fs::remove_file(&secret).unwrap();
}

// ---- children that are nobody's ----

/// The children of a process, with those that nobody has waited for.
fn children(pid: i32) -> usize {
    let path = format!("/proc/{pid}/task/{pid}/children");
    fs::read_to_string(path).unwrap_or_default().split_whitespace().count()
}

/// A server that has children when it starts, as one that a script has executed.
fn parent(options: &[&str]) -> Server {
    let program = life().display().to_string();
    let script = "sleep 0.1 & sleep 0.2 & sleep 0.3 & exec \"$0\" \"$@\"";
    let common = ["-c", script, &program, "bind={}", "workers=1", "errorlog=-", "loglevel=debug"];
    let is_inline = options.contains(&"worker_model=inline");
    let common = if is_inline { [&common[..4], &common[5..]].concat() } else { common.to_vec() };
    Server::launch(Path::new("sh"), &[&common[..], options].concat()).listening()
}

#[test]
fn orphans_are_waited_for_when_the_host_says_so() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: it would check the shell");
        return;
    }
    for way in WAYS {
        let forks = usize::from(way[1] == "worker_model=fork");
        for signals in ["signals=1", "signals=0"] {
            let server = parent(&[&way[..], &[signals, "reap_orphans=1"]].concat());
            server.get("/");
            until("they are gone", || children(server.pid()) == forks);
            if signals == "signals=1" {
                let ended = server.stop();
                assert!(!ended.stderr.contains("Worker (pid:"), "{ended:?}");
                assert!(!ended.stderr.contains("chld"), "{ended:?}");
            } else {
                server.workers().iter().for_each(|worker| kill(*worker, SIGKILL));
                kill(server.pid(), SIGKILL);
                server.end();
            }
        }
        // And are left to the host when it does not.
        let server = parent(&[&way[..], &["signals=1"]].concat());
        server.get("/");
        let zombies = || {
            let stats = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid()));
            let stats = stats.unwrap_or_default();
            let is_zombie = |pid: &&str| {
                fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|s| s.contains("zombie"))
            };
            stats.split_whitespace().filter(is_zombie).count()
        };
        until("they have ended", || zombies() == 3);
        (0..20).for_each(|_| drop(server.get("/")));
        assert_eq!((zombies(), children(server.pid())), (3, 3 + forks));
        server.stop();
    }
}

#[test]
fn what_workers_leave_is_waited_for_and_is_no_worker() {
    // The shell ends at once; what it has started is taken in by the arbiter.
    let run = "run=sleep 0.05 & sleep 0.1 & exit 0";
    let options = ["worker_model=fork", "subreaper=1", "reap_orphans=1", run];
    let server = start(&options);
    for round in 0..5 {
        assert_eq!(server.get("/run"), "0", "what a worker waits for is its own");
        // A worker ends among them.
        let worker = server.workers()[0];
        if round == 2 {
            kill(worker, SIGKILL);
        }
        until("they are gone", || {
            let workers = server.workers();
            workers.len() == 1 && (round != 2 || workers[0] != worker)
        });
        server.get("/");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr.matches("Worker (pid:").count(), 1, "{ended:?}");
    assert_eq!(ended.stderr.matches("was sent SIGKILL!").count(), 1, "{ended:?}");
}

// ---- what is wrong with a configuration ----

/// One that is asked what is wrong: the problems, which it tells twice.
fn problems(options: &[&str]) -> Vec<String> {
    let server = launch(&[&["as=check"], options].concat(), &[]);
    let ended = server.end();
    let lines: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    assert_eq!(first, second, "{ended:?}");
    assert_eq!(ended.status, Some(i32::from(!lines.is_empty())), "{ended:?}");
    if !lines.is_empty() {
        let said = format!("GW_ERR_INVALID: {} problems", first.len());
        assert!(ended.stderr.contains(&said), "{ended:?}");
    }
    first.to_vec()
}

/// What is in a directory.
fn names(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_problem_is_found_before_anything_is_started() {
    let dir = own_directory();
    let path = |name: &str| format!("{dir}/{name}");
    fs::write(path("file"), "garbage").unwrap();
    fs::write(path("broken.so"), "garbage").unwrap();
    fs::create_dir(path("directory")).unwrap();
    // A stale socket is no problem, and not for a check to remove.
    drop(std::os::unix::net::UnixListener::bind(path("stale")).unwrap());
    let taken = start(&["worker_model=fork", &format!("bind=unix:{}", path("taken"))]);
    let running = path("running");
    fs::write(&running, format!("{}\n", taken.pid())).unwrap();
    let before = names(&dir);

    let in_use = format!("bind={}", taken.address());
    let list = [
        (vec!["worker_model=inline", "workers=2"], "workers = 2: worker_model = inline has one"),
        (vec!["limit_request_line=1m"], "limit_request_line = 1048576: more than the whole head"),
        (vec!["spool_dir=/nonexistent"], "spool_dir = /nonexistent: there is no such directory"),
        (vec!["accesslog=/nonexistent/x"], "accesslog = /nonexistent/x: No such file or directory"),
        (vec!["errorlog=/nonexistent/x"], "errorlog = /nonexistent/x: No such file or directory"),
        (vec!["accesslog=@/directory"], "accesslog = @/directory: is a directory"),
        (vec!["accesslog=fd:77"], "accesslog = fd:77: Bad file descriptor"),
        (vec!["accesslog=@/log", "access_log_format=%(x"], "access_log_format: "),
        (vec!["pidfile=@/file"], "pidfile = @/file: what is in it is not the id of a process"),
        (vec!["pidfile=@/directory"], "pidfile = @/directory: this is not a regular file"),
        (vec!["pidfile=@/running"], "pidfile: already running: pid "),
        (vec!["pidfile=/nonexistent/x"], "pidfile = /nonexistent/x: No such file or directory"),
        (vec!["user=no-such-user"], "user = no-such-user: there is no such user"),
        (vec!["group=no-such-group"], "group = no-such-group: there is no such group"),
        (vec![&in_use], "Address already in use"),
        (vec!["bind=192.0.2.1:8000"], "bind 192.0.2.1:8000: Cannot assign requested address"),
        (vec!["bind=name.invalid:80"], "bind name.invalid:80: look up name.invalid: "),
        (vec!["bind=unix:@/file"], "bind unix:@/file: exists and is not a socket"),
        (vec!["bind=unix:@/taken"], "bind unix:@/taken: Address already in use"),
        (vec!["bind=unix:/nonexistent/s"], "bind unix:/nonexistent/s: No such file or directory"),
        (vec!["bind=fd://77"], "bind fd://77: listen on inherited descriptor 77: Bad file descr"),
        (vec!["bind=systemd:web"], "bind systemd:web: no such socket"),
        (vec!["bind=unix:@/s", "bind=unix:@/s"], "bind: unix:@/s twice"),
        (vec!["threads=2", "app=unsafe"], "threads = 2: application \"life\" is not"),
        (vec!["threads=0", "app=unsafe", "middleware=1"], "threads = 0: application \"life\" may"),
        (
            vec!["worker_model=threads", "workers=2", "app=unsafe"],
            "workers = 2: worker_model = thr",
        ),
        (vec!["app=none"], "there is no application: gw_config_app comes first"),
        (vec!["module=/nonexistent.so"], "/nonexistent.so"),
        (vec!["module=@/broken.so"], "@/broken.so"),
    ];
    for (options, said) in &list {
        let said = said.replace('@', &dir);
        let options: Vec<String> = options.iter().map(|it| it.replace('@', &dir)).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let found = problems(&options);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&said), "{found:?} {said}");
        // And it does not start with it, nor leave anything.
        for way in ["as=serve", "as=arbiter"] {
            let server = launch(&[&[way], &options[..]].concat(), &[]);
            let address = server.address().to_owned();
            let ended = server.end();
            let is_module = said.contains(".so");
            assert_eq!(ended.status, Some(if is_module { 4 } else { 1 }), "{ended:?}");
            let has_other =
                way == "as=arbiter" && said.starts_with("workers = 2: worker_model = i");
            assert!(ended.stderr.contains(&said) || has_other, "{way} {ended:?} {said}");
            assert!(TcpStream::connect(&address).is_err());
        }
        assert_eq!(names(&dir), before, "{options:?}");
    }

    // All at once: one report for each, and one message.
    let several = [&in_use, "pidfile=/nonexistent/x", "user=no-such-user", "limit_request_line=1m"];
    let found = problems(&several);
    assert_eq!(found.len(), several.len(), "{found:?}");
    let ended = refused(&several);
    for problem in &found {
        let (_, text) = problem.split_once(": ").unwrap();
        // As much as a message has room for.
        let begins = &text[..text.len().min(20)];
        assert!(ended.stderr.contains(begins) || ended.stderr.len() > 240, "{ended:?} {text}");
    }
    assert!(ended.stderr.matches("; ").count() >= 2, "{ended:?}");
    // And none.
    let socket = format!("bind=unix:{}", path("stale"));
    let (pidfile, log) = (format!("pidfile={}", path("pid")), format!("accesslog={}", path("log")));
    let is = fs::metadata("/proc/self").unwrap();
    let (user, group) = (format!("user={}", is.uid()), format!("group={}", is.gid()));
    assert!(problems(&[&socket, &pidfile, &log, &user, &group, "middleware=1"]).is_empty());
    assert_eq!(names(&dir), before);
    taken.stop();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_address_in_use_is_free_when_its_server_has_ended() {
    let first = start(&["worker_model=fork"]);
    let found = problems(&[&format!("bind={}", first.address())]);
    let said = format!("GW_ERR_IO: bind {}: Address already in use", first.address());
    assert!(found[0].starts_with(&said), "{found:?}");
    first.stop();
    assert!(problems(&[]).is_empty());
}
