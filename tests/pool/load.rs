//! More requests than threads.

use std::time::Duration;

use super::harness::*;
use super::tools::*;

/// So many clients whose requests the application has begun with, and that wait at the gate.
fn blocked(server: &mut Server, gate: &Gate, count: usize) -> Vec<Client> {
    let before = gate.waiting();
    let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(get("/gate"));
    }
    server.until("the threads are blocked", |_| gate.waiting() == before + count);
    clients
}

#[test]
fn as_many_run_at_once_as_there_are_threads_and_the_next_waits() {
    for threads in [1, 3, 8] {
        let (gate, seen) = (Gate::default(), Seen::default());
        let mut server = Server::with(options(&format!("threads={threads}")), gated(&gate, &seen));
        let mut clients = blocked(&mut server, &gate, threads);
        let mut next = server.connect();
        next.send(get("/gate"));
        for _ in 0..20 {
            server.turn(1);
        }
        assert_eq!((gate.waiting(), seen.count("/gate")), (threads, threads));
        gate.open(1);
        server.until("the next gets its turn", |_| seen.count("/gate") == threads + 1);
        gate.open_for_ever();
        for client in clients.iter_mut().chain([&mut next]) {
            assert_eq!(server.reply(client).text(), "through");
        }
        assert_eq!(seen.threads().len(), threads);
    }
}

#[test]
fn a_fast_request_passes_blocked_ones_while_a_thread_is_free() {
    let gate = Gate::default();
    let mut server = Server::with(options("threads=3"), gated(&gate, &Seen::default()));
    let mut clients = blocked(&mut server, &gate, 2);
    let mut fast = server.connect();
    for _ in 0..50 {
        assert_eq!(server.ask_on(&mut fast, GET).text(), "at once");
    }
    gate.open(2);
    for client in &mut clients {
        assert_eq!(server.reply(client).text(), "through");
    }
}

#[test]
fn the_loop_serves_connections_while_all_threads_are_blocked() {
    let gate = Gate::default();
    let config = options("threads=2 header_timeout=1s keepalive=1s body_timeout=1s");
    let mut server = Server::with(config, gated(&gate, &Seen::default()));
    let mut idle = server.connect();
    assert_eq!(server.ask_on(&mut idle, GET).text(), "at once");
    let mut clients = blocked(&mut server, &gate, 2);

    let mut malformed = server.connect();
    malformed.send("GET / HTTP/1.1\r\nHost: h\r\nBad header\r\n\r\n");
    assert_eq!(server.reply(&mut malformed).status, 400);
    let mut slow_head = server.connect();
    slow_head.send("GET / HT");
    let mut silent = server.connect();
    let mut slow_body = server.connect();
    slow_body.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345");
    assert_eq!(server.reply(&mut slow_head).status, 408);
    assert_eq!(server.reply(&mut slow_body).status, 408);
    assert_eq!(server.until_end(&mut silent), End::Clean);
    assert_eq!(server.until_end(&mut idle), End::Clean);
    assert_eq!(gate.waiting(), 2);
    gate.open(2);
    for client in &mut clients {
        assert_eq!(server.reply(client).text(), "through");
    }
}

#[test]
fn a_full_queue_sheds_and_keeps_the_connection() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1 queue_limit=2"), gated(&gate, &seen));
    let mut clients = blocked(&mut server, &gate, 1);
    for _ in 0..2 {
        let mut client = server.connect();
        client.send(get("/gate"));
        clients.push(client);
    }
    server.settle();
    let mut shed = server.connect();
    for n in 1..=3 {
        let response = server.ask_on(&mut shed, get("/gate"));
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
        assert!(!response.says_close());
        assert_eq!(server.counters.shed.get(), n);
        assert_eq!(server.counters.status[5].get(), n);
    }
    // A body that nobody will read does not get in the way of the next request.
    assert_eq!(server.ask_on(&mut shed, post(&noise(30_000))).status, 503);
    assert_eq!(server.ask_on(&mut shed, "HEAD /gate HTTP/1.1\r\nHost: h\r\n\r\n").status, 503);
    gate.open(3);
    for client in &mut clients {
        assert_eq!(server.reply(client).text(), "through");
    }
    assert_eq!(server.ask_on(&mut shed, get("/")).text(), "at once");
    assert_eq!(seen.count("/gate"), 3, "what was shed never ran");
    server.until("all is counted", |server| server.counters.in_flight.get() == 0);
}

#[test]
fn a_request_that_waited_too_long_is_answered_while_the_threads_are_blocked() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1 queue_timeout=200ms"), gated(&gate, &seen));
    let mut first = blocked(&mut server, &gate, 1).remove(0);
    let mut late = server.connect();
    for n in 1..=2 {
        late.send(get("/late"));
        let response = server.reply(&mut late);
        assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
        assert_eq!(server.counters.shed.get(), n);
    }
    assert_eq!(gate.waiting(), 1, "the thread was blocked all the time");
    // Who runs may take its time.
    gate.open(1);
    assert_eq!(server.reply(&mut first).text(), "through");
    assert_eq!(server.ask_on(&mut late, get("/later")).text(), "at once");
    assert_eq!(seen.count("/late"), 0, "the application was not called");
}

#[test]
fn a_thread_does_not_begin_with_what_waited_too_long() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1 queue_timeout=50ms"), gated(&gate, &seen));
    let mut first = blocked(&mut server, &gate, 1).remove(0);
    let mut late = server.connect();
    late.send(get("/late"));
    server.settle();
    // The loop does not turn meanwhile: nobody but the thread can notice.
    std::thread::sleep(Duration::from_millis(200));
    gate.open(1);
    assert_eq!(server.reply(&mut first).text(), "through");
    assert_eq!(server.reply(&mut late).status, 503);
    assert_eq!((seen.count("/late"), server.counters.shed.get()), (0, 1));
}

#[test]
fn a_timeout_in_the_queue_starts_anew_with_each_request_of_a_connection() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1 queue_timeout=1s"), gated(&gate, &seen));
    let mut client = server.connect();
    // Together they take longer than the timeout; each of them never waits.
    for _ in 0..8 {
        client.send(get("/gate"));
        server.until("it runs", |_| gate.waiting() == 1);
        std::thread::sleep(Duration::from_millis(150));
        gate.open(1);
        assert_eq!(server.reply(&mut client).status, 200);
    }
}
