//! Ranges of files, sent by sendfile.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use gateway::gateway::abi::{EOF, Environ, OK, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;

#[test]
fn ranges_of_a_file_arrive_with_their_length() {
    let dir = Dir::new();
    let content = noise(3_000_000);
    let path = dir.file("f", &content);
    let app = move |env: &Environ, start: &StartResponse<'_>| {
        let number = |name: &[u8]| {
            std::str::from_utf8(env.query(name).as_slice()).unwrap().parse::<u64>().unwrap()
        };
        start.respond(&Head::new(200, &TEXT))?;
        Body::from_file(File::open(&path).unwrap(), number(b"at"), number(b"len"))
    };
    let mut server = Server::new(|_| {}, app);
    for tcp in [true, false] {
        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        for (at, len) in [
            (0, u64::MAX),
            (0, 1),
            (1, 10_000),
            (2_999_999, 1),
            (2_999_999, u64::MAX),
            (3_000_000, u64::MAX),
            (9_000_000, u64::MAX),
            (100_000, 2_000_000),
            (0, 0),
        ] {
            let request = format!("GET /?at={at}&len={len} HTTP/1.1\r\nHost: h\r\n\r\n");
            let response = server.ask_on(&mut client, request);
            let from = (at as usize).min(content.len());
            let to = from + (len.min((content.len() - from) as u64)) as usize;
            assert!(response.body == content[from..to], "{at}+{len}");
            assert_eq!(response.framing, Framing::Length(to - from));
        }
        assert!(server.is_kept(&mut client));
    }
    assert_eq!(open_files(&dir), 0, "each was closed");
}

/// Descriptors of this process that lead into the directory.
fn open_files(dir: &Dir) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    fds.filter(|fd| {
        let target = std::fs::read_link(fd.as_ref().unwrap().path());
        target.is_ok_and(|target| target.starts_with(&dir.0))
    })
    .count()
}

#[test]
fn a_file_that_is_shorter_than_its_range_cuts_and_is_logged() {
    let dir = Dir::new();
    let path = dir.file("f", &noise(1000));
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Body::from_file(File::open(&path).unwrap(), 500, 1000)
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect_tcp();
    client.send(GET);
    let response = server.truncated(&mut client);
    assert_eq!((response.framing, response.body.len()), (Framing::Length(1000), 500));
    assert_eq!(client.end, Some(End::Reset));
    assert_eq!(server.counters.aborted.get(), 1);
    let lines = server.log.with("shorter");
    assert_eq!(lines.len(), 1, "{:?}", server.log.lines());
    assert_eq!(open_files(&dir), 0);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_cuts() {
    let dir = Dir::new();
    let path = dir.file("f", &noise(20_000_000));
    let open = path.clone();
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Body::from_file(File::open(&open).unwrap(), 0, u64::MAX)
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect_tcp();
    client.send(GET);
    server.settle();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let response = server.truncated(&mut client);
    assert!(response.body.len() < 20_000_000);
    assert_eq!(open_files(&dir), 0);
}

#[test]
fn files_and_memory_mix_in_order() {
    let dir = Dir::new();
    let file = Arc::new(File::open(dir.file("f", b"0123456789")).unwrap());
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.journal = Some(told.clone());
        let (told, file) = (told.clone(), file.clone());
        let mut n = 0;
        body.next = Some(Box::new(move |out| {
            n += 1;
            *out = match n {
                1 => capp::lent(b"<"),
                2 => capp::file(&told, "file", file.as_raw_fd(), 2, 3),
                3 => capp::owned(&told, "memory", vec![b'm'; 5000]),
                4 => capp::file(&told, "file", file.as_raw_fd(), 0, 1),
                // A file range that is only lent.
                5 => gateway::base::octets::Chunk {
                    release: None,
                    arg: std::ptr::null_mut(),
                    ..capp::file(&Journal::default(), "", file.as_raw_fd(), 9, 1)
                },
                6 => capp::lent(b">"),
                _ => return EOF,
            };
            OK
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    for request in [GET, "GET / HTTP/1.0\r\n\r\n"] {
        let response = server.ask_on(&mut client, request);
        assert_eq!(response.text(), format!("<234{}09>", "m".repeat(5000)));
        let lines = journal.take();
        assert_eq!(lines.last().unwrap(), "close");
        assert_eq!(lines.len(), 4, "{lines:?}");
    }
}

#[test]
fn a_head_request_sends_no_file_and_releases_it() {
    let dir = Dir::new();
    let path = dir.file("f", &noise(5000));
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Body::from_file(File::open(&path).unwrap(), 0, u64::MAX)
    };
    let mut server = Server::new(|_| {}, app);
    let response = server.ask("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(response.header("Content-Length"), Some("5000"));
    assert_eq!(open_files(&dir), 0);
}

#[test]
fn a_client_that_leaves_in_the_middle_closes_the_file() {
    let dir = Dir::new();
    let path = dir.file("f", &noise(20_000_000));
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Body::from_file(File::open(&path).unwrap(), 0, u64::MAX)
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect_tcp();
    client.send(GET);
    server.settle();
    assert_eq!(open_files(&dir), 1);
    client.reset();
    server.until("the file is closed", |_| open_files(&dir) == 0);
    assert_eq!(server.counters.aborted.get(), 1);
}
