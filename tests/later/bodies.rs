//! Request bodies, read through the handle.

use gateway::base::error::Kind;
use gateway::gateway::abi::Response as Head;
use gateway::{Config, Deferred};

use super::harness::*;
use super::tools::*;

fn streamed(config: &mut Config) {
    config.set("request_buffering", "0").unwrap();
}

/// Everything that is there; whether that was the end.
fn drain(handle: &Deferred, into: &mut Vec<u8>) -> bool {
    let mut buf = [0; 700];
    loop {
        match handle.read(&mut buf).unwrap() {
            None => return false,
            Some(0) => return true,
            Some(n) => into.extend_from_slice(&buf[..n]),
        }
    }
}

#[test]
fn a_buffered_body_is_there_in_any_thread() {
    for size in [0, 5, 20_000, 300_000] {
        let desk = Desk::default();
        let mut server = Server::new(|_| {}, desk.app());
        let mut client = server.connect();
        let body = noise(size);
        server.feed(&mut client, &post(&body));
        server.until("the request", |_| desk.len() == 1);
        let handle = desk.take();
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            assert!(drain(&handle, &mut all));
            handle.reply(&Head::new(200, &TEXT), all).unwrap();
        });
        read.join().unwrap();
        assert!(server.reply(&mut client).body == body, "{size}");
        assert_eq!(server.counters.received.get(), size as u64);
        nothing_left(&mut server, &desk);
    }
}

#[test]
fn the_environ_reads_it_too() {
    let request = String::from_utf8(post(b"one\ntwo\n")).unwrap();
    let (mut server, mut client, _desk, handle) = asked(&request);
    let mut line = [0; 100];
    let env = handle.environ().unwrap();
    assert_eq!(env.read_line(&mut line).unwrap(), 4);
    assert_eq!(env.read_all(usize::MAX).unwrap().as_slice(), b"two\n");
    assert_eq!(handle.read(&mut line).unwrap(), Some(0));
    handle.reply(&Head::new(200, &TEXT), Vec::new()).unwrap();
    assert_eq!(server.reply(&mut client).status, 200);
}

#[test]
fn a_streamed_body_is_told_of_and_waits_for_its_reader() {
    for chunks in [false, true] {
        let desk = Desk::default();
        let mut server = Server::new(streamed, desk.app());
        let mut client = server.connect();
        let body = noise(2_000_000);
        let request = match chunks {
            false => post(&body),
            true => [POST_CHUNKED.as_bytes(), &chunked(&body, 3000)].concat(),
        };
        let mut left = &request[..];
        server.until("the call", |_| {
            left = &left[client.try_send(left)..];
            desk.len() == 1
        });
        let handle = desk.take();
        // It waits: the server takes no more than its window and the socket's buffers.
        for _ in 0..100 {
            left = &left[client.try_send(left)..];
            server.settle();
        }
        assert!(left.len() > 1_000_000, "{} left", left.len());
        let mut all = Vec::new();
        let (mut rounds, mut done) = (0, drain(&handle, &mut all));
        while !done {
            rounds += 1;
            server.until("readable", |_| {
                left = &left[client.try_send(left)..];
                desk.told.take() == ["readable"]
            });
            done = drain(&handle, &mut all);
        }
        assert!(all == body && rounds > 3, "{} octets in {rounds} rounds", all.len());
        handle.reply(&Head::new(200, &TEXT), b"thanks".to_vec()).unwrap();
        assert_eq!(server.reply(&mut client).text(), "thanks");
        assert!(server.is_kept(&mut client));
        nothing_left(&mut server, &desk);
    }
}

#[test]
fn who_waits_for_a_100_gets_it_at_the_first_read() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let (mut server, mut client, desk, handle) = asked_with(streamed, head);
    assert!(client.inbox.is_empty());
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    server.settle();
    client.pull();
    assert_eq!(client.inbox, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    server.settle();
    assert_eq!(desk.told.take(), ["readable"]);
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), Some(4));
    handle.reply(&Head::new(200, &TEXT), Vec::new()).unwrap();
    assert_eq!(server.reply(&mut client).status, 200);

    // And one that is answered unread is not told to go on.
    let (mut server, mut client, _desk, handle) = asked_with(streamed, head);
    handle.reply(&Head::new(200, &TEXT), Vec::new()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.interims().len(), response.says_close()), (0, true));
}

#[test]
fn a_body_that_goes_wrong_is_told_of() {
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf";
    // Cut short.
    let (mut server, mut client, desk, handle) = asked_with(streamed, post);
    let mut all = Vec::new();
    assert!(!drain(&handle, &mut all));
    client.half_close();
    server.until("readable", |_| desk.told.take().contains(&"readable".to_owned()));
    assert_eq!(handle.read(&mut [0; 9]).unwrap_err().kind(), Kind::Closed);
    handle.end(Err(Kind::Closed.into())).unwrap();
    server.until_end(&mut client);
    nothing_left(&mut server, &desk);

    // Malformed, and over the limit.
    for (chunk, kind, status) in [("zz\r\n", Kind::Protocol, 400), ("ffff\r\n", Kind::Limit, 413)] {
        let (mut server, mut client, desk, handle) = asked_with(
            |config| {
                streamed(config);
                config.set("max_body", "1000").unwrap();
            },
            POST_CHUNKED,
        );
        assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
        client.send(chunk);
        server.settle();
        assert_eq!(desk.told.take(), ["readable"]);
        let error = handle.read(&mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), kind);
        handle.end(Err(error)).unwrap();
        let response = server.reply(&mut client);
        assert_eq!((response.status, response.says_close()), (status, true));
        nothing_left(&mut server, &desk);
    }

    // Too slow, and only while somebody waits for it.
    let (mut server, mut client, desk, handle) = asked_with(
        |config| {
            streamed(config);
            config.set("body_timeout", "100ms").unwrap();
        },
        post,
    );
    for _ in 0..30 {
        server.turn(10);
    }
    assert_eq!(server.counters.body_timeouts.get(), 0);
    assert!(!drain(&handle, &mut Vec::new()));
    server.until("the timeout", |server| server.counters.body_timeouts.get() == 1);
    server.until("readable", |_| desk.told.take() == ["readable"]);
    let error = handle.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    handle.end(Err(error)).unwrap();
    assert_eq!(server.reply(&mut client).status, 408);
}

#[test]
fn a_body_that_nobody_waits_for_has_time() {
    let (mut server, mut client, desk, handle) = asked_with(
        |config| {
            streamed(config);
            config.set("body_timeout", "100ms").unwrap();
        },
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
    );
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    server.settle();
    client.send("half");
    server.settle();
    assert_eq!(desk.told.take(), ["readable"]);
    // Its reader has something to read, and does not: the client may be waiting for the answer.
    for _ in 0..30 {
        server.turn(10);
    }
    assert_eq!(server.counters.body_timeouts.get(), 0);
    let mut all = Vec::new();
    assert!(!drain(&handle, &mut all));
    server.settle();
    client.send("-whole");
    server.settle();
    assert!(drain(&handle, &mut all));
    assert_eq!(all, b"half-whole");
    handle.reply(&Head::new(200, &TEXT), Vec::new()).unwrap();
    assert_eq!(server.reply(&mut client).status, 200);
    nothing_left(&mut server, &desk);
}
