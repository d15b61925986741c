//! Servers of `tests/c/life.c`, and what stands on a host beside them: files, sockets, directories.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ended, PATIENCE, Server, program, until};

pub const SIGHUP: i32 = 1;
pub const SIGUSR1: i32 = 10;

/// How a server may be started.
pub const WAYS: [[&str; 2]; 6] = [
    ["as=serve", "worker_model=fork"],
    ["as=serve", "worker_model=exec"],
    ["as=serve", "worker_model=threads"],
    ["as=serve", "worker_model=inline"],
    ["as=arbiter", "worker_model=fork"],
    ["as=arbiter", "worker_model=threads"],
];

/// Whether the workers are processes of their own.
pub fn are_processes(way: [&str; 2]) -> bool {
    ["worker_model=fork", "worker_model=exec"].contains(&way[1])
}

pub fn life() -> PathBuf {
    program(&["tests/c/life.c"])
}

pub fn master() -> PathBuf {
    program(&["tests/c/master.c"])
}

/// A name that no other test uses, in a directory for temporary files: short enough for a socket.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("gw-{what}-{}-{count}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

/// Tells `tests/c/master.c` a line, and waits until it has obeyed: a signal that is sent after that comes after it.
pub fn tell(server: &mut Server, line: &str) {
    let obeyed = |server: &Server| {
        let state = server.get("/state");
        let mut words = state.split(' ').skip_while(|word| *word != "obeyed").skip(1);
        words.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or_else(|| panic!("{state}"))
    };
    let before = obeyed(server);
    server.stdin(&format!("{line}\n"));
    until(line, || obeyed(server) > before);
}

pub fn launch(options: &[&str], environment: &[(&str, &str)]) -> Server {
    let common = ["bind={}", "workers=1", "signals=1", "errorlog=-"];
    let common = if options.contains(&"worker_model=inline") { &common[..1] } else { &common };
    Server::launch_with(&life(), &[common, options].concat(), environment)
}

pub fn start(options: &[&str]) -> Server {
    let server = launch(options, &[]).listening();
    server.get("/");
    server
}

/// One that does not start: what it says, and with which status it ends.
pub fn refused(options: &[&str]) -> Ended {
    let server = launch(options, &[]);
    let address = server.address().to_owned();
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(TcpStream::connect(address).is_err());
    ended
}

pub fn named_by(path: &str) -> Option<i32> {
    fs::read_to_string(path).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok())
}

/// One answer over a unix socket.
pub fn ask_unix(path: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A directory, for root alone.
pub fn own_directory() -> String {
    let path = unique("dir");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}
