//! The arbiter, and the one call that is a whole server.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::time::Duration;

use super::config::gw_config;
use super::guard::{guard, guard_with, out, quietly};
use super::object::{Exclusive, borrow, give, handle, take};
use super::result::{GW_EOF, GW_OK, gw_error, gw_result};
use crate::arbiter::{self, Arbiter, StopMode, Turn};
use crate::serve::{prefork, serve};
use crate::base::error::{Error, Kind};

/// starts workers, watches them, stops them
#[derive(Debug)]
pub struct gw_arbiter {
    _private: [u8; 0],
}

handle!(gw_arbiter: Watched, b"arbi");

/// An arbiter, and what may be used while a call is in it.
pub(super) struct Watched {
    arbiter: Exclusive<Arbiter>,
    handle: arbiter::Handle,
    fd: RawFd,
}

/// [one] Serve until told to stop; takes cfg.  Unless they are set: signals are handled, errors go
/// to standard error, and 127.0.0.1:8000 is listened on.  Forked workers live and end inside: only
/// the caller's process returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_serve(cfg: *mut gw_config, err: *mut gw_error) -> gw_result {
    let run = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        serve(config.into_inner())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, run) }
}

/// [any] Whether this process is an arbiter's worker.
#[unsafe(no_mangle)]
pub extern "C" fn gw_is_worker() -> c_int {
    c_int::from(arbiter::is_worker())
}

/// [one] Takes cfg, and binds what is to be listened on.
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
        let arbiter = prefork(config.into_inner())?;
        let (handle, fd) = (arbiter.handle(), arbiter.fd());
        out.set(give(Watched { arbiter: Exclusive::new(arbiter), handle, fd }));
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [one] Start the workers.  GW_ERR_STATE: the process has threads, and must not fork.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_start(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result {
    // SAFETY: the rules page.
    unsafe { guard_with(err, || borrow(a)?.arbiter.enter()?.start()) }
}

/// [one] Start the workers unless that is done, and work until told to stop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_run(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result {
    // SAFETY: the rules page.
    unsafe { guard_with(err, || borrow(a)?.arbiter.enter()?.run()) }
}

/// [any] Readable when gw_arbiter_turn has something to do; -1: no arbiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_fd(a: *const gw_arbiter) -> i32 {
    // SAFETY: the rules page.
    quietly(-1, || Ok(unsafe { borrow(a) }?.fd))
}

/// [one] What gw_arbiter_run does, step by step, after gw_arbiter_start; as gw_server_turn.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_turn(a: *mut gw_arbiter, wait_ms: *mut i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (watched, wait_ms) = unsafe { (borrow(a)?, out(wait_ms, "wait_ms")?) };
        let (code, next) = match watched.arbiter.enter()?.turn(0)? {
            Turn::Wait(next) => (GW_OK, next),
            Turn::Stopped => (GW_EOF, -1),
        };
        wait_ms.set(next);
        Ok(code)
    })
}

/// [sig] Begin to stop: `how` is GW_STOP_*, and a later call may only hurry it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_stop(a: *mut gw_arbiter, how: u32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let watched = unsafe { borrow(a) }?;
        watched.handle.stop(match how {
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
/// and workers killed
pub const GW_STOP_KILL: u32 = 2;

/// [any] Wait until it has ended (-1: for ever), and return what gw_arbiter_run returned;
/// GW_ERR_TIMEOUT: it has not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_wait(a: *mut gw_arbiter, timeout_ms: i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let handle = unsafe { borrow(a) }?.handle.clone();
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        handle.wait(timeout).unwrap_or_else(|| Err(Kind::Timeout.into()))
    })
}

/// [one] Kills workers that are left.  Inside one of the arbiter's own callbacks it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_free(a: *mut gw_arbiter) {
    quietly((), || {
        // SAFETY: the rules page.
        drop(unsafe { borrow(a) }?.arbiter.enter()?);
        // SAFETY: the rules page: nobody uses it any more, and no call is in it.
        unsafe { take(a) }.map(drop)
    });
}
