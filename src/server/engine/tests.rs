use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::app::Application;
use crate::gateway::body::Body;
use crate::gateway::config::Config;
use crate::gateway::deferred::Deferred;

#[test]
fn a_connection_has_few_timers_however_its_deadline_moves() {
    let mut config = Config::new();
    let app = |_: &Environ, _: &StartResponse<'_>| Ok(Body::empty());
    let app = Application::new(app).nonblocking();
    config.application(app);
    let setup = Arc::new(Setup::new(config).unwrap());
    let mut engine = Engine::new(setup, Vec::new(), Arc::new(Counters::default())).unwrap();
    let (_client, theirs) = UnixStream::pair().unwrap();
    engine.adopt(theirs.into_raw_fd()).unwrap();
    let key = engine.keys()[0];
    let mut most = 0;
    for _ in 0..1000 {
        // A long wait, and then a short one: both come out too early.
        for after in [30_000, 5_000, 35_000] {
            let conn = engine.conns.get_mut(key).unwrap();
            conn.deadline = engine.core.context.now + after;
            engine.core.arm(key, conn);
        }
        engine.core.context.now += 10_000;
        engine.expire();
        most = most.max(engine.core.wheel.len());
    }
    assert!(most <= 8, "{most} timers");
}

/// Asks for something at `address`; the answer ends the connection.
fn ask(address: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    client
}

#[test]
fn clients_that_always_come_again_do_not_put_a_stop_off() {
    const FOR_EVER: usize = 2000;
    let (address, calls) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
    let mut config = Config::new();
    config.set("bind", "127.0.0.1:0?backlog=100").unwrap();
    let (to, called) = (Arc::clone(&address), Arc::clone(&calls));
    let clients = Mutex::new(Vec::new());
    let app = move |_: &Environ, _: &StartResponse<'_>| {
        if called.fetch_add(1, Ordering::Relaxed) < FOR_EVER {
            let mut clients = clients.lock().unwrap();
            clients.clear();
            clients.push(ask(&to.lock().unwrap()));
        }
        Ok(Body::empty())
    };
    config.application(Application::new(app).nonblocking());
    let setup = Arc::new(Setup::new(config).unwrap());
    let listeners = setup.bind().unwrap();
    *address.lock().unwrap() = listeners[0].local().to_owned();
    let mut engine = Engine::new(setup, listeners, Arc::new(Counters::default())).unwrap();
    let _first = ask(&address.lock().unwrap());
    engine.control().stop(Stop::Graceful);
    engine.turn(0).unwrap();
    let calls = calls.load(Ordering::Relaxed);
    assert!((1..FOR_EVER).contains(&calls), "{calls} calls");
}

/// One other worker, which has nothing.
#[derive(Debug)]
struct Idle {
    accepts: bool,
    rested: Arc<AtomicUsize>,
}

impl Peers for Idle {
    fn load(&self) -> (usize, u64) {
        (2, 0)
    }

    fn others_accept(&self) -> bool {
        self.accepts
    }

    fn set_resting(&self, rests: bool) {
        self.rested.fetch_add(usize::from(rests), Ordering::Relaxed);
    }

    fn serves(&self, _seat: u32) -> bool {
        true
    }
}

#[test]
fn who_has_more_than_the_others_rests_unless_nobody_else_accepts() {
    for accepts in [false, true] {
        let mut config = Config::new();
        config.set("bind", "127.0.0.1:0").unwrap();
        let app = |_: &Environ, _: &StartResponse<'_>| Ok(Body::empty());
        config.application(Application::new(app).nonblocking());
        let setup = Arc::new(Setup::new(config).unwrap());
        let listeners = setup.bind().unwrap();
        let address = listeners[0].local().to_owned();
        let mut engine = Engine::new(setup, listeners, Arc::new(Counters::default())).unwrap();
        let rested = Arc::new(AtomicUsize::new(0));
        engine.share_with(Box::new(Idle { accepts, rested: Arc::clone(&rested) }));
        let _clients: Vec<_> =
            (0..20).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
        engine.turn(-1).unwrap();
        assert_eq!(engine.conns.len(), if accepts { 5 } else { 20 });
        // They are not left to nobody.
        let mut wait = 0;
        while engine.conns.len() < 20 {
            wait = engine.turn(wait).unwrap().unwrap();
            assert!(wait >= 0, "it would wait for ever");
        }
        assert!(accepts || !engine.share.rests);
    }
}

/// A FastCGI request for "/" that is alone, or all of its connection's.
fn fastcgi(id: u8, keeps: u8) -> Vec<u8> {
    let params = b"\x0e\x03REQUEST_METHODGET\x09\x01PATH_INFO/";
    let mut octets = vec![1, 1, 0, id, 0, 8, 0, 0, 0, 1, keeps, 0, 0, 0, 0, 0];
    octets.extend([1, 4, 0, id, 0, params.len() as u8, 0, 0]);
    octets.extend(params);
    octets.extend([1, 4, 0, id, 0, 0, 0, 0, 1, 5, 0, id, 0, 0, 0, 0]);
    octets
}

/// The records in `octets`: type, id, content.
fn records(mut octets: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [1, kind, 0, id, len1, len0, 0, 0, rest @ ..] = octets {
        let (content, rest) = rest.split_at(usize::from(u16::from_be_bytes([*len1, *len0])));
        found.push((*kind, *id, content.to_vec()));
        octets = rest;
    }
    assert_eq!(octets, b"");
    found
}

/// An engine whose only connection speaks FastCGI, and the other end of that.
fn fastcgi_engine(app: Application, options: &[(&str, &str)]) -> (Engine, UnixStream) {
    let mut config = Config::new();
    config.application(app);
    for (name, value) in options {
        config.set(name, value).unwrap();
    }
    let setup = Arc::new(Setup::new(config).unwrap());
    let mut engine = Engine::new(setup, Vec::new(), Arc::new(Counters::default())).unwrap();
    let (client, theirs) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    engine.adopt_as(theirs.into_raw_fd(), Protocol::FastCgi).unwrap();
    (engine, client)
}

/// Turns until the client has so many END_REQUESTs; all that came.
fn ends(engine: &mut Engine, client: &mut UnixStream, count: usize) -> Vec<u8> {
    let (mut octets, mut piece) = (Vec::new(), [0; 5000]);
    loop {
        engine.turn(0).unwrap();
        while let Ok(n) = client.read(&mut piece) {
            assert!(n > 0, "it has ended");
            octets.extend(&piece[..n]);
        }
        if octets.windows(2).filter(|it| it == &[1, 3]).count() >= count {
            return octets;
        }
    }
}

fn reply_to_all(held: &Mutex<Vec<Deferred>>) {
    for handle in held.lock().unwrap().drain(..) {
        handle.reply(&Response::new(204, &[]), Vec::new()).unwrap();
    }
}

#[test]
fn one_request_after_another_needs_no_connection_of_its_own() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Response::new(204, &[]))?;
        Ok(Body::empty())
    };
    let (mut engine, mut client) = fastcgi_engine(Application::new(app).nonblocking(), &[]);
    for _ in 0..3 {
        client.write_all(&fastcgi(1, 1)).unwrap();
        ends(&mut engine, &mut client, 1);
        assert_eq!((engine.conns.slots(), engine.core.ways.slots()), (1, 0));
    }
}

/// It leaves its requests with whoever has this.
fn holding(held: &Arc<Mutex<Vec<Deferred>>>) -> Application {
    let held = Arc::clone(held);
    let app = move |env: &Environ, _: &StartResponse<'_>| {
        held.lock().unwrap().push(env.defer(None)?);
        Ok(Body::later())
    };
    Application::new(app).nonblocking()
}

#[test]
fn more_than_a_connection_may_have_are_told_and_counted() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let options = [("worker_connections", "1000")];
    let (mut engine, mut client) = fastcgi_engine(holding(&held), &options);
    for id in 1..=130_u8 {
        client.write_all(&[1, 1, 0, id, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]).unwrap();
    }
    let refused = records(&ends(&mut engine, &mut client, 2));
    let told = |id| (3, id, vec![0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(refused, [told(129), told(130)]);
    assert_eq!(engine.counters().requests_full.get(), 2);
}

#[test]
fn requests_apart_are_no_connections_and_leave_nothing_behind() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let (mut engine, mut client) = fastcgi_engine(holding(&held), &[("worker_connections", "3")]);
    for round in 0..3 {
        (1..5).for_each(|id| client.write_all(&fastcgi(id, 1)).unwrap());
        while held.lock().unwrap().len() < 4 {
            engine.turn(0).unwrap();
        }
        assert_eq!((engine.held(), engine.core.apart, engine.core.ways.len()), (1, 3, 3));
        let counters = engine.counters();
        assert_eq!((counters.connections.get(), counters.accepted.get()), (1, 1));
        // A fifth has no place.
        client.write_all(&fastcgi(5, 1)).unwrap();
        let refused = records(&ends(&mut engine, &mut client, 1));
        assert_eq!(refused, [(3, 5, vec![0, 0, 0, 0, 2, 0, 0, 0])]);
        assert_eq!(engine.counters().requests_full.get(), round + 1);
        reply_to_all(&held);
        ends(&mut engine, &mut client, 4);
        while engine.core.apart > 0 {
            engine.turn(0).unwrap();
        }
        assert_eq!((engine.conns.len(), engine.core.ways.len()), (1, 0));
    }
    drop(client);
    while !engine.conns.is_empty() {
        engine.turn(0).unwrap();
    }
}

#[test]
fn an_answer_that_comes_too_late_costs_the_others_nothing() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let (mut engine, mut client) = fastcgi_engine(holding(&held), &[("request_timeout", "200ms")]);
    // The second begins half a limit later; both get their 504, and a third is asked for.
    client.write_all(&fastcgi(1, 1)).unwrap();
    let begun = clock::monotonic_ms();
    while clock::monotonic_ms() < begun + 100 {
        engine.turn(10).unwrap();
    }
    client.write_all(&fastcgi(2, 1)).unwrap();
    for id in [1, 2] {
        let all = records(&ends(&mut engine, &mut client, 1));
        assert!(all[0].1 == id && all[0].2.starts_with(b"Status: 504 "), "{all:?}");
        assert_eq!(all.last().unwrap().0, 3);
    }
    held.lock().unwrap().clear();
    client.write_all(&fastcgi(1, 1)).unwrap();
    while held.lock().unwrap().is_empty() {
        engine.turn(0).unwrap();
    }
    reply_to_all(&held);
    let all = records(&ends(&mut engine, &mut client, 1));
    assert!(all.iter().all(|it| it.1 == 1), "{all:?}");
}

#[test]
fn a_connection_whose_requests_were_all_answered_apart_is_kept() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Response::new(204, &[]))?;
        Ok(Body::empty())
    };
    let (mut engine, mut client) = fastcgi_engine(Application::new(app), &[("threads", "2")]);
    assert!(engine.core.has_crew());
    client.write_all(&fastcgi(1, 1)).unwrap();
    ends(&mut engine, &mut client, 1);
    while engine.conns.len() > 1 {
        engine.turn(10).unwrap();
    }
    // It waits for another request, with the time that there is for that.
    assert!(engine.conns.values_mut().all(|conn| conn.is_kept()));
}
