//! Clients that leave: before, during and between the calls of the application.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{EOF, OK, Response as Head};
use gateway::gateway::app::Application;

use super::harness::capp::is_gone;
use super::harness::*;
use super::tools::*;

/// Waits in `call`, gives a chunk, waits in each `next`, and notes everything.
fn waiting(seen: &Seen, in_call: &Gate, in_next: &Gate, size: usize) -> Application {
    let (seen, in_call, in_next) = (seen.clone(), in_call.clone(), in_next.clone());
    blocking(move |_, start, body| {
        seen.note("call");
        in_call.pass();
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(owned(&seen, vec![b'x'; size]));
        let (noted, gate) = (seen.clone(), in_next.clone());
        let mut left = 2;
        body.next = Some(Box::new(move |out: &mut Chunk| {
            noted.note("next");
            gate.pass();
            if left == 0 {
                return EOF;
            }
            left -= 1;
            *out = owned(&noted, vec![b'x'; size]);
            OK
        }));
        let noted = seen.clone();
        body.close = Some(Box::new(move || noted.note("close")));
        OK
    })
}

/// Everything was given back in order, off the loop.
fn assert_ended(seen: &Seen, released: usize) {
    let what = seen.elsewhere();
    assert_eq!((seen.count("call"), seen.count("close")), (1, 1), "{what:?}");
    assert_eq!(seen.count("release"), released, "{what:?}");
    assert_eq!(what.last().unwrap(), "close", "{what:?}");
}

#[test]
fn a_client_that_leaves_the_queue_never_reaches_the_application() {
    let (gate, seen) = (Gate::default(), Seen::default());
    let mut server = Server::with(options("threads=1 queue_limit=1"), gated(&gate, &seen));
    let mut first = server.connect();
    first.send(get("/gate"));
    server.until("the thread is blocked", |_| gate.waiting() == 1);
    let mut leaves = server.connect_tcp();
    leaves.send(get("/leaves"));
    server.settle();
    leaves.reset();
    server.until("it is noticed", |server| server.counters.connections.get() == 1);
    assert_eq!(server.counters.aborted.get(), 1);
    // Its place in the queue is free.
    let mut next = server.connect();
    next.send(get("/next"));
    server.settle();
    assert_eq!(server.counters.shed.get(), 0);
    gate.open(1);
    assert_eq!(server.reply(&mut first).text(), "through");
    assert_eq!(server.reply(&mut next).text(), "at once");
    assert_eq!(seen.elsewhere(), ["/gate", "/next"]);
    server.until("all is counted", |server| server.counters.in_flight.get() == 0);
}

#[test]
fn a_client_that_leaves_during_the_call() {
    let (seen, in_call, in_next) = (Seen::default(), Gate::default(), Gate::default());
    let mut server =
        Server::with(options("threads=1"), waiting(&seen, &in_call, &in_next, 100_000));
    in_next.open_for_ever();
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("it is called", |_| in_call.waiting() == 1);
    client.reset();
    for _ in 0..10 {
        server.turn(1);
    }
    assert_eq!(server.counters.connections.get(), 1, "the thread still uses it");
    in_call.open(1);
    server.until("it is closed", |server| server.counters.connections.get() == 0);
    server.until("it is counted", |server| server.counters.in_flight.get() == 0);
    assert_ended(&seen, 1);
    assert_eq!(server.counters.aborted.get(), 1);
}

#[test]
fn a_client_that_leaves_during_next() {
    let (seen, in_call, in_next) = (Seen::default(), Gate::default(), Gate::default());
    let mut server =
        Server::with(options("threads=1"), waiting(&seen, &in_call, &in_next, 100_000));
    in_call.open_for_ever();
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("it is asked", |_| {
        client.pull();
        in_next.waiting() == 1
    });
    client.reset();
    for _ in 0..10 {
        server.turn(1);
    }
    in_next.open(1);
    server.until("it is over", |server| server.counters.in_flight.get() == 0);
    assert_eq!(seen.count("next"), 1, "nobody is asked for what nobody gets");
    assert_ended(&seen, 2);
}

#[test]
fn a_client_that_leaves_between_two_calls_of_next() {
    let (seen, in_call, in_next) = (Seen::default(), Gate::default(), Gate::default());
    let mut server =
        Server::with(options("threads=1"), waiting(&seen, &in_call, &in_next, 16 << 20));
    in_call.open_for_ever();
    in_next.open_for_ever();
    for leave in [Client::reset, drop::<Client>] {
        let seen_before = seen.elsewhere().len();
        let mut client = server.connect_tcp();
        client.send(GET);
        server.until("the answer begins", |_| {
            client.pull_up_to(1000);
            client.total > 0
        });
        server.settle();
        leave(client);
        server.until("it is over", |server| server.counters.in_flight.get() == 0);
        let what = seen.elsewhere().split_off(seen_before);
        assert_eq!(what, ["call", "release", "close"]);
    }
    assert_eq!(server.counters.connections.get(), 0);
}

#[test]
fn close_waits_for_a_thread_when_all_are_blocked() {
    let (seen, in_call, in_next) = (Seen::default(), Gate::default(), Gate::default());
    let mut server =
        Server::with(options("threads=1"), waiting(&seen, &in_call, &in_next, 16 << 20));
    in_call.open(1);
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("the answer begins", |_| {
        client.pull_up_to(1000);
        client.total > 0
    });
    let mut other = server.connect();
    other.send(GET);
    server.until("the thread is blocked", |_| in_call.waiting() == 1);
    client.reset();
    server.until("the client is gone", |server| server.counters.connections.get() == 1);
    assert_eq!(seen.count("close"), 0);
    in_call.open(1);
    in_next.open_for_ever();
    drop(other);
    server.until("both are closed", |_| seen.count("close") == 2);
    seen.elsewhere();
}

#[test]
fn a_running_application_can_see_that_its_client_has_left() {
    let (gate, gone) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let (wait, told) = (gate.clone(), gone.clone());
    let app = blocking(move |env, start, _| {
        let before = usize::from(is_gone(env));
        wait.pass();
        told.store(1 + before * 10 + usize::from(is_gone(env)) * 100, SeqCst);
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1"), app);
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("it runs", |_| gate.waiting() == 1);
    client.reset();
    server.settle();
    gate.open(1);
    server.until("it told", |_| gone.load(SeqCst) > 0);
    assert_eq!(gone.load(SeqCst), 101);
}

#[test]
fn every_one_of_many_aborted_requests_is_counted() {
    let (seen, in_call, in_next) = (Seen::default(), Gate::default(), Gate::default());
    let mut server =
        Server::with(options("threads=4"), waiting(&seen, &in_call, &in_next, 2 << 20));
    in_call.open_for_ever();
    in_next.open_for_ever();
    let mut clients: Vec<_> = (0..150).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    server.until("all have begun", |_| seen.count("call") == 150);
    server.settle();
    assert_eq!(server.counters.in_flight.get(), 150);
    drop(clients);
    server.until("all are over", |server| server.counters.connections.get() == 0);
    server.until("all are closed", |_| seen.count("close") == 150);
    server.until("all are counted", |server| server.counters.in_flight.get() == 0);
    assert_eq!(seen.count("release"), 150);
    seen.elsewhere();
}
