//! Clients that do not read: they hold a thread only inside write().

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{EOF, OK, Response as Head};
use gateway::gateway::app::Application;

use super::harness::*;
use super::tools::*;

const SIZE: usize = 2 << 20;
const CLOSED: i64 = -11;
const TIMEOUT: i64 = -12;

/// `/reference`, `/file`, `/iterator`: the same large answer, made in three ways.
fn large(seen: &Seen, on_disk: std::fs::File) -> Application {
    let seen = seen.clone();
    blocking(move |env, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        match env.path_info() {
            b"/reference" => body.first = Some(owned(&seen, noise(SIZE))),
            b"/file" => body.first = Some(file(&seen, on_disk.as_raw_fd(), SIZE as u64)),
            b"/iterator" => {
                let (noted, all) = (seen.clone(), noise(SIZE));
                let mut at = 0;
                body.next = Some(Box::new(move |out: &mut Chunk| {
                    let end = all.len().min(at + 100_000);
                    if at == end {
                        return EOF;
                    }
                    *out = owned(&noted, all[at..end].to_vec());
                    at = end;
                    OK
                }));
            }
            _ => body.first = Some(capp::lent(b"small")),
        }
        let noted = seen.clone();
        body.close = Some(Box::new(move || noted.note("close")));
        OK
    })
}

#[test]
fn a_slow_client_does_not_hold_a_thread() {
    let dir = Dir::new();
    let path = dir.file("big", &noise(SIZE));
    for target in ["/reference", "/file", "/iterator"] {
        let seen = Seen::default();
        let app = large(&seen, std::fs::File::open(&path).unwrap());
        let mut server = Server::with(options("threads=1"), app);
        let mut slow: Vec<_> = (0..5).map(|_| server.connect()).collect();
        for client in &mut slow {
            client.send(get(target));
        }
        server.until("all answers have begun", |_| {
            slow.iter_mut().for_each(|client| client.pull_up_to(1));
            slow.iter().all(|client| client.total > 0)
        });
        let mut fast = server.connect();
        for _ in 0..20 {
            assert_eq!(server.ask_on(&mut fast, GET).text(), "small");
        }
        assert_eq!(seen.count("close"), 20, "the slow ones are not through");
        for client in &mut slow {
            assert!(server.reply(client).body == noise(SIZE), "{target}");
        }
        server.until("all are closed", |_| seen.count("close") == 25);
        seen.elsewhere();
    }
}

#[test]
fn a_stream_reaches_the_client_chunk_by_chunk() {
    let gate = Gate::default();
    let wait = gate.clone();
    let app = blocking(move |_, start, body| {
        let wait = wait.clone();
        let mut n = 0;
        body.next = Some(Box::new(move |out: &mut Chunk| {
            wait.pass();
            n += 1;
            *out = capp::lent(b"tick\n");
            if n > 5 { EOF } else { OK }
        }));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect();
    client.send(GET);
    for n in 1..=5 {
        gate.open(1);
        server.until("the chunk is here", |_| {
            client.pull();
            client.inbox.windows(5).filter(|w| w == b"tick\n").count() == n
        });
        server.until("the next is asked for", |_| gate.waiting() == 1);
    }
    gate.open(1);
    assert_eq!(server.reply(&mut client).chunks, [5; 5]);
}

/// Writes `count` pieces of 1 MiB; says how far it came, and how write() ended.
struct Written {
    pieces: Arc<AtomicU64>,
    ended: Arc<AtomicI64>,
}

fn writing(count: u64) -> (Application, Written) {
    let written = Written { pieces: Arc::default(), ended: Arc::new(AtomicI64::new(1)) };
    let (pieces, ended) = (written.pieces.clone(), written.ended.clone());
    let app = blocking(move |env, start, _| {
        if env.path_info() == b"/small" {
            return start.respond(&Head::new(200, &TEXT));
        }
        let (rc, writer) = start.open(&Head::new(200, &TEXT));
        assert_eq!(rc, OK);
        let piece = noise(1 << 20);
        for _ in 0..count {
            let rc = writer.write(&capp::lent(&piece));
            if rc != OK {
                ended.store(rc.into(), SeqCst);
                return rc;
            }
            pieces.fetch_add(1, SeqCst);
        }
        ended.store(0, SeqCst);
        OK
    });
    (app, written)
}

#[test]
fn write_blocks_its_thread_and_no_other_while_the_client_is_slow() {
    let (app, written) = writing(20);
    let mut server = Server::with(options("threads=2"), app);
    let mut slow = server.connect();
    slow.send(GET);
    server.until("the answer begins", |_| {
        slow.pull_up_to(1);
        slow.total > 0
    });
    let mut fast = server.connect();
    for _ in 0..20 {
        assert_eq!(server.ask_on(&mut fast, get("/small")).status, 200);
    }
    assert_eq!(written.ended.load(SeqCst), 1, "it is still at it");
    let response = server.reply(&mut slow);
    assert_eq!(response.body.len(), 20 << 20);
    assert!(response.body.chunks(1 << 20).all(|piece| piece == noise(1 << 20)));
    assert_eq!((written.pieces.load(SeqCst), written.ended.load(SeqCst)), (20, 0));
}

#[test]
fn write_ends_when_the_client_leaves() {
    for leave in [Client::reset, drop::<Client>] {
        let (app, written) = writing(1000);
        let mut server = Server::with(options("threads=1"), app);
        let mut client = server.connect_tcp();
        client.send(GET);
        server.until("the answer begins", |_| {
            client.pull_up_to(1);
            client.total > 0
        });
        leave(client);
        server.until("write() ends", |_| written.ended.load(SeqCst) != 1);
        assert_eq!(written.ended.load(SeqCst), CLOSED);
        server.until("it is over", |server| server.counters.in_flight.get() == 0);
        assert_eq!(server.ask(get("/small")).status, 200, "the thread is free");
    }
}

#[test]
fn write_ends_when_the_client_takes_nothing_for_write_timeout() {
    let (app, written) = writing(1000);
    let mut server = Server::with(options("threads=1 write_timeout=300ms"), app);
    let mut client = server.connect();
    client.send(GET);
    server.until("write() ends", |_| written.ended.load(SeqCst) != 1);
    assert_eq!(written.ended.load(SeqCst), TIMEOUT);
    server.until("it is over", |server| server.counters.in_flight.get() == 0);
    assert_eq!(server.counters.write_timeouts.get(), 1);
    server.truncated(&mut client);
}

#[test]
fn a_timeout_of_zero_is_none() {
    let (app, written) = writing(20);
    let mut server = Server::with(options("threads=1 write_timeout=0 body_timeout=0"), app);
    let mut client = server.connect();
    client.send(GET);
    for _ in 0..50 {
        server.turn(2);
    }
    assert_eq!(written.ended.load(SeqCst), 1, "it waits");
    assert_eq!(server.reply(&mut client).body.len(), 20 << 20);
}

#[test]
fn a_client_that_takes_nothing_of_an_iterator_is_cut_by_the_loop() {
    let dir = Dir::new();
    let seen = Seen::default();
    let app = large(&seen, std::fs::File::open(dir.file("f", b"")).unwrap());
    let mut server = Server::with(options("threads=1 write_timeout=300ms"), app);
    let mut client = server.connect();
    client.send(get("/iterator"));
    server.until("it is closed", |_| seen.count("close") == 1);
    seen.elsewhere();
    assert_eq!(server.counters.write_timeouts.get(), 1);
    server.truncated(&mut client);
}
