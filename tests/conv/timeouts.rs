//! Timeouts: each has its ending and its counter.  The bounds are generous: what is tested is that
//! they come, and what they do.

use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;

use super::harness::*;

fn only(option: &'static str, value: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        config.set(option, value).unwrap();
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_silence() {
    let mut server = Server::new(only("header_timeout", "50ms"), hello);
    let mut client = server.connect();
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty());
    assert_eq!(server.counters.header_timeouts.get(), 1);
    assert_eq!(server.counters.idle_closed.get(), 0);
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let mut server = Server::new(only("keepalive", "50ms"), hello);
    let mut client = server.connect();
    assert!(!server.ask_on(&mut client, GET).says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty());
    assert_eq!(server.counters.idle_closed.get(), 1);
    assert_eq!(server.counters.header_timeouts.get(), 0);
}

#[test]
fn each_request_begins_the_idle_time_anew() {
    let mut server = Server::new(only("keepalive", "1s"), hello);
    let mut client = server.connect();
    let since = std::time::Instant::now();
    while since.elapsed().as_millis() < 2500 {
        server.ask_on(&mut client, GET);
        let pause = std::time::Instant::now();
        server.until("a pause", |_| pause.elapsed().as_millis() >= 100);
    }
    assert_eq!(server.counters.idle_closed.get(), 0);
    assert_eq!(server.counters.accepted.get(), 1);
}

#[test]
fn a_head_that_stops_coming_is_a_408() {
    let mut server = Server::new(only("header_timeout", "50ms"), hello);
    for (n, first) in ["", GET].into_iter().enumerate() {
        let mut client = server.connect();
        client.send(first.to_owned() + "GET / HTTP/1.1\r\nHos");
        if !first.is_empty() {
            assert_eq!(server.reply(&mut client).status, 200);
        }
        let response = server.reply(&mut client);
        assert_eq!(response.status, 408);
        assert!(response.says_close());
        server.until_end(&mut client);
        assert_eq!(server.counters.header_timeouts.get(), n as u64 + 1);
        assert_eq!(server.counters.status[4].get(), n as u64 + 1);
    }
}

#[test]
fn a_head_that_drips_in_does_not_gain_time() {
    let mut server = Server::new(only("header_timeout", "200ms"), hello);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nX: ");
    let mut sent = 0;
    server.until("a 408 in spite of the drip", |_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        if client.end.is_none() {
            client.send_anyway(b"x");
            sent += 1;
        }
        client.pull();
        client.take_response(false).is_some_and(|response| response.status == 408)
    });
    assert!(sent > 1);
    assert_eq!(server.counters.header_timeouts.get(), 1);
}

#[test]
fn each_head_has_the_whole_time() {
    // Each head takes most of the time, and the end of one comes with the beginning of the next.
    let mut server = Server::new(only("header_timeout", "1s"), hello);
    let mut client = server.connect();
    client.send(&GET[..10]);
    for _ in 0..5 {
        let pause = std::time::Instant::now();
        server.until("a pause", |_| pause.elapsed().as_millis() >= 400);
        client.send(GET[10..].to_owned() + &GET[..10]);
        assert_eq!(server.reply(&mut client).status, 200);
    }
    assert_eq!(server.counters.header_timeouts.get(), 0);
}

#[test]
fn a_buffered_body_that_stops_coming_is_a_408() {
    let mut server = Server::new(only("body_timeout", "50ms"), echo);
    for (n, request) in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc".to_owned(),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\nabc".to_owned(),
        POST_CHUNKED.to_owned() + "5\r\nab",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = server.connect();
        client.send(request);
        let response = server.reply(&mut client);
        assert_eq!(response.status, 408);
        assert!(response.says_close());
        server.until_end(&mut client);
        assert_eq!(server.counters.body_timeouts.get(), n as u64 + 1);
        assert_eq!(server.counters.status[4].get(), n as u64 + 1);
    }
    assert_eq!(server.counters.in_flight.get(), 0);
}

#[test]
fn each_octet_of_a_body_gains_time() {
    let mut server = Server::new(only("body_timeout", "1s"), echo);
    for size in [10, 30_000] {
        let mut client = server.connect();
        let body = noise(size);
        let request = post(&body);
        let first = request.len() - 8;
        client.send(&request[..first]);
        for octet in &request[first..] {
            let pause = std::time::Instant::now();
            server.until("a pause", |_| pause.elapsed().as_millis() >= 150);
            client.send([*octet]);
        }
        assert!(server.reply(&mut client).body == body);
    }
    assert_eq!(server.counters.body_timeouts.get(), 0);
}

#[test]
fn a_blocking_reader_is_told_that_the_body_stopped_coming() {
    let mut server = Server::blocking(
        |config| {
            config.set("request_buffering", "0").unwrap();
            config.set("body_timeout", "50ms").unwrap();
        },
        |env: &Environ, start: &StartResponse<'_>| {
            let error = read_to_end(env, 100).unwrap_err();
            assert_eq!(error.kind(), gateway::base::error::Kind::Timeout);
            assert!(read_to_end(env, 100).is_err(), "it stays");
            let _ = start;
            Err(error)
        },
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    let response = server.reply(&mut client);
    assert_eq!(response.status, 408);
    assert!(response.says_close());
    assert_eq!(server.counters.body_timeouts.get(), 1);
    assert_eq!(server.counters.app_errors.get(), 0);
}

fn endless(_: &Environ, start: &StartResponse<'_>) -> gateway::base::error::Result<Body> {
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_chunks(std::iter::repeat_with(|| Ok(vec![b'e'; 50_000]))))
}

#[test]
fn a_client_that_takes_nothing_is_given_up_by_a_reset() {
    let mut server = Server::new(only("write_timeout", "100ms"), endless);
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("it is given up", |server| server.counters.connections.get() == 0);
    assert_eq!(server.counters.write_timeouts.get(), 1);
    assert_eq!(server.counters.aborted.get(), 1);
    server.truncated(&mut client);
    assert_eq!(client.end, Some(End::Reset));
}

#[test]
fn a_client_that_takes_little_is_kept() {
    let mut server = Server::new(only("write_timeout", "1s"), endless);
    let mut client = server.connect();
    client.send(GET);
    let since = std::time::Instant::now();
    while since.elapsed().as_millis() < 2500 {
        let pause = std::time::Instant::now();
        server.until("a pause", |_| pause.elapsed().as_millis() >= 50);
        client.pull_up_to(300_000);
        client.inbox.clear();
    }
    assert_eq!(server.counters.write_timeouts.get(), 0);
    assert!(client.end.is_none());
}

#[test]
fn a_client_that_sends_but_takes_nothing_gains_no_time() {
    let mut server = Server::new(only("write_timeout", "200ms"), endless);
    let mut client = server.connect();
    client.send(GET);
    server.until("it is given up in spite of what it sends", |server| {
        client.send_anyway(b"x");
        server.counters.connections.get() == 0
    });
    assert_eq!(server.counters.write_timeouts.get(), 1);
}

#[test]
fn a_blocking_write_gives_up_too() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = move |_: &Environ, start: &StartResponse<'_>| {
        let writer = start.respond(&Head::new(200, &TEXT))?;
        for _ in 0..1000 {
            if let Err(error) = writer.write(&[b'w'; 50_000]) {
                told.add(format!("{:?}", error.kind()));
                return Err(error);
            }
        }
        Ok(Body::empty())
    };
    let mut server = Server::blocking(only("write_timeout", "50ms"), app);
    let mut client = server.connect();
    client.send(GET);
    server.until("it is given up", |server| server.counters.connections.get() == 0);
    assert_eq!(journal.take(), ["Timeout"]);
    assert_eq!(server.counters.write_timeouts.get(), 1);
}

#[test]
fn a_timeout_of_0_is_none() {
    let mut server = Server::new(
        |config| {
            for option in ["header_timeout", "body_timeout", "write_timeout"] {
                config.set(option, "0").unwrap();
            }
        },
        echo,
    );
    let mut client = server.connect();
    assert_eq!(server.turn(0), Some(-1), "nothing to wait for");
    client.send("POST / HTTP/1.1\r\n");
    server.settle();
    assert_eq!(server.turn(0), Some(-1));
    client.send("Host: h\r\nContent-Length: 1\r\n\r\n");
    server.settle();
    assert_eq!(server.turn(0), Some(-1));
    client.send("x");
    assert_eq!(server.reply(&mut client).text(), "x");
}

#[test]
fn a_turn_says_how_long_the_next_may_wait() {
    let mut server = Server::new(only("keepalive", "10s"), hello);
    assert_eq!(server.turn(0), Some(-1), "no connection, no deadline");
    let mut client = server.connect();
    server.ask_on(&mut client, GET);
    let next = server.turn(0).unwrap();
    assert!((1..=30_000).contains(&next), "{next}");
}
