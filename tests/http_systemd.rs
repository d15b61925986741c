//! What systemd sees of a server, and the sockets that it passes.

mod harness;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use harness::life::{
    SIGHUP, WAYS, are_processes, ask_unix, launch, life, master, refused, tell, unique,
};
use harness::{PATIENCE, SIGKILL, SIGTERM, Server, Under, kill, under, until};

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
        tell(&mut server, "boot fails");
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
        // While it stopped, it was fed.
        while !manager.all_is_heard() {}
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
            let is_clean = heeds == "systemd=1" && are_processes(way);
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

/// Sockets are passed to the arbiter, and its workers know the terms of each all the same.
#[test]
fn passed_sockets_keep_their_terms_in_workers() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for model in ["inline", "fork", "threads", "exec"] {
        let path = unique("sock");
        let sockets = ["-l", "{}", "-l", &path, "--fdname=web:side"];
        let model = format!("worker_model={model}");
        let bind = "bind=systemd:web,scgi+systemd:side";
        let options = [bind, &model, "workers=1", "signals=1", "errorlog=-"];
        let server = activated(&sockets, &options).listening();
        assert_eq!(server.get("/"), "hello", "{model}");
        let connect = || {
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut stream = connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut told = String::new();
        let _ = stream.read_to_string(&mut told);
        assert!(told.contains("HTTP was spoken to an SCGI listener"), "{model}: {told}");
        let head = "CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET\0PATH_INFO\0/\0";
        let mut stream = connect();
        stream.write_all(format!("{}:{head},", head.len()).as_bytes()).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.ends_with("hello"), "{model}: {told}");
        server.stop();
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn a_passed_socket_is_not_listened_on_twice_and_not_left_to_programs() {
    if under() != Under::Nothing {
        eprintln!("NOT UNDER A CHECKER: strace wants the program for itself");
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
