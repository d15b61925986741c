//! The arbiter: supervised workers as a call, or as an object.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::gw_config;
use super::guard::{fill, guard, guard_with, out, quietly};
use super::object::{Exclusive, borrow, give, handle, take};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_error, gw_result};
use super::stats::{gw_stats, stats_of};
use crate::arbiter::{Arbiter, Handle as Control, State, StopMode, Turn, WorkerSlot};
use crate::base::error::{Error, Kind};
use crate::gateway::counters::Counters;
use crate::serve;
use crate::sys::shm::Shared;

/// [one] Serve until told to stop; takes cfg.  By default it handles TERM (graceful), INT and QUIT
/// (quick), logs errors to standard error, listens on 127.0.0.1:8000 and forks a worker per CPU:
/// the options `signals`, `errorlog`, `bind`, `workers` and `worker_model` say otherwise.
///
/// Forked workers live and end inside: only the caller's process returns, GW_OK after a stop.
/// GW_ERR_TIMEOUT: it has stopped, and left threads behind in which an application does not return
/// (GW_MODEL_THREADS).  err->exit_status is what main should return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_serve(cfg: *mut gw_config, err: *mut gw_error) -> gw_result {
    let serve = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        serve::serve(config.into_inner())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, serve) }
}

/// [any] Whether this process is a worker that an arbiter started; one whose threads are workers is
/// not.
#[unsafe(no_mangle)]
pub extern "C" fn gw_is_worker() -> i32 {
    i32::from(serve::is_worker())
}

/// workers, and who watches them
#[derive(Debug)]
pub struct gw_arbiter {
    _private: [u8; 0],
}

handle!(gw_arbiter: Prefork, b"arbi");

/// An arbiter, and what may be used while a call is in it.
pub(super) struct Prefork {
    arbiter: Exclusive<Arbiter>,
    control: Control,
    fd: RawFd,
    board: Arc<Shared<WorkerSlot>>,
    counters: Arc<Shared<Counters>>,
    since: Instant,
}

/// [one] Takes cfg.  Binds its listeners, of which there must be one; starts nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_new(
    cfg: *mut gw_config,
    out: *mut *mut gw_arbiter,
    err: *mut gw_error,
) -> gw_result {
    let make = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        // SAFETY: the rules page.
        let out = unsafe { self::out(out, "out") }?;
        let (arbiter, counters) = serve::counted(config.into_inner())?;
        out.set(give(Prefork {
            control: arbiter.handle(),
            fd: arbiter.fd(),
            board: Arc::clone(arbiter.board()),
            counters,
            since: Instant::now(),
            arbiter: Exclusive::new(arbiter),
        }));
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [one] Start the workers.  With GW_MODEL_FORK GW_ERR_STATE in a process that has threads: a fork
/// would leave them behind with whatever they hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_start(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result {
    // SAFETY: the rules page.
    let start = || unsafe { borrow(a) }?.arbiter.enter()?.start();
    // SAFETY: the rules page.
    unsafe { guard_with(err, start) }
}

/// [one] Watch the workers until stopped; starts them if that was not done.  GW_ERR_TIMEOUT as
/// gw_serve.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_run(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result {
    // SAFETY: the rules page.
    let run = || unsafe { borrow(a) }?.arbiter.enter()?.run();
    // SAFETY: the rules page.
    unsafe { guard_with(err, run) }
}

/// [any] Readable when gw_arbiter_turn has something to do; -1: no arbiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_fd(a: *const gw_arbiter) -> i32 {
    // SAFETY: the rules page.
    quietly(-1, || Ok(unsafe { borrow(a) }?.fd))
}

/// [one] What gw_arbiter_run does, step by step, after gw_arbiter_start: for a host with a loop of
/// its own, as gw_server_turn.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_turn(a: *mut gw_arbiter, wait_ms: *mut i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (arbiter, wait_ms) = unsafe { (borrow(a)?, out(wait_ms, "wait_ms")?) };
        let (code, next) = match arbiter.arbiter.enter()?.turn(0)? {
            Turn::Wait(next) => (GW_OK, next),
            Turn::Stopped => (GW_EOF, -1),
        };
        wait_ms.set(next);
        Ok(code)
    })
}

/// [sig] Let gw_arbiter_run end: `how` is GW_STOP_*.  A second GW_STOP_QUICK hurries the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_stop(a: *mut gw_arbiter, how: u32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        arbiter.control.stop(match how {
            GW_STOP_GRACEFUL => StopMode::Graceful,
            GW_STOP_QUICK => StopMode::Quick,
            GW_STOP_KILL => StopMode::Kill,
            _ => return Err(Error::new(Kind::Invalid, "how is none of GW_STOP_*")),
        });
        Ok(())
    })
}

/// requests that are there are answered, within graceful_timeout
pub const GW_STOP_GRACEFUL: u32 = 0;
/// connections are closed where they stand
pub const GW_STOP_QUICK: u32 = 1;
/// and workers killed, but for threads
pub const GW_STOP_KILL: u32 = 2;

/// [any] The counters of all workers, those that have ended included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_stats(a: *const gw_arbiter, out: *mut gw_stats) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        let workers = arbiter.counters.iter().zip(arbiter.board.iter());
        let workers = workers.map(|(counters, slot)| (counters, slot.state() != State::Empty));
        let stats = stats_of(workers, arbiter.since);
        // SAFETY: the rules page.
        unsafe { fill(out, &stats, "out") }
    })
}

/// [any] Wait up to timeout_ms (-1: for ever) until gw_arbiter_run, in another thread, has ended.
/// What it returned; GW_AGAIN when time is up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_wait(a: *mut gw_arbiter, timeout_ms: i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        match arbiter.control.wait(timeout) {
            Some(ended) => ended.map(|()| GW_OK),
            None => Ok(GW_AGAIN),
        }
    })
}

/// [one] Kills the workers that are left.  A thread cannot be killed: its connections are closed, and
/// one that does not end within 5 seconds, since an application does not return, is left to itself;
/// what it uses lives until then.  After GW_ERR_PANIC it closes the listeners and lets the workers
/// end, and leaves the memory to the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_free(a: *mut gw_arbiter) {
    quietly((), || {
        // SAFETY: the rules page.
        let arbiter = &unsafe { borrow(a) }?.arbiter;
        arbiter.salvage(Arbiter::wreck);
        drop(arbiter.enter()?);
        // SAFETY: the rules page: nobody uses it any more, and no call is in it.
        unsafe { take(a) }.map(drop)
    });
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;
    use crate::gateway::abi::{Environ, StartResponse};
    use crate::gateway::app::Application;
    use crate::gateway::body::Body;
    use crate::gateway::config::Config;

    #[test]
    fn an_arbiter_that_a_panic_has_broken_still_closes_and_lets_its_workers_end() {
        let mut config = Config::new();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (key, value) in
            [("worker_model", "threads"), ("workers", "2"), ("bind", &*address.to_string())]
        {
            config.set(key, value).unwrap();
        }
        let app = |_: &Environ, _: &StartResponse<'_>| Ok(Body::empty());
        config.application(Application::new(app).nonblocking());
        let cfg: *mut gw_config = give(Exclusive::new(config));
        let (mut a, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: made here; freeing leaves a dead one where it is.
        unsafe {
            assert_eq!(gw_arbiter_new(cfg, &raw mut a, none), GW_OK);
            assert_eq!(gw_arbiter_start(a, none), GW_OK);
            drop(TcpStream::connect(address).unwrap());
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _inside = borrow(a).unwrap().arbiter.enter().unwrap();
                resume_unwind(Box::new("a bug"));
            }));
            assert!(panicked.is_err());
            assert_eq!(gw_arbiter_start(a, none), Kind::Panic as gw_result);
            gw_arbiter_free(a);
        }
        // The workers close theirs, too.  A child that another test starts has a copy until its exec.
        let refused = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            TcpStream::connect(address).is_err()
        });
        assert!(refused, "somebody listens");
    }
}
