use std::io::Write;
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::gateway::abi::{Environ, StartResponse};
use crate::gateway::app::Application;
use crate::gateway::body::Body;
use crate::gateway::config::Config;

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
