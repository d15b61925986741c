//! Back-pressure: who produces more than a client takes is paused, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use gateway::gateway::abi::{AGAIN, EOF, Environ, OK, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;

use super::harness::*;

/// Octets that a socket pair's buffers may hold, whatever the system's settings: an upper bound.
const SOCKET: u64 = 8 << 20;

/// `/endless` gives pieces of this size for ever and counts them; all else says hello.
fn app(piece: usize, produced: &Arc<AtomicU64>) -> Application {
    let produced = produced.clone();
    Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        if env.path_info() != b"/endless" {
            return hello(env, start);
        }
        start.respond(&Head::new(200, &TEXT))?;
        let produced = produced.clone();
        Ok(Body::from_chunks(std::iter::repeat_with(move || {
            produced.fetch_add(piece as u64, SeqCst);
            Ok(vec![b'e'; piece])
        })))
    })
    .nonblocking()
}

const ENDLESS: &str = "GET /endless HTTP/1.1\r\nHost: h\r\n\r\n";

fn output(size: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        config.set("output_buffer", size).unwrap();
    }
}

#[test]
fn an_endless_body_is_paused_at_the_output_buffer_and_resumed() {
    for piece in [100, 4096, 10_000, 200_000] {
        let produced = Arc::new(AtomicU64::new(0));
        let mut server = Server::with(output("32k"), app(piece, &produced));
        let mut client = server.connect();
        client.send(ENDLESS);
        server.settle();
        let paused = produced.load(SeqCst);
        for _ in 0..20 {
            server.turn(1);
        }
        assert_eq!(produced.load(SeqCst), paused, "it is not asked for more");
        client.pull();
        // What is not in the socket waits here: the buffer, and the piece that went over it.
        let waits = paused - client.total.min(paused);
        assert!(waits <= 32 * 1024 + 2 * piece as u64, "{waits} octets wait");
        server.settle();
        assert!(produced.load(SeqCst) > paused, "it goes on when the client reads");
        for _ in 0..50 {
            client.pull();
            server.settle();
        }
        assert!(produced.load(SeqCst).saturating_sub(client.total) <= SOCKET);
    }
}

#[test]
fn others_are_served_while_a_producer_is_paused() {
    let produced = Arc::new(AtomicU64::new(0));
    let mut server = Server::with(|_| {}, app(10_000, &produced));
    let mut silent: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut silent {
        client.send(ENDLESS);
    }
    server.settle();
    let paused = produced.load(SeqCst);
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
    }
    assert_eq!(produced.load(SeqCst), paused);
}

#[test]
fn a_fast_endless_body_with_a_fast_reader_does_not_starve_others() {
    let produced = Arc::new(AtomicU64::new(0));
    let mut server = Server::with(|_| {}, app(50_000, &produced));
    // The reader has its own thread, and is always ready.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fast = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    server.engine.adopt(std::os::fd::IntoRawFd::into_raw_fd(theirs)).unwrap();
    let reader = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut fast = fast;
        fast.write_all(ENDLESS.as_bytes()).unwrap();
        let mut buf = vec![0; 1 << 20];
        let mut total = 0_u64;
        while let Ok(n) = fast.read(&mut buf) {
            if n == 0 {
                break;
            }
            total += n as u64;
        }
        total
    });
    server.until("the endless body flows", |_| produced.load(SeqCst) > 50_000_000);
    let mut client = server.connect();
    for _ in 0..20 {
        client.send(GET);
        let before = produced.load(SeqCst);
        server.reply(&mut client);
        let meanwhile = produced.load(SeqCst) - before;
        assert!(meanwhile < 100 << 20, "{meanwhile} octets of another body came first");
    }
    drop(server);
    assert!(reader.join().unwrap() > 1_000_000);
}

#[test]
fn an_iterator_of_empty_chunks_does_not_hold_the_loop() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        if env.path_info() != b"/endless" {
            return hello(env, start);
        }
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_chunks(std::iter::repeat_with(|| Ok(Vec::new()))))
    };
    let mut server = Server::new(|_| {}, app);
    let mut empty = server.connect();
    empty.send(ENDLESS);
    let mut client = server.connect();
    client.send(GET);
    // The engine never settles: it is turned a few times only.
    let mut answered = false;
    for _ in 0..10 {
        server.turn(0);
        client.pull();
        answered |= client.take_response(false).is_some();
    }
    assert!(answered, "another connection has its answer");
    assert!(empty.inbox.is_empty());
}

#[test]
fn write_takes_all_or_nothing_when_the_client_is_slow() {
    let refused = Arc::new(AtomicU64::new(0));
    let counter = refused.clone();
    const PIECES: usize = 3000;
    let app = capp::application(move |_, start, body| {
        let (rc, write) = start.open(&Head::new(200, &TEXT));
        assert_eq!(rc, OK);
        let counter = counter.clone();
        let mut written = 0;
        body.next = Some(Box::new(move |_| {
            // As much as is taken, then wait: it is asked again when there is room.
            while written < PIECES {
                let text = format!("{written:>1000}");
                match write.write(&capp::lent(text.as_bytes())) {
                    OK => written += 1,
                    AGAIN => {
                        counter.fetch_add(1, SeqCst);
                        return AGAIN;
                    }
                    code => return code,
                }
            }
            EOF
        }));
        OK
    });
    let mut server = Server::with(output("16k"), app);
    let response = server.ask(GET);
    assert_eq!(response.status, 200, "{:?}", server.log.lines());
    let expected: String = (0..PIECES).map(|n| format!("{n:>1000}")).collect();
    assert!(response.text() == expected);
    assert!(refused.load(SeqCst) > 0, "it was never refused: the test proves nothing");
}

#[test]
fn a_refused_chunk_stays_its_giver_s() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |_, start, body| {
        let (_, write) = start.open(&Head::new(200, &TEXT));
        let mut n = 0;
        loop {
            n += 1;
            let chunk = capp::owned(&told, "mine", vec![b'w'; 100_000]);
            match write.write(&chunk) {
                OK => {}
                AGAIN => {
                    // Not taken, so not released: that is up to us.
                    let before = told.count("release mine");
                    assert!(before < n);
                    // SAFETY: the chunk's own function and argument, once.
                    unsafe { chunk.release.unwrap()(chunk.arg) };
                    assert_eq!(told.count("release mine"), before + 1);
                    break;
                }
                code => panic!("write returned {code}"),
            }
            assert!(n < 1000, "it takes without end");
        }
        told.add(format!("refused after {}", n - 1));
        body.first = Some(capp::lent(b"end"));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let response = server.ask(GET);
    let lines = journal.take();
    let taken = response.chunks.len() - 1;
    assert!(response.body.ends_with(b"wend"));
    assert!(lines.contains(&format!("refused after {taken}")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "release mine").count(), taken + 1);
}

#[test]
fn a_blocking_write_waits_for_the_client() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        let writer = start.respond(&Head::new(200, &TEXT))?;
        for n in 0..100_u8 {
            assert!(writer.write(&vec![n; 50_000])?, "it waits instead");
        }
        Ok(Body::empty())
    };
    let mut server = Server::blocking(|_| {}, app);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    server.engine.adopt(std::os::fd::IntoRawFd::into_raw_fd(theirs)).unwrap();
    let reader = std::thread::spawn(move || {
        use std::io::Write;
        (&client).write_all(GET.as_bytes()).unwrap();
        let mut client = Client::tcp(client);
        loop {
            client.pull();
            if let Some(response) = client.take_response(false) {
                return response;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    server.until("the client has it all", |_| reader.is_finished());
    let response = reader.join().unwrap();
    assert_eq!(response.body.len(), 5_000_000);
    assert!(response.body.chunks(50_000).enumerate().all(|(n, piece)| piece == [n as u8; 50_000]));
}

#[test]
fn many_pipelined_large_answers_wait_for_the_client() {
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        counter.fetch_add(1, SeqCst);
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(vec![b'x'; 1_000_000]))
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    client.send(GET.repeat(100));
    server.settle();
    let called = calls.load(SeqCst);
    assert!(called <= SOCKET / 1_000_000 + 2, "{called} answers were made for nobody");
    for _ in 0..100 {
        assert_eq!(server.reply(&mut client).body.len(), 1_000_000);
    }
    assert_eq!(calls.load(SeqCst), 100);
}

#[test]
fn many_pipelined_small_answers_wait_for_the_client() {
    // Each is small enough to be copied; together they are not.
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        counter.fetch_add(1, SeqCst);
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(vec![b'x'; 4000]))
    };
    let mut server = Server::new(output("64k"), app);
    let mut client = server.connect();
    let requests = GET.repeat(5000);
    let mut sent = 0;
    for _ in 0..10 {
        sent += client.try_send(&requests.as_bytes()[sent..]);
        server.settle();
    }
    let made = calls.load(SeqCst) * 4000;
    client.pull();
    let waits = made - made.min(client.total);
    assert!(waits <= 80_000, "{waits} octets wait for a client that reads none");
    let mut got = 0;
    while got < 5000 {
        sent += client.try_send(&requests.as_bytes()[sent..]);
        server.reply(&mut client);
        got += 1;
    }
    assert_eq!(calls.load(SeqCst), 5000);
}

#[test]
fn who_asks_is_told_that_the_client_has_left() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |env, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        told.add(format!("gone {}", capp::is_gone(env)));
        body.first = Some(capp::lent(b"x"));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    server.ask_on(&mut client, GET);
    assert_eq!(journal.take(), ["gone false"]);
    let mut client = server.connect_tcp();
    client.send(GET);
    drop(client);
    server.settle();
    assert_eq!(journal.take(), ["gone true"]);
}
