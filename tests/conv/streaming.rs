//! `request_buffering = 0`: the application runs at the head and reads while the body arrives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use gateway::base::error::Kind;
use gateway::gateway::abi::{AGAIN, EOF, Environ, OK, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::config::Config;

use super::harness::*;

fn stream(config: &mut Config) {
    config.set("request_buffering", "0").unwrap();
}

/// What the application may read, and what it saw.
#[derive(Clone, Default)]
struct Reader {
    may_read: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<Kind>>>,
    journal: Journal,
}

impl Reader {
    fn new(may_read: bool) -> Self {
        let reader = Reader::default();
        reader.may_read.store(may_read, SeqCst);
        reader
    }

    /// An application that sends back what it reads, as it reads it.  It is the test that says
    /// when it may read; it always asks for one octet first, since who waits must have asked.
    fn app(&self) -> Application {
        let reader = self.clone();
        capp::application(move |env, start, body| {
            reader.journal.add("called");
            assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
            let (reader, env) = (reader.clone(), lasting(env));
            body.journal = Some(reader.journal.clone());
            let mut buf = vec![0; 1000];
            body.next = Some(Box::new(move |out| {
                let room = if reader.may_read.load(SeqCst) { 1000 } else { 1 };
                match env.try_read(&mut buf[..room]) {
                    Ok(None) => AGAIN,
                    Ok(Some(0)) => EOF,
                    Ok(Some(n)) => {
                        reader.read.fetch_add(n as u64, SeqCst);
                        *out = capp::lent(&buf[..n]);
                        OK
                    }
                    Err(first) => {
                        // It stays: the error is not an end.
                        let second = env.try_read(&mut buf).unwrap_err();
                        let third = env.read_line(&mut buf).unwrap_err();
                        let kinds = [first.kind(), second.kind(), third.kind()];
                        reader.errors.lock().unwrap().extend(kinds);
                        first.kind() as i32
                    }
                }
            }));
            OK
        })
    }
}

#[test]
fn the_application_runs_at_the_head_and_answers_while_the_body_arrives() {
    let reader = Reader::new(true);
    let mut server = Server::with(stream, reader.app());
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    server.settle();
    assert_eq!(reader.journal.take(), ["called"]);
    client.send("abc");
    server.settle();
    client.pull();
    assert!(client.inbox.ends_with(b"3\r\nabc\r\n"), "{}", client.shown());
    client.send("defghi");
    let response = server.reply(&mut client);
    assert_eq!((response.text(), &response.chunks[..]), ("abcdefghi", &[3, 6][..]));
    assert_eq!(reader.journal.take(), ["close"]);
    assert!(server.is_kept(&mut client));
}

#[test]
fn bodies_of_any_size_and_framing_stream_through() {
    let reader = Reader::new(true);
    let mut server = Server::with(stream, reader.app());
    for size in [0, 1, 16_384, 70_000, 500_000] {
        let body = noise(size);
        for request in [post(&body), [POST_CHUNKED.as_bytes(), &chunked(&body, 3000)].concat()] {
            let mut client = server.connect();
            let mut rest = &request[..];
            let mut response = None;
            server.until("the answer", |server| {
                rest = &rest[client.try_send(rest)..];
                server.settle();
                client.pull();
                response = client.take_response(false);
                response.is_some()
            });
            assert!(response.unwrap().body == body, "{size}");
            assert!(server.is_kept(&mut client));
        }
    }
}

#[test]
fn a_client_is_paused_when_the_window_is_full() {
    // The application waits: it holds back what the client sends.
    let journal = Journal::default();
    let started = journal.clone();
    let go = Arc::new(AtomicBool::new(false));
    let may_go = go.clone();
    let app = capp::application(move |env, start, body| {
        started.add("called");
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let env = lasting(env);
        let may_go = may_go.clone();
        let mut buf = vec![0; 4096];
        // Something of everything: it takes its output's back-pressure as a brake.
        body.next = Some(Box::new(move |out| match env.try_read(&mut buf) {
            Ok(None) => AGAIN,
            Ok(Some(0)) => EOF,
            Ok(Some(_)) if !may_go.load(SeqCst) => {
                *out = capp::lent(&[b'x'; 65_536]);
                OK
            }
            Ok(Some(n)) => {
                *out = capp::lent(&buf[..n]);
                OK
            }
            Err(error) => error.kind() as i32,
        }));
        OK
    });
    let mut server = Server::with(
        |config| {
            stream(config);
            config.set("body_buffer", "8k").unwrap();
        },
        app,
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    let piece = vec![b'.'; 64 * 1024];
    let mut taken = 0;
    loop {
        let n = client.try_send(&piece);
        server.settle();
        if n == 0 {
            break;
        }
        taken += n;
        assert!(taken < 10_000_000, "nothing holds the client back");
    }
    assert!(journal.count("called") == 1);
    // When the client reads, the application goes on, and so does the client.
    let before = taken;
    server.until("the client may send on", |server| {
        client.pull();
        client.inbox.clear();
        server.settle();
        taken += client.try_send(&piece);
        taken > before + 1_000_000
    });
    go.store(true, SeqCst);
}

#[test]
fn a_body_cut_short_is_an_error_that_stays() {
    for chunk in [0, 5] {
        let reader = Reader::new(true);
        let mut server = Server::with(stream, reader.app());
        let mut client = server.connect();
        if chunk == 0 {
            client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
        } else {
            client.send(POST_CHUNKED.to_owned() + "5\r\nabc");
        }
        server.settle();
        client.half_close();
        let response = server.truncated(&mut client);
        assert_eq!(response.text(), "abc");
        assert_eq!(*reader.errors.lock().unwrap(), [Kind::Closed; 3]);
        assert_eq!(reader.journal.take(), ["called", "close"]);
        assert_eq!(server.counters.aborted.get(), 1);
        assert_eq!(server.counters.app_errors.get(), 0, "it is not the application's failure");
    }
}

#[test]
fn a_malformed_chunk_is_an_error_that_stays_and_ends_the_connection() {
    let reader = Reader::new(true);
    let mut server = Server::with(stream, reader.app());
    let mut client = server.connect();
    client.send(POST_CHUNKED.to_owned() + "3\r\nabc");
    server.settle();
    client.send("XX".to_owned() + GET);
    let response = server.truncated(&mut client);
    assert_eq!(response.text(), "abc");
    assert_eq!(*reader.errors.lock().unwrap(), [Kind::Protocol; 3]);
    assert_eq!(reader.journal.take(), ["called", "close"]);
    assert_eq!(server.counters.rejected.get(), 1);
}

#[test]
fn a_wrong_body_is_its_own_status_while_the_head_is_not_sent() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let body = read_to_end(env, 100)?;
        start.respond(&Head::new(200, &TEXT))?;
        Ok(gateway::gateway::body::Body::from_vec(body))
    };
    let mut server = Server::blocking(
        |config| {
            stream(config);
            config.set("max_body", "10").unwrap();
        },
        app,
    );
    for (body, status) in [("3\r\nabcXX", 400), ("3\r\nabc\r\n9\r\n123456789\r\n0\r\n\r\n", 413)] {
        let mut client = server.connect();
        client.send(POST_CHUNKED.to_owned() + body);
        let response = server.reply(&mut client);
        assert_eq!(response.status, status, "{body}");
        assert!(response.says_close());
        server.until_end(&mut client);
        assert!(client.inbox.is_empty());
    }
    assert_eq!(server.counters.app_errors.get(), 0);
    assert_eq!(server.counters.rejected.get(), 2);
}

#[test]
fn a_read_that_would_wait_on_the_loop_is_refused_by_name() {
    let app = capp::application(|env, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let busy = env.read(&mut [0; 10]).unwrap_err();
        assert_eq!(busy.kind(), Kind::Busy);
        assert_eq!(env.read_line(&mut [0; 10]).unwrap_err().kind(), Kind::Busy);
        body.first = Some(capp::lent(b"busy"));
        OK
    });
    let mut server = Server::with(stream, app);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(server.reply(&mut client).text(), "busy");
}

#[test]
fn the_window_is_never_so_small_that_nothing_fits() {
    let reader = Reader::new(true);
    let mut server = Server::with(
        |config| {
            stream(config);
            config.set("body_buffer", "0").unwrap();
        },
        reader.app(),
    );
    let mut client = server.connect();
    client.send(post(b"something"));
    assert_eq!(server.reply(&mut client).text(), "something");
}

#[test]
fn who_waits_without_having_read_is_told_so_and_does_not_spin() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.next = Some(Box::new(|_| AGAIN));
        OK
    });
    let mut server = Server::with(
        |config| {
            stream(config);
            config.set("body_buffer", "1k").unwrap();
        },
        app,
    );
    let mut client = server.connect();
    // The window is full and nobody reads: nothing will ever happen again.
    client.send(post(&noise(5000)));
    let response = server.reply(&mut client);
    assert_eq!(response.status, 500);
    assert_eq!(server.log.with("wake").len(), 1, "{:?}", server.log.lines());
}

#[test]
fn the_rest_of_an_answered_request_gets_no_answer_of_its_own() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"unread"));
        OK
    });
    let mut server = Server::with(stream, app);
    let mut client = server.connect();
    client.send(POST_CHUNKED);
    assert_eq!(server.reply(&mut client).text(), "unread");
    client.send("5\r\nabcdeXX");
    server.settle();
    client.pull();
    assert!(client.inbox.is_empty(), "a second answer: {}", client.shown());
    server.until_end(&mut client);
    assert_eq!(server.counters.rejected.get(), 1);
    assert_eq!(server.counters.requests.get(), 1);
}

/// Answers without reading.
fn unread() -> Application {
    capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"unread"));
        OK
    })
}

#[test]
fn a_long_body_that_nobody_reads_ends_the_connection_and_a_short_one_does_not() {
    let mut server = Server::with(stream, unread());
    const MOST: usize = 1024 * 1024;
    for (length, kept) in [(100_000, true), (MOST, true), (MOST + 1, false), (10_000_000, false)] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        let response = server.reply(&mut client);
        assert_eq!((response.text(), response.says_close()), ("unread", !kept), "{length}");
        let body = vec![b'.'; length];
        let mut rest = &body[..];
        server.until("the body is sent, or refused", |server| {
            server.settle();
            client.pull();
            if client.end.is_none() {
                rest = &rest[client.try_send(rest)..];
            }
            rest.is_empty() || client.end.is_some()
        });
        assert_eq!(server.is_kept(&mut client), kept, "{length}");
        assert!(client.inbox.is_empty());
        if kept {
            assert_eq!(server.ask_on(&mut client, GET).text(), "unread");
        }
    }
}

/// Of an application that may still read it, nobody knows.
#[test]
fn a_long_body_that_is_read_behind_the_head_keeps_the_connection() {
    let reader = Reader::new(true);
    let mut server = Server::with(stream, reader.app());
    let mut client = server.connect();
    let body = noise(3_000_000);
    let request = post(&body);
    let (mut rest, mut response) = (&request[..], None);
    server.until("the answer", |server| {
        rest = &rest[client.try_send(rest)..];
        server.settle();
        client.pull();
        response = client.take_response(false);
        response.is_some()
    });
    let response = response.unwrap();
    assert!(response.body == body && !response.says_close());
    assert!(server.is_kept(&mut client));
}

#[test]
fn an_answer_that_closes_survives_a_body_that_is_still_on_its_way() {
    let mut server = Server::with(stream, unread());
    let mut client = server.connect_tcp();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
    client.send(head);
    server.settle();
    // It was answered, and not yet read: a reset would destroy it.
    client.send(noise(50_000));
    server.settle();
    // This would fail if the server had reset the connection meanwhile.
    client.send(noise(50_000));
    server.settle();
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert_eq!(client.take_response(false).unwrap().text(), "unread");
    assert!(client.inbox.is_empty());
}
