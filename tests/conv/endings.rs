//! What is given back at the end of a request: each thing once, in one order, in every ending.
//! Releases of chunks, then close(), then what hangs on the environ, last hung first.

use gateway::base::error::Kind;
use gateway::base::octets::Chunk;
use gateway::gateway::abi::{AGAIN, EOF, OK, Response as Head};
use gateway::gateway::app::Application;
use gateway::gateway::config::Config;
use gateway::server::engine::Stop;

use super::harness::*;

const LARGE: usize = 1_000_000;

/// Gives a small, a large (released) and an endless rest, as the query says.
fn app(journal: &Journal) -> Application {
    let journal = journal.clone();
    capp::application(move |env, start, body| {
        capp::attach(env, &journal, "one");
        capp::attach(env, &journal, "two");
        body.journal = Some(journal.clone());
        let query = env.query_string().to_vec();
        if query == b"refuse" {
            body.first = Some(capp::owned(&journal, "first", vec![b'f'; 10]));
            return Kind::App as i32;
        }
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::owned(&journal, "first", vec![b'f'; 10_000]));
        let told = journal.clone();
        let env = lasting(env);
        let mut n = 0;
        body.next = Some(Box::new(move |out| {
            n += 1;
            *out = match (&query[..], n) {
                (b"fail", 2) => return Kind::App as i32,
                (b"endless", _) => capp::owned(&told, "piece", vec![b'p'; LARGE]),
                (b"large", 1) => capp::owned(&told, "piece", vec![b'p'; LARGE]),
                (b"wait", 1) => capp::owned(&told, "piece", vec![b'p'; 10_000]),
                (b"wait", _) => match env.try_read(&mut [0; 10]) {
                    Ok(Some(0)) => return EOF,
                    Ok(_) => return AGAIN,
                    Err(error) => return error.kind() as i32,
                },
                (_, 1) => capp::owned(&told, "piece", vec![b'p'; 10_000]),
                _ => return EOF,
            };
            OK
        }));
        OK
    })
}

/// Each release, then close once, then the attachments in their order.
fn assert_in_order(lines: &[String], chunks: Option<usize>) {
    let Some(close) = lines.iter().position(|line| line == "close") else {
        panic!("close() was never called: {lines:?}");
    };
    let (before, after) = lines.split_at(close);
    assert!(before.iter().all(|line| line.starts_with("release ")), "{lines:?}");
    assert_eq!(before.iter().filter(|line| *line == "release first").count(), 1, "{lines:?}");
    assert_eq!(after, ["close", "drop two", "drop one"], "{lines:?}");
    if let Some(chunks) = chunks {
        assert_eq!(before.len(), chunks, "{lines:?}");
    }
}

fn get(query: &str) -> String {
    format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn a_normal_end() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(server.ask_on(&mut client, get("")).body.len(), 20_000);
        assert_in_order(&journal.take(), Some(2));
    }
}

#[test]
fn a_body_of_one_piece() {
    // Whatever becomes of the piece: sent, left out, of no octets at all.
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |env, start, body| {
        capp::attach(env, &told, "one");
        capp::attach(env, &told, "two");
        body.journal = Some(told.clone());
        let (status, len) = match env.query_string() {
            b"none" => (204, 10),
            b"empty" => (200, 0),
            b"large" => (200, LARGE),
            _ => (200, 10),
        };
        assert_eq!(start.respond(&Head::new(status, &TEXT)), OK);
        body.first = Some(capp::owned(&told, "first", vec![b'f'; len]));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    for (query, len) in [("", 10), ("none", 0), ("empty", 0), ("large", LARGE)] {
        assert_eq!(server.ask_on(&mut client, get(query)).body.len(), len);
        assert_in_order(&journal.take(), Some(1));
    }
    client.send(get("").replace("GET", "HEAD"));
    server.reply_to_head(&mut client);
    assert_in_order(&journal.take(), Some(1));
}

#[test]
fn a_slow_client() {
    // The last chunk is on its way for long: nothing is closed under it.
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    let mut client = server.connect();
    client.send(get("large"));
    server.settle();
    assert_eq!(journal.count("close"), 0, "a chunk is still needed: {:?}", journal.take());
    let response = server.reply(&mut client);
    assert_eq!(response.body.len(), 10_000 + LARGE);
    server.settle();
    assert_in_order(&journal.take(), Some(2));
}

#[test]
fn a_chunk_may_lie_in_the_memory_of_the_request() {
    // Memory of the request outlives the chunks that lie in it, also those with a release.
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |env, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let text = vec![env.query_string()[0]; LARGE];
        let data = capp::in_request_memory(env, &text);
        body.first = Some(Chunk {
            data: data.cast(),
            len: LARGE as u64,
            ..capp::owned(&told, "first", Vec::new())
        });
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    client.send([get("a"), get("b"), get("c")].concat());
    for octet in [b'a', b'b', b'c'] {
        let response = server.reply(&mut client);
        assert_eq!(response.body.len(), LARGE);
        assert!(response.body.iter().all(|got| *got == octet), "memory was used again too early");
    }
    assert_eq!(journal.take().len(), 3);
}

#[test]
fn a_refusal_by_the_application() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    assert_eq!(server.ask(get("refuse")).status, 500);
    // A body beside an error was not returned, so there is no close().
    assert_eq!(journal.take(), ["release first", "drop two", "drop one"]);
}

#[test]
fn a_failure_in_next() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    for tcp in [false, true] {
        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        client.send(get("fail"));
        assert_eq!(server.truncated(&mut client).body.len(), 20_000);
        assert_in_order(&journal.take(), Some(2));
    }
}

#[test]
fn a_head_request() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    for query in ["", "endless", "large"] {
        let response = server.ask(get(query).replace("GET", "HEAD"));
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_in_order(&journal.take(), None);
    }
}

#[test]
fn a_client_that_resets_in_the_middle() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    for query in ["endless", "large"] {
        let mut client = server.connect_tcp();
        client.send(get(query));
        server.settle();
        client.pull_up_to(100);
        client.reset();
        server.until("the connection is gone", |server| server.counters.connections.get() == 0);
        assert_in_order(&journal.take(), None);
    }
    assert_eq!(server.counters.in_flight.get(), 0);
}

#[test]
fn a_client_that_leaves_before_the_answer_begins() {
    let journal = Journal::default();
    let mut server = Server::with(|config| stream(config, "30s"), app(&journal));
    let mut client = server.connect();
    client.send("POST /?wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    server.settle();
    drop(client);
    server.settle();
    assert_in_order(&journal.take(), Some(2));
    assert_eq!(server.counters.aborted.get(), 1);
    assert_eq!(server.counters.connections.get(), 0);
}

fn stream(config: &mut Config, timeout: &str) {
    config.set("request_buffering", "0").unwrap();
    config.set("body_timeout", timeout).unwrap();
    config.set("write_timeout", timeout).unwrap();
}

#[test]
fn a_body_that_times_out() {
    let journal = Journal::default();
    let mut server = Server::with(|config| stream(config, "50ms"), app(&journal));
    let mut client = server.connect();
    client.send("POST /?wait HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(server.truncated(&mut client).body.len(), 20_000);
    assert_in_order(&journal.take(), Some(2));
    assert_eq!(server.counters.body_timeouts.get(), 1);
}

#[test]
fn a_client_that_takes_nothing_until_the_timeout() {
    let journal = Journal::default();
    let mut server = Server::with(|config| stream(config, "50ms"), app(&journal));
    for (n, query) in ["endless", "large"].into_iter().enumerate() {
        let mut client = server.connect();
        client.send(get(query));
        server.until("the client is given up", |server| server.counters.connections.get() == 0);
        assert_in_order(&journal.take(), None);
        assert_eq!(server.counters.write_timeouts.get(), n as u64 + 1);
        assert_eq!(server.counters.aborted.get(), n as u64 + 1);
        drop(client);
    }
}

#[test]
fn a_quick_stop() {
    let journal = Journal::default();
    for query in ["endless", "large"] {
        let mut server = Server::with(|_| {}, app(&journal));
        let mut client = server.connect();
        client.send(get(query));
        server.settle();
        server.stop(Stop::Quick);
        server.finish();
        assert_in_order(&journal.take(), None);
        server.truncated(&mut client);
        assert_eq!(server.counters.in_flight.get(), 0);
    }
}

#[test]
fn a_graceful_stop() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    let mut client = server.connect();
    client.send(get("large"));
    server.settle();
    server.stop(Stop::Graceful);
    server.settle();
    assert!(!server.has_stopped());
    assert_eq!(server.reply(&mut client).body.len(), 10_000 + LARGE);
    server.finish();
    assert_in_order(&journal.take(), Some(2));
}

#[test]
fn an_engine_that_is_dropped() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, app(&journal));
    let mut client = server.connect();
    client.send(get("endless"));
    server.settle();
    drop(server);
    assert_in_order(&journal.take(), None);
}

#[test]
fn a_body_in_rust_is_dropped_once() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = move |_: &gateway::gateway::abi::Environ,
                    start: &gateway::gateway::abi::StartResponse<'_>| {
        let dropped = told.at_drop("dropped");
        start.respond(&Head::new(200, &TEXT))?;
        Ok(gateway::gateway::body::Body::from_chunks((0..5).map(move |n| {
            let _ = &dropped;
            Ok(vec![b'0' + n; 3])
        })))
    };
    let mut server = Server::new(|_| {}, app);
    assert_eq!(server.ask(GET).body.len(), 15);
    assert_eq!(journal.take(), ["dropped"]);
    server.ask(get("").replace("GET", "HEAD"));
    assert_eq!(journal.take(), ["dropped"]);
}

#[test]
fn an_application_goes_with_its_last_user() {
    let journal = Journal::default();
    let dropped = journal.at_drop("application");
    let app = capp::application(move |_, start, _| {
        let _ = &dropped;
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(|_| {}, app);
    server.ask(GET);
    assert_eq!(journal.len(), 0);
    drop(server);
    assert_eq!(journal.take(), ["application"]);
}
