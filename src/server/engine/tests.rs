use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

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
