//! Bodies that are files: ranges, large ones, ones that shrink.

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use harness::client::Framing;
use harness::{Server, support, under, until};

/// A file that is removed with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> (Temporary, File) {
        let path = support::scratch_dir().join(format!("{name}-{}", std::process::id()));
        let file = File::create(&path).expect("create a file");
        (Temporary(path), file)
    }

    fn option(&self) -> String {
        format!("file={}", self.0.display())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn ranges_of_a_file() {
    let (path, file) = Temporary::new("ranges");
    let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&content, 0).expect("write the file");
    let server = Server::app(&[&path.option()]);
    let mut client = server.connect();
    let ranges = [(0, 300_000), (0, 1), (1, 299_999), (299_999, 1), (65_536, 65_536), (7, 0)];
    for (n, (offset, len)) in (1..).zip(ranges) {
        let response = client.get(&format!("/file?offset={offset}&len={len}"));
        assert_eq!(response.framing, Framing::Length);
        assert!(response.body == content[offset..offset + len], "{offset} + {len}");
        server.wait_for_count("released", n);
    }
    let to_the_end = client.get("/file?offset=100");
    assert!(to_the_end.body == content[100..]);
    client.send("HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("HEAD").header("content-length"), Some("300000"));
    client.send("GET /file?len=10 HTTP/1.0\r\n\r\n");
    assert_eq!(client.response("GET").body, content[..10]);
    wait_until_closed(&server, &path.0);
    server.stop();
}

#[test]
fn a_file_that_is_shorter_than_said_is_a_shortfall() {
    let (path, file) = Temporary::new("short");
    file.set_len(1000).expect("size the file");
    let server = Server::app(&[&path.option()]);
    let mut client = server.connect();
    client.send("GET /file?len=2000 HTTP/1.1\r\nHost: x\r\n\r\n");
    if let Ok(response) = client.try_response("GET") {
        // Seen before the head was sent, it is a failure like any other.
        assert_eq!(response.status, 500);
    }
    assert_eq!(server.get("/query?alive"), "alive");
    server.wait_for_count("released", 1);
    server.stop();
}

#[test]
fn a_large_sparse_file() {
    let size: u64 = if under() == harness::Under::Nothing { 5 << 30 } else { 16 << 20 };
    let (path, file) = Temporary::new("sparse");
    file.set_len(size).expect("size the file");
    let marks = [0, 4095, size / 2, size - 5];
    for mark in marks {
        file.write_all_at(b"mark!", mark).expect("write a mark");
    }
    let server = Server::app(&[&path.option()]);
    let mut client = server.connect();

    // All of it, and its length said in more than 32 bits.
    client.send("HEAD /file HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("HEAD").header("content-length"), Some(&*size.to_string()));
    for mark in marks {
        let response = client.get(&format!("/file?offset={mark}&len=5"));
        assert_eq!(response.text(), "mark!");
    }
    let before = resident(&server);
    let length = 128 << 20;
    let half = (size / 2).min(length / 2);
    let (offset, length) = (size / 2 - half, size.min(length));
    client.send(format!("GET /file?offset={offset}&len={length} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let head = client.head();
    assert_eq!(head.header("content-length"), Some(&*length.to_string()));
    let mut at = 0;
    let mut found = Vec::new();
    while at < length {
        let octets = client.read_some(usize::try_from(length - at).unwrap_or(usize::MAX));
        if let Some(mark) = octets.windows(5).position(|w| w == b"mark!") {
            found.push(offset + at + mark as u64);
        }
        at += octets.len() as u64;
    }
    assert!(found.len() <= 4 && found.iter().all(|at| marks.contains(at)), "{found:?}");
    assert_eq!(client.get("/query?next").text(), "next");
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} octets of memory for a file that the kernel sends");
    server.stop();
}

#[test]
fn a_client_that_leaves_ends_a_file() {
    let (path, file) = Temporary::new("leaving");
    file.set_len(64 << 20).expect("size the file");
    let server = Server::app(&[&path.option()]);
    let mut client = server.connect();
    client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n");
    client.read_some(1000);
    drop(client);
    server.wait_for_count("released", 1);
    wait_until_closed(&server, &path.0);
    server.stop();
}

/// No descriptor of the server leads to a file; the last one may be about to be closed.
fn wait_until_closed(server: &Server, path: &std::path::Path) {
    until("it is closed", || {
        let fds = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its descriptors");
        let mut links = fds.filter_map(|fd| fs::read_link(fd.expect("a descriptor").path()).ok());
        !links.any(|link| link == path)
    });
}

/// Its resident memory, in octets.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") << 10
}
