//! Stopping: graceful and quick.

use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use gateway::base::error::Kind;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;
use gateway::server::engine::Stop;

use super::harness::*;

fn listening(config: &mut Config) {
    config.set("bind", "127.0.0.1:0").unwrap();
}

#[test]
fn an_engine_without_connections_stops_at_once() {
    for how in [Stop::Graceful, Stop::Quick] {
        let mut server = Server::new(listening, hello);
        server.settle();
        server.stop(how);
        assert_eq!(server.turn(-1), None, "stop() wakes it");
        assert_eq!(server.turn(-1), None, "and it stays stopped");
    }
}

#[test]
fn idle_connections_may_ask_once_more_and_requests_in_flight_finish_with_close() {
    let mut server = Server::new(|_| {}, echo);
    let [mut idle, mut late] = [server.connect(), server.connect()];
    for client in [&mut idle, &mut late] {
        assert!(!server.ask_on(client, GET).says_close());
    }
    let mut busy = server.connect();
    busy.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    let mut in_head = server.connect();
    in_head.send("GET / HTTP/1.1\r\nHo");
    server.settle();
    server.stop(Stop::Graceful);
    server.settle();
    // Its next request may have been on its way.
    assert!(server.ask_on(&mut late, GET).says_close());
    assert_eq!(server.until_end(&mut late), End::Clean);
    assert!(!server.has_stopped());
    busy.send("cde");
    let response = server.reply(&mut busy);
    assert_eq!(response.text(), "abcde");
    assert!(response.says_close());
    in_head.send("st: h\r\n\r\n");
    let response = server.reply(&mut in_head);
    assert_eq!(response.status, 200);
    assert!(response.says_close());
    drop((busy, in_head));
    // Who has nothing to ask is not waited for.
    assert_eq!(server.until_end(&mut idle), End::Clean);
    assert!(idle.inbox.is_empty());
    server.finish();
    assert_eq!(server.counters.connections.get(), 0);
}

#[test]
fn who_is_in_the_queue_is_answered_and_who_comes_later_is_refused() {
    let mut server = Server::new(listening, hello);
    let address = server.engine.listeners()[0].local().to_owned();
    let mut queued: Vec<_> = (0..20).map(|_| server.dial()).collect();
    for client in &mut queued {
        client.send(GET);
    }
    server.stop(Stop::Graceful);
    server.turn(0);
    assert!(std::net::TcpStream::connect(&address).is_err(), "nobody listens any more");
    for client in &mut queued {
        let response = server.reply(client);
        assert_eq!(response.text(), "hello\n");
        assert_eq!(server.until_end(client), End::Clean);
    }
    server.finish();
    assert_eq!(server.counters.accepted.get(), 20);
}

#[test]
fn pipelined_requests_end_with_the_first_answer_that_says_close() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    server.settle();
    server.stop(Stop::Graceful);
    server.settle();
    client.send("cde".to_owned() + GET + GET);
    assert!(server.reply(&mut client).says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty());
    drop(client);
    server.finish();
}

#[test]
fn what_is_not_finished_at_the_timeout_is_cut() {
    let mut server = Server::new(
        |config| {
            config.set("graceful_timeout", "100ms").unwrap();
        },
        echo,
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    server.settle();
    server.stop(Stop::Graceful);
    server.finish();
    client.pull();
    assert!(client.end.is_some() && client.inbox.is_empty());
    assert_eq!(server.counters.aborted.get(), 1);
    assert_eq!(server.counters.in_flight.get(), 0);
}

#[test]
fn a_quick_stop_cuts_at_once_also_after_a_graceful_one() {
    for graceful_first in [false, true] {
        let mut server = Server::new(
            |_| {},
            |_: &Environ, start: &StartResponse<'_>| {
                start.respond(&Head::new(200, &TEXT))?;
                Ok(Body::from_chunks(std::iter::repeat_with(|| Ok(vec![b'e'; 50_000]))))
            },
        );
        let mut client = server.connect_tcp();
        client.send(GET);
        server.settle();
        if graceful_first {
            server.stop(Stop::Graceful);
            server.settle();
            assert!(!server.has_stopped());
        }
        server.stop(Stop::Quick);
        // It cannot be taken back.
        server.stop(Stop::Graceful);
        assert_eq!(server.turn(-1), None);
        server.truncated(&mut client);
        assert_eq!(server.counters.connections.get(), 0);
    }
}

#[test]
fn nothing_is_adopted_after_a_stop_and_the_descriptor_stays_the_caller_s() {
    for how in [Stop::Graceful, Stop::Quick] {
        let mut server = Server::new(|_| {}, hello);
        server.stop(how);
        server.finish();
        let (mine, theirs) = UnixStream::pair().unwrap();
        let error = server.engine.adopt(std::os::fd::AsRawFd::as_raw_fd(&theirs)).unwrap_err();
        assert_eq!(error.kind(), Kind::State);
        assert!(is_open(&theirs));
        drop((mine, theirs));
        assert_eq!(server.counters.accepted.get(), 0);
    }
}

#[test]
fn what_is_no_connected_socket_is_not_adopted() {
    let mut server = Server::new(|_| {}, hello);
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = server.engine.adopt(std::os::fd::AsRawFd::as_raw_fd(&file)).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(is_open(&file));
    assert!(server.engine.adopt(-1).is_err());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(server.engine.adopt(std::os::fd::AsRawFd::as_raw_fd(&listener)).is_err());
    assert!(is_open(&listener));
    assert_eq!(server.counters.accepted.get(), 0);
    // A socket that still blocks is made fit.
    let (mine, theirs) = UnixStream::pair().unwrap();
    server.engine.adopt(theirs.into_raw_fd()).unwrap();
    let mut client = Client::unix(mine);
    assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
}

#[test]
fn another_thread_may_stop_it() {
    let mut server = Server::new(|_| {}, hello);
    let control = server.engine.control().clone();
    let other = std::thread::spawn(move || control.stop(Stop::Graceful));
    server.engine.run().unwrap();
    other.join().unwrap();
}

#[test]
fn a_wake_makes_one_turn_and_changes_nothing() {
    let mut server = Server::new(|_| {}, hello);
    server.engine.control().wake();
    assert_eq!(server.turn(-1), Some(-1));
    assert_eq!(server.ask(GET).text(), "hello\n");
}
