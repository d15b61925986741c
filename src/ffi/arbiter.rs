//! The arbiter: supervised workers as a call, or as an object.

use std::ffi::c_char;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::config::gw_config;
use super::guard::{cstr, fill, guard, guard_with, out, quietly};
use super::listener::{self, gw_listener_info};
use super::object::{Exclusive, borrow, give, handle, take};
use super::requests::{Rows, gw_request_info};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_error, gw_result};
use super::stats::{gw_stats, stats_of};
use crate::arbiter::{
    self, Arbiter, Board, Handle as Control, State, StopMode, Turn, Way, WorkerSlot,
};
use crate::base::error::{Error, Kind, Result};
use crate::conf::settings::WorkerModel;
use crate::gateway::config::Config;
use crate::gateway::flight::Which;
use crate::gateway::service::Supervisor;
use crate::serve::{self, Common, Process};
use crate::sys::clock::monotonic_ns;
use crate::sys::proc::Exit;

/// [one] Serve until told to stop; takes cfg.  By default it handles TERM (graceful), INT and QUIT
/// (quick), tells systemd of itself if that has started it, logs errors to standard error, listens on
/// 127.0.0.1:8000 or what systemd has bound, and forks a worker per CPU: the options `signals`,
/// `systemd`, `errorlog`, `bind`, `workers` and `worker_model` say otherwise.
///
/// Forked workers live and end inside: only the caller's process returns, GW_OK after a stop.  With
/// GW_MODEL_EXEC workers are this program, started again: in those this call is the worker, with the
/// options of the arbiter and the callbacks of the program, and returns when the worker has ended.
/// GW_ERR_TIMEOUT: it has stopped, and left threads behind in which an application does not return
/// (GW_MODEL_THREADS).  err->exit_status is what main should return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_serve(cfg: *mut gw_config, err: *mut gw_error) -> gw_result {
    let serve = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        let mut config = config.into_inner();
        serve::heed(&mut config);
        let is_inline = config.settings().worker_model == WorkerModel::Inline;
        if arbiter::is_started() || is_inline || serve::is_one_request() {
            return serve::serve(config);
        }
        config.serve_presets();
        // Also after a panic.
        struct Freed(*mut gw_arbiter);
        impl Drop for Freed {
            fn drop(&mut self) {
                // SAFETY: made below, and nobody else has it any more.
                unsafe { gw_arbiter_free(self.0) };
            }
        }
        let arbiter = Freed(made(config, Process::Server)?);
        // SAFETY: made above, and freed after this.
        unsafe { borrow(arbiter.0) }?.arbiter.enter()?.run()
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, serve) }
}

/// [any] Whether this process is a worker that an arbiter started; one whose threads are workers is
/// not.  With GW_MODEL_EXEC it is from the start of the program.
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
    board: Arc<Board>,
    common: Common,
    since: Instant,
}

/// Its hooks are told of the pointer.
fn made(config: Config, process: Process) -> Result<*mut gw_arbiter> {
    let (arbiter, common) = serve::supervised(config, process)?;
    let token = Arc::clone(&common.token);
    let made: *mut gw_arbiter = give(Prefork {
        control: arbiter.handle(),
        fd: arbiter.fd(),
        board: Arc::clone(arbiter.board()),
        common,
        since: Instant::now(),
        arbiter: Exclusive::new(arbiter),
    });
    token.store(made.expose_provenance(), Ordering::Relaxed);
    Ok(made)
}

/// The arbiter that a hook is told of.
pub(super) fn arbiter_of(supervisor: &Supervisor) -> *mut gw_arbiter {
    std::ptr::with_exposed_provenance_mut(supervisor.token)
}

/// [one] Takes cfg.  Binds its listeners, of which there must be one; starts nothing.  GW_ERR_STATE in
/// a worker of GW_MODEL_EXEC: where gw_is_worker says so, a program calls gw_serve instead.
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
        out.set(made(config.into_inner(), Process::Host)?);
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [one] Start the workers.  With GW_MODEL_FORK GW_ERR_STATE in a process that has threads: a fork
/// would leave them behind with whatever they hold (GW_OPT_FORK_UNSAFE).
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
/// its own, as gw_server_turn.  GW_EOF: it has ended, well or not; gw_arbiter_run then says how, at
/// once, with the exit_status for main.
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

/// [sig] Let gw_arbiter_run end: `how` is GW_STOP_*.  A second GW_STOP_GRACEFUL ends lame_duck, a second
/// GW_STOP_QUICK hurries the first.
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

/// [any] Begin a reload: new workers one after the other, each in the place of an old one as soon as
/// it is ready, with no request lost.  The hook on_reload is told when it begins, reloaded how it
/// ended; when a new worker does not boot the old ones serve on.  One that is asked for during
/// another comes after it; of several that wait, the last.
///
/// Takes cfg: the application, hooks, log and options of the new workers; what it does not listen on
/// any more is closed when the old ones are gone.  worker_model and signals stay.  NULL: the same
/// configuration, in new processes or threads; [sig] then.  With GW_MODEL_EXEC it must be NULL
/// (GW_ERR_UNSUPPORTED): the program is started again as it is by then.  An error: there is something
/// wrong with cfg, and nothing begins.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_reload(a: *mut gw_arbiter, cfg: *mut gw_config) -> gw_result {
    guard(|| {
        let config = if cfg.is_null() {
            None
        } else {
            // SAFETY: the rules page.
            Some(unsafe { take(cfg) }?.0.into_inner())
        };
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        if config.is_some() && arbiter.common.way == Way::Exec {
            return Err(Error::new(
                Kind::Unsupported,
                "worker_model = exec: workers make their configuration in the program; reload \
                 without one",
            ));
        }
        let plan = config.map(|config| serve::plan(config, &arbiter.common)).transpose()?;
        arbiter.control.reload(plan);
        Ok(())
    })
}

/// [sig] From now on there are to be so many workers, 1 to 1024: the oldest go first.  The hook
/// nworkers_changed is told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_scale(a: *mut gw_arbiter, workers: u32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(a) }?.control.scale(workers)
    })
}

/// [any] The same for one pool; gw_arbiter_scale, TTIN and TTOU are about the first: "main", or the first
/// of gw_config_pool.  All pools together have 1024 workers at most, and what is more is not started.
/// GW_ERR_NOT_FOUND: there is no such pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_scale_pool(
    a: *mut gw_arbiter,
    pool: *const c_char,
    workers: u32,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (arbiter, pool) = unsafe { (borrow(a)?, cstr(pool, "pool")?) };
        arbiter.control.scale_pool(pool, workers)
    })
}

/// [sig] What the signal does to an arbiter with the option `signals`: TERM a graceful stop, INT and
/// QUIT a quick one, HUP a reload, TTIN one worker more, TTOU one less, USR1 opens the logs again, here
/// and in the workers, USR2 an upgrade.  WINCH during an upgrade lets the workers go as soon as the other
/// arbiter is ready, until HUP or the other's end; else nothing.  GW_ERR_UNSUPPORTED: any other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_signal(a: *mut gw_arbiter, signo: i32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(a) }?.control.signal(signo)
    })
}

/// [sig] Begin an upgrade: the program is started again, as it was called, and whatever it and the
/// library are by now; its arbiter takes the listeners over, and both serve.  Stop this one to commit;
/// stop the other to go back.  What comes of it is in the log; one that is asked for while another is on
/// its way is ignored.
///
/// The other is in the process that calls gw_serve or gw_arbiter_new first, without forking before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_upgrade(a: *mut gw_arbiter) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(a) }?.control.upgrade();
        Ok(())
    })
}

/// [any] The host has waited for a process of which it does not know whether it was a worker: status is
/// waitpid's.  Without this word the arbiter knows that a worker has ended, and not how.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_reaped(a: *mut gw_arbiter, pid: i32, status: i32) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        // One that was stopped, or goes on, has not ended.
        if let Some(exit) = Exit::from_raw(status) {
            arbiter.control.reaped(pid, exit);
        }
        Ok(())
    })
}

/// [any] The counters of all workers, those that have ended included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_stats(a: *const gw_arbiter, out: *mut gw_stats) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let arbiter = unsafe { borrow(a) }?;
        let workers = arbiter.common.counters.iter().zip(arbiter.board.iter());
        let workers = workers.map(|(counters, slot)| (counters, slot.state() != State::Empty));
        let serves = |slot: &WorkerSlot| slot.state() == State::Ready;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = arbiter.control.tally();
        let stats = gw_stats {
            spawned: of(&tally.spawned),
            exited: of(&tally.exited),
            killed: of(&tally.killed),
            reloads: of(&tally.reloads),
            reloads_failed: of(&tally.reloads_failed),
            failing: of(&tally.failing),
            ready: u64::from(of(&tally.ready) != 0 && arbiter.board.iter().any(serves)),
            ..stats_of(workers, arbiter.since)
        };
        // SAFETY: the rules page.
        unsafe { fill(out, &stats, "out") }
    })
}

/// [any] The requests of all workers, up to `cap`, the oldest of each worker first: those in flight
/// (recorder 0); or also the last 64 of each that have ended (1), also those of a worker that was
/// killed, until its successor has served as many.  out[0].size is the size of each.  GW_AGAIN: there
/// are more.  It asks no worker, and waits for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_requests(
    a: *const gw_arbiter,
    recorder: u32,
    out: *mut gw_request_info,
    cap: usize,
    n: *mut usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (arbiter, n) = unsafe { (borrow(a)?, self::out(n, "n")?) };
        let which = match recorder {
            0 => Which::InFlight,
            1 => Which::Recent,
            _ => return Err(Error::new(Kind::Invalid, "recorder is neither 0 nor 1")),
        };
        // SAFETY: the rules page.
        let mut rows = unsafe { Rows::new(out, cap) }?;
        let now = monotonic_ns();
        for slot in 0..arbiter.board.len() {
            arbiter.common.flights.each(slot, which, now, |info| rows.push(info));
        }
        n.set(rows.count);
        Ok(if rows.is_full { GW_AGAIN } else { GW_OK })
    })
}

/// [any] One of its sockets at a time, as the kernel has it: start with *cursor = 0; GW_EOF at the end.
/// One that is closed is left out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_arbiter_listeners(
    a: *const gw_arbiter,
    cursor: *mut u32,
    out: *mut gw_listener_info,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { listener::next(&borrow(a)?.control.listeners(), cursor, out) })
}

/// [any] Wait up to timeout_ms (-1: for ever) until the arbiter, which another thread runs or turns, has
/// ended.  What gw_arbiter_run returns of that; GW_AGAIN when time is up.
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
        // Its hooks may still use it.
        arbiter.enter()?.shut_down();
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
