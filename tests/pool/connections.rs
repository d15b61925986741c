//! What HTTP promises about a connection holds when its requests run on threads.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{Environ, OK, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;

use super::harness::*;
use super::tools::*;

#[test]
fn pipelined_requests_are_answered_in_order_and_one_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let app = Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        peak.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
        let path = env.path_info().to_vec();
        let body = read_to_end(env, 1000)?;
        start.respond(&Head::new(200, &TEXT))?;
        running.fetch_sub(1, SeqCst);
        Ok(Body::from_vec([path, body].concat()))
    });
    let mut server = Server::with(options("threads=4"), app);
    let mut client = server.connect();
    let mut octets = Vec::new();
    for n in 0..50 {
        match n % 3 {
            0 => octets.extend_from_slice(get(&format!("/{n}:")).as_bytes()),
            _ => {
                let body = noise(n * 100);
                let head = format!(
                    "POST /{n}: HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                octets.extend_from_slice(head.as_bytes());
                octets.extend_from_slice(&body);
            }
        }
    }
    server.feed(&mut client, &octets);
    for n in 0..50 {
        let response = server.reply(&mut client);
        let body = if n % 3 == 0 { Vec::new() } else { noise(n * 100) };
        assert!(response.body == [format!("/{n}:").into_bytes(), body].concat(), "{n}");
    }
    assert_eq!(most.load(SeqCst), 1, "the requests of one connection do not overtake each other");
    assert!(server.is_kept(&mut client));
}

#[test]
fn connections_are_kept_and_closed_as_without_threads() {
    let mut server = Server::with(options("threads=2"), Application::new(hello));
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
    }
    let head = server.ask_on(&mut client, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("6")));
    assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(server.reply(&mut client).says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    let mut old = server.connect();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(server.reply(&mut old).text(), "hello\n");
    assert_eq!(server.until_end(&mut old), End::Clean);
}

#[test]
fn a_request_with_the_end_of_its_client_behind_it_is_answered() {
    let mut server = Server::with(options("threads=1"), Application::new(hello));
    for _ in 0..20 {
        let mut client = server.connect_tcp();
        client.send(GET);
        client.half_close();
        assert_eq!(server.reply(&mut client).text(), "hello\n");
        assert_eq!(server.until_end(&mut client), End::Clean);
    }
}

#[test]
fn what_arrives_while_the_application_runs_is_not_lost() {
    let gate = Gate::default();
    let mut server = Server::with(options("threads=1"), gated(&gate, &Seen::default()));
    let mut client = server.connect();
    client.send(get("/gate"));
    server.until("it runs", |_| gate.waiting() == 1);
    client.send(get("/second"));
    server.settle();
    client.half_close();
    server.settle();
    gate.open(1);
    assert_eq!(server.reply(&mut client).text(), "through");
    assert_eq!(server.reply(&mut client).text(), "at once");
    assert_eq!(server.until_end(&mut client), End::Clean);
}

#[test]
fn errors_are_500s_before_the_head_and_cuts_after_it() {
    let (noted, seen) = (Seen::default(), Seen::default());
    let note = noted.clone();
    let app = blocking(move |env, start, body| {
        let path = env.path_info().to_vec();
        if path == b"/call" {
            return -15;
        }
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let mut left = if path == b"/late" { 2 } else { 0 };
        let note_close = note.clone();
        body.next = Some(Box::new(move |out: &mut Chunk| {
            if left == 0 {
                return -15;
            }
            left -= 1;
            *out = capp::lent(b"some");
            OK
        }));
        body.close = Some(Box::new(move || note_close.note("close")));
        OK
    });
    let mut server = Server::with(options("threads=2"), app);
    let mut client = server.connect();
    for path in ["/call", "/next", "/call"] {
        assert_eq!(server.ask_on(&mut client, get(path)).status, 500, "{path}");
    }
    let mut cut = server.connect_tcp();
    cut.send(get("/late"));
    assert_eq!(server.truncated(&mut cut).status, 200);
    assert_eq!(noted.elsewhere(), ["close", "close"]);
    assert_eq!(server.counters.app_errors.get(), 4);
    assert!(seen.elsewhere().is_empty());
}

#[test]
fn a_panic_costs_one_request_and_no_thread() {
    let app = Application::new(|env: &Environ, start: &StartResponse<'_>| match env.path_info() {
        b"/call" => panic!("on purpose"),
        b"/next" => {
            start.respond(&Head::new(200, &TEXT))?;
            let mut n = 0;
            Ok(Body::from_chunks(std::iter::from_fn(move || {
                n += 1;
                assert!(n < 3, "on purpose");
                Some(Ok(b"chunk".to_vec()))
            })))
        }
        _ => hello(env, start),
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect();
    for _ in 0..5 {
        assert_eq!(server.ask_on(&mut client, get("/call")).status, 500);
        assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
        let mut cut = server.connect();
        cut.send(get("/next"));
        assert_eq!(server.truncated(&mut cut).status, 200);
    }
    assert_eq!(server.counters.app_errors.get(), 10);
    assert!(!server.log.with("on purpose").is_empty());
}

#[test]
fn a_file_that_is_shorter_than_promised_cuts_the_answer() {
    let dir = Dir::new();
    let path = dir.file("short", &noise(1000));
    let seen = Seen::default();
    let noted = seen.clone();
    let on_disk = std::fs::File::open(path).unwrap();
    let app = blocking(move |_, start, body| {
        body.first = Some(file(&noted, on_disk.as_raw_fd(), 5000));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect_tcp();
    client.send(get("/1"));
    client.send(get("/2"));
    let cut = server.truncated(&mut client);
    assert!(cut.body.len() <= 1000);
    server.until("it is over", |server| server.counters.in_flight.get() == 0);
    assert_eq!(seen.elsewhere(), ["release"], "the second request was not answered into the first");
}

#[test]
fn hooks_and_the_log_know_requests_that_ran_on_threads() {
    let (before, after) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let (noted, counted) = (before.clone(), after.clone());
    let configure = |config: &mut gateway::gateway::config::Config| {
        config.set("threads", "2").unwrap();
        config.on_request(move |_| noted.note("before"));
        config.on_access(move |access| {
            assert_eq!((access.status, access.sent), (200, 6));
            assert!(access.took_ns >= access.app_ns && access.app_ns > 0);
            counted.fetch_add(1, SeqCst);
        });
    };
    let mut server = Server::with(configure, Application::new(hello));
    let mut client = server.connect();
    for _ in 0..10 {
        server.ask_on(&mut client, GET);
    }
    assert_eq!((before.elsewhere().len(), after.load(SeqCst)), (10, 10));
}
