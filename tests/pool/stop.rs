//! The end of an engine whose threads are busy.

use std::time::{Duration, Instant};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{EOF, OK, Response as Head};
use gateway::server::engine::Stop;
use gateway::sys::sock::wait_readable;

use super::harness::*;
use super::tools::*;

#[test]
fn a_graceful_stop_waits_for_what_runs_and_what_waits() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1"), gated(&gate, &seen));
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(get("/gate"));
    }
    server.until("it runs", |_| gate.waiting() == 1);
    server.stop(Stop::Graceful);
    for _ in 0..20 {
        server.turn(1);
    }
    assert!(!server.has_stopped());
    gate.open(3);
    for client in &mut clients {
        let response = server.reply(client);
        assert_eq!((response.text(), response.says_close()), ("through", true));
    }
    clients.clear();
    server.finish();
    assert!(!server.engine.is_running());
}

#[test]
fn a_graceful_stop_waits_for_close_too() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let (wait, noted) = (gate.clone(), seen.clone());
    let app = blocking(move |_, start, body| {
        body.first = Some(owned(&noted, noise(4 << 20)));
        let (wait, noted) = (wait.clone(), noted.clone());
        body.close = Some(Box::new(move || {
            wait.pass();
            noted.note("close");
        }));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect();
    client.send(GET);
    server.until("the answer begins", |_| {
        client.pull_up_to(1);
        client.total > 0
    });
    server.settle();
    drop(client);
    server.until("close() runs", |_| gate.waiting() == 1);
    server.stop(Stop::Graceful);
    for _ in 0..20 {
        server.turn(1);
    }
    assert!(!server.has_stopped());
    gate.open(1);
    server.finish();
    assert_eq!(seen.elsewhere(), ["release", "close"]);
}

#[test]
fn a_graceful_stop_waits_no_longer_than_graceful_timeout() {
    let gate = Gate::default();
    let config = options("threads=1 graceful_timeout=300ms");
    let mut server = Server::with(config, gated(&gate, &Seen::default()));
    let mut client = server.connect();
    client.send(get("/gate"));
    server.until("it runs", |_| gate.waiting() == 1);
    server.stop(Stop::Graceful);
    server.finish();
    assert!(server.engine.is_running(), "who owns the process may end without it");
    assert!(server.engine.control().is_quick(), "the threads know");
    gate.open(1);
    drop(server);
    client.pull();
    assert!(client.end.is_some());
}

#[test]
fn a_quick_stop_waits_for_nobody() {
    let gate = Gate::default();
    let mut server = Server::with(options("threads=1"), gated(&gate, &Seen::default()));
    let mut client = server.connect();
    client.send(get("/gate"));
    server.until("it runs", |_| gate.waiting() == 1);
    server.stop(Stop::Quick);
    server.finish();
    assert_eq!(gate.waiting(), 1);
    assert!(server.engine.is_running());
    gate.open(1);
}

/// An engine is dropped when its requests are everywhere: in a call, in the queue, and with a slow
/// client between two calls.
#[test]
fn everything_is_closed_once_when_an_engine_is_dropped() {
    for how in [None, Some(Stop::Quick), Some(Stop::Graceful)] {
        let (gate, seen) = (Gate::default(), Seen::default());
        let (wait, noted) = (gate.clone(), seen.clone());
        let app = blocking(move |env, start, body| {
            noted.note("call");
            if env.path_info() == b"/gate" {
                wait.pass();
                noted.note("passed");
            }
            assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
            let (noted_next, noted_close) = (noted.clone(), noted.clone());
            body.next = Some(Box::new(move |out: &mut Chunk| {
                noted_next.note("chunk");
                *out = owned(&noted_next, noise(1 << 20));
                OK
            }));
            body.close = Some(Box::new(move || noted_close.note("close")));
            OK
        });
        let mut server = Server::with(options("threads=2 graceful_timeout=10s"), app);
        let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
        for client in &mut clients[..3] {
            client.send(get("/endless"));
        }
        server.until("the answers begin", |_| {
            clients[..3].iter_mut().for_each(|client| client.pull_up_to(1));
            clients[..3].iter().all(|client| client.total > 0)
        });
        for client in &mut clients[3..] {
            client.send(get("/gate"));
        }
        server.until("the threads are blocked", |_| gate.waiting() == 2);
        if let Some(how) = how {
            server.stop(how);
            server.turn(0);
        }
        let opener = std::thread::spawn({
            let gate = gate.clone();
            move || {
                std::thread::sleep(Duration::from_millis(500));
                gate.open_for_ever();
            }
        });
        drop(server);
        assert_eq!(seen.count("passed"), 2, "it waited for what ran");
        opener.join().unwrap();
        assert_eq!(seen.count("call"), 5, "and did not begin with what waited");
        assert_eq!(seen.count("close"), 5);
        assert_eq!(seen.count("release"), seen.count("chunk"));
        seen.elsewhere();
    }
}

#[test]
fn what_blocks_in_write_or_read_ends_with_its_engine() {
    let app = || {
        blocking(|env, start, _| {
            if env.content_length() > 0 {
                return match read_to_end(env, 100) {
                    Ok(_) => 0,
                    Err(error) => error.kind() as i32,
                };
            }
            let (_, writer) = start.open(&Head::new(200, &TEXT));
            loop {
                let rc = writer.write(&capp::lent(&[b'x'; 100_000]));
                if rc != OK {
                    return rc;
                }
            }
        })
    };
    let config = "threads=2 request_buffering=0 write_timeout=0 body_timeout=0";
    for stop in [false, true] {
        let mut server = Server::with(options(config), app());
        let (mut reader, mut writer) = (server.connect(), server.connect());
        reader.send(GET);
        writer.send(&post(b"body")[..50]);
        server.until("the answer begins", |_| {
            reader.pull_up_to(1);
            reader.total > 0
        });
        for _ in 0..20 {
            server.turn(1);
        }
        if stop {
            server.stop(Stop::Quick);
            server.finish();
        }
        let since = Instant::now();
        drop(server);
        assert!(since.elapsed() < PATIENCE);
    }
}

#[test]
fn an_endless_stream_to_a_quick_client_ends_with_its_engine() {
    let seen = Seen::default();
    let noted = seen.clone();
    let app = blocking(move |_, start, body| {
        let noted = noted.clone();
        body.next = Some(Box::new(move |out: &mut Chunk| {
            *out = capp::lent(&[b'x'; 50_000]);
            if out.len == 0 { EOF } else { OK }
        }));
        body.close = Some(Box::new(move || noted.note("close")));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut quick = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = listener.accept().unwrap().0;
    server.engine.adopt(std::os::fd::IntoRawFd::into_raw_fd(theirs)).unwrap();
    let reader = std::thread::spawn(move || {
        use std::io::{Read, Write};
        quick.write_all(GET.as_bytes()).unwrap();
        let (mut buf, mut total) = (vec![0; 1 << 20], 0);
        while let Ok(n @ 1..) = quick.read(&mut buf) {
            total += n;
        }
        total
    });
    server.until("it flows", |server| server.counters.requests.get() == 1);
    for _ in 0..20 {
        server.turn(5);
    }
    drop(server);
    assert_eq!(seen.elsewhere(), ["close"]);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn what_came_back_and_was_not_looked_at_is_closed_too() {
    let seen = Seen::default();
    let noted = seen.clone();
    let app = blocking(move |_, start, body| {
        body.first = Some(owned(&noted, noise(4 << 20)));
        let noted_close = noted.clone();
        body.close = Some(Box::new(move || noted_close.note("close")));
        noted.note("call");
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    // The thread sends what the client's socket takes, and gives the request back; the loop does
    // not turn any more.
    let since = Instant::now();
    while client.total < 10_000 {
        assert!(since.elapsed() < PATIENCE);
        client.pull_up_to(10_000);
    }
    assert!(wait_readable(server.engine.fd(), 10_000).unwrap());
    drop(server);
    assert_eq!(seen.elsewhere(), ["call", "release", "close"]);
}
