//! One worker in the caller's own event loop.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use super::arbiter::{GW_STOP_GRACEFUL, GW_STOP_KILL, GW_STOP_QUICK};
use super::config::gw_config;
use super::guard::{fill, guard, guard_with, out, quietly};
use super::object::{Exclusive, borrow, give, handle, take};
use super::result::{GW_EOF, GW_OK, gw_error, gw_result};
use super::stats::{gw_stats, stats_of};
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::Protocol;
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::server::engine::{Control, Engine, Stop};
use crate::server::setup::Setup;

/// one worker's loop
#[derive(Debug)]
pub struct gw_server {
    _private: [u8; 0],
}

handle!(gw_server: Server, b"serv");

/// An engine, and what may be used while a call is in it.
pub(super) struct Server {
    engine: Exclusive<Engine>,
    control: Arc<Control>,
    counters: Arc<Counters>,
    fd: RawFd,
    since: Instant,
}

impl Server {
    fn new(config: Config) -> Result<Self> {
        let setup = Arc::new(Setup::new(config)?);
        let listeners = setup.bind()?.into_iter().map(Arc::new).collect();
        let counters = Arc::new(Counters::default());
        let engine = Engine::new(setup, listeners, Arc::clone(&counters) as Arc<_>)?;
        Ok(Server {
            control: Arc::clone(engine.control()),
            fd: engine.fd(),
            engine: Exclusive::new(engine),
            counters,
            since: Instant::now(),
        })
    }
}

/// [one] Takes cfg.  Binds what is to be listened on; none at all is fine, for sockets that are
/// adopted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_new(
    cfg: *mut gw_config,
    out: *mut *mut gw_server,
    err: *mut gw_error,
) -> gw_result {
    let make = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        // SAFETY: the rules page.
        let out = unsafe { self::out(out, "out") }?;
        out.set(give(Server::new(config.into_inner())?));
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [any] Readable when gw_server_turn has something to do; -1: no server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_fd(s: *const gw_server) -> i32 {
    // SAFETY: the rules page.
    quietly(-1, || Ok(unsafe { borrow(s) }?.fd))
}

/// [one] Do what can be done without blocking; *wait_ms is how long the host may sleep on the fd: 0
/// not at all, -1 for ever.  GW_EOF: stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_turn(s: *mut gw_server, wait_ms: *mut i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (server, wait_ms) = unsafe { (borrow(s)?, out(wait_ms, "wait_ms")?) };
        let next = server.engine.enter()?.turn(0)?;
        wait_ms.set(next.unwrap_or(-1));
        Ok(if next.is_some() { GW_OK } else { GW_EOF })
    })
}

/// [one] Serve a connected socket that somebody else accepted.  It is taken when the result is
/// GW_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_adopt(s: *mut gw_server, fd: i32, protocol: u32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let server = unsafe { borrow(s) }?;
        let Protocol::Http = Protocol::from_code(protocol)?;
        if fd < 0 {
            return Err(Error::new(Kind::Invalid, "fd is negative"));
        }
        server.engine.enter()?.adopt(fd)
    })
}

/// [sig] Makes the fd readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_wake(s: *mut gw_server) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(s) }?.control.wake();
        Ok(())
    })
}

/// [sig] Begin to stop: `how` is GW_STOP_*, and a second call may only hurry it.  It goes on in
/// gw_server_turn, up to GW_EOF.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_stop(s: *mut gw_server, how: u32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let server = unsafe { borrow(s) }?;
        server.control.stop(match how {
            GW_STOP_GRACEFUL => Stop::Graceful,
            GW_STOP_QUICK | GW_STOP_KILL => Stop::Quick,
            _ => return Err(Error::new(Kind::Invalid, "how is none of GW_STOP_*")),
        });
        Ok(())
    })
}

/// [one] Closes what is still open.  Inside one of the server's own callbacks it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_free(s: *mut gw_server) {
    quietly((), || {
        // SAFETY: the rules page.
        if unsafe { borrow(s) }?.engine.enter()?.is_inside() {
            return Err(Error::new(Kind::State, "gw_server_free: called by its own application"));
        }
        // SAFETY: the rules page: nobody uses it any more, and no call is in it.
        unsafe { take(s) }.map(drop)
    });
}

/// [any] The counters of this server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_stats(s: *const gw_server, out: *mut gw_stats) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let server = unsafe { borrow(s) }?;
        let stats = stats_of([(&*server.counters, true)], server.since);
        // SAFETY: the rules page.
        unsafe { fill(out, &stats, "out") }
    })
}

/// A server goes from thread to thread: calls into it come from any, one at a time.
const _: () = {
    const fn sendable<T: Send>() {}
    sendable::<Engine>();
};
