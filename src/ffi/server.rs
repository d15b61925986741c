//! One worker in the caller's own event loop.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::arbiter::{GW_STOP_GRACEFUL, GW_STOP_KILL, GW_STOP_QUICK};
use super::config::gw_config;
use super::deferred::{self, gw_deferred};
use super::guard::{fill, guard, guard_with, out, quietly};
use super::listener::{self, gw_listener_info};
use super::object::{Entered, Exclusive, borrow, give, handle, take};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_error, gw_result};
use super::stats::{gw_stats, stats_of};
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::Protocol;
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::gateway::service::{Turn, Worker};
use crate::run::pull::Taken;
use crate::server::engine::{Engine, Remote, Stop};
use crate::server::pulled::{Event, Pulled, What};
use crate::server::setup::Setup;

/// one worker's loop
#[derive(Debug)]
pub struct gw_server {
    _private: [u8; 0],
}

handle!(gw_server: Server, b"serv");

/// An engine, and what may be used while a call is in it.
pub(super) struct Server {
    /// None: an arbiter's worker has it.
    engine: Option<Exclusive<Engine>>,
    /// Of a worker, while its hook `worker_run` runs.
    lent: Mutex<Option<Lent>>,
    remote: Remote,
    since: Instant,
}

/// The turns of a worker, for the hook that calls for them.
struct Lent {
    turn: NonNull<Turn<'static>>,
    to: ThreadId,
}

// SAFETY: only the thread that it is lent to looks into it.
unsafe impl Send for Lent {}

/// Lets gw_server_turn on the server of this worker do `turn` while `hook` runs, in its thread.
pub(super) fn lend<T>(worker: &Worker, turn: &mut Turn<'_>, hook: impl FnOnce() -> T) -> T {
    // SAFETY: a handle that is freed with `worker`.
    let Ok(server) = (unsafe { borrow(server_of(worker)) }) else { return hook() };
    // Its lifetime goes: `Back` takes it back before that ends.
    let turn = NonNull::from(turn);
    // SAFETY: only the lifetime changes.
    let turn = unsafe { std::mem::transmute::<NonNull<Turn<'_>>, NonNull<Turn<'static>>>(turn) };
    struct Back<'a>(&'a Server);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            *self.0.lent.lock() = None;
        }
    }
    let _back = Back(server);
    *server.lent.lock() = Some(Lent { turn, to: std::thread::current().id() });
    hook()
}

/// The server of a worker, the same one for all of its hooks; freed with `worker`.
pub(super) fn server_of(worker: &Worker) -> *mut gw_server {
    struct Kept(*mut gw_server);
    // SAFETY: a handle goes from thread to thread; this one is only taken back, once.
    unsafe impl Send for Kept {}
    impl Drop for Kept {
        fn drop(&mut self) {
            // SAFETY: made below; the header says until when it may be used.
            let _ = unsafe { take(self.0) };
        }
    }
    let Some(remote) = worker.server.as_ref().and_then(|server| server.downcast_ref::<Remote>())
    else {
        return std::ptr::null_mut();
    };
    let made = || -> Box<dyn Any + Send> { Box::new(Kept(give(Server::of(None, remote.clone())))) };
    let kept = worker.kept.get_or_init(made);
    kept.downcast_ref::<Kept>().map_or(std::ptr::null_mut(), |kept| kept.0)
}

impl Server {
    fn new(config: Config) -> Result<Self> {
        if let Some(name) = config.settings().of_a_process() {
            let text = format!("{name}: a server in a foreign loop leaves its process to the host");
            return Err(Error::new(Kind::Unsupported, text));
        }
        let setup = Arc::new(Setup::new(config)?);
        let listeners = setup.bind()?;
        let engine = Engine::new(setup, listeners, Arc::new(Counters::default()))?;
        let remote = engine.remote();
        Ok(Server::of(Some(Exclusive::new(engine)), remote))
    }

    fn of(engine: Option<Exclusive<Engine>>, remote: Remote) -> Self {
        Server { engine, lent: Mutex::new(None), remote, since: Instant::now() }
    }

    /// What can be done without waiting; None: it has stopped.
    fn turn(&self) -> Result<Option<i64>> {
        if self.engine.is_some() {
            return self.enter()?.turn(0);
        }
        // What is taken is not there for a call inside; nor, after a panic, for another.
        let here = std::thread::current().id();
        let lent = self.lent.lock().take_if(|lent| lent.to == here);
        let Some(mut lent) = lent else { return self.enter()?.turn(0) };
        // SAFETY: `lend` has not returned, since that happens in this thread; nobody else has it.
        let next = unsafe { lent.turn.as_mut() }();
        *self.lent.lock() = Some(lent);
        next
    }

    /// The engine, for one call at a time.
    fn enter(&self) -> Result<Entered<'_, Engine>> {
        match &self.engine {
            Some(engine) => engine.enter(),
            None => {
                let text = "the loop of this server is its worker's, but in worker_run";
                Err(Error::new(Kind::State, text))
            }
        }
    }

    /// What is there for those who ask.  `waits`: they would wait for it.
    fn pulled(&self, waits: bool) -> Result<&Pulled> {
        let Some(pulled) = &self.remote.pulled else {
            return Err(Error::new(Kind::State, "this server has an application to call"));
        };
        if waits && self.remote.control.is_inside() {
            let text = "the thread that turns the server must not wait for its requests";
            return Err(Error::new(Kind::Busy, text));
        }
        Ok(pulled)
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
    quietly(-1, || Ok(unsafe { borrow(s) }?.remote.fd))
}

/// [one] Do what can be done without blocking; *wait_ms is how long the host may sleep on the fd: 0
/// not at all, -1 for ever.  GW_EOF: stopped.  On a worker's server: in the hook worker_run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_turn(s: *mut gw_server, wait_ms: *mut i64) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (server, wait_ms) = unsafe { (borrow(s)?, out(wait_ms, "wait_ms")?) };
        let next = server.turn()?;
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
        let protocol = Protocol::from_code(protocol)?;
        if fd < 0 {
            return Err(Error::new(Kind::Invalid, "fd is negative"));
        }
        server.enter()?.adopt_as(fd, protocol)
    })
}

/// [sig] Makes the fd readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_wake(s: *mut gw_server) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(s) }?.remote.control.wake();
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
        server.remote.control.stop(match how {
            GW_STOP_GRACEFUL => Stop::Graceful,
            GW_STOP_QUICK | GW_STOP_KILL => Stop::Quick,
            _ => return Err(Error::new(Kind::Invalid, "how is none of GW_STOP_*")),
        });
        Ok(())
    })
}

/// [one] Closes what is still open; handles to requests stay good.  Inside one of the server's own
/// callbacks it does nothing.  After GW_ERR_PANIC it closes sockets, and leaves the memory to the
/// process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_free(s: *mut gw_server) {
    quietly((), || {
        // SAFETY: the rules page.
        if let Some(engine) = &unsafe { borrow(s) }?.engine {
            engine.salvage(Engine::wreck);
        }
        // SAFETY: the rules page.
        if unsafe { borrow(s) }?.enter()?.is_inside() {
            return Err(Error::new(Kind::State, "gw_server_free: called by its own application"));
        }
        // SAFETY: the rules page: nobody uses it any more, and no call is in it.
        unsafe { take(s) }.map(drop)
    });
}

/// [any] Requests for whoever asks instead of a callback: up to `cap`, the oldest first.  Waits
/// `timeout_ms` for one, -1 for ever: GW_AGAIN when there was none.  GW_ERR_BUSY: it would wait
/// inside gw_server_turn.  GW_EOF: the server has stopped; gw_server_free comes after all of these
/// calls.  For a configuration without an application.  Each handle is to be answered, in any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_take(
    s: *mut gw_server,
    out: *mut *mut gw_deferred,
    cap: usize,
    timeout_ms: i64,
    n: *mut usize,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { fetch(s, out, cap, timeout_ms, n, Pulled::take, deferred::give) })
}

/// what happened to a request that was taken (frozen)
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_event {
    /// Not given up when this was fetched; perhaps since, by another thread.
    pub d: *mut gw_deferred,
    /// GW_EVENT_*
    pub what: u32,
    /// 0
    pub reserved: u32,
}

/// after gw_deferred_read said GW_AGAIN
pub const GW_EVENT_READABLE: u32 = 1;
/// after gw_deferred_write said GW_AGAIN
pub const GW_EVENT_WRITABLE: u32 = 2;
/// the client has left, or will send no more
pub const GW_EVENT_ABORTED: u32 = 3;

const _: () = assert!(
    GW_EVENT_READABLE == What::Readable as u32
        && GW_EVENT_WRITABLE == What::Writable as u32
        && GW_EVENT_ABORTED == What::Aborted as u32
);

/// [any] Events of taken requests for whoever asks instead of a callback (gw_deferred_watch): up to
/// `cap`.  Waits, and ends, as gw_server_take.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_events(
    s: *mut gw_server,
    out: *mut gw_event,
    cap: usize,
    timeout_ms: i64,
    n: *mut usize,
) -> gw_result {
    let in_c = |event: Event| {
        let d = Arc::as_ptr(&event.request).cast_mut().cast();
        Some(gw_event { d, what: event.what as u32, reserved: 0 })
    };
    // SAFETY: the rules page.
    guard(|| unsafe { fetch(s, out, cap, timeout_ms, n, Pulled::events, in_c) })
}

/// Waits for up to `cap` things that `take` gives, and writes them down as `in_c` has them.
///
/// # Safety
/// The header's rules page, for all of them; `out` has room for `cap`.
unsafe fn fetch<T, C>(
    s: *mut gw_server,
    out: *mut C,
    cap: usize,
    timeout_ms: i64,
    n: *mut usize,
    take: impl FnOnce(&Pulled, &mut Vec<T>, usize, Option<Duration>) -> Taken,
    in_c: impl Fn(T) -> Option<C>,
) -> Result<gw_result> {
    // SAFETY: the caller's promise.
    let (server, n) = unsafe { (borrow(s)?, self::out(n, "n")?) };
    // SAFETY: the caller's promise.
    unsafe { self::out(out, "out") }?;
    let timeout = match (cap, timeout_ms, u64::try_from(timeout_ms)) {
        (0, ..) => return Err(Error::new(Kind::Invalid, "cap is 0")),
        (_, -1, _) => None,
        (_, _, Ok(ms)) => Some(Duration::from_millis(ms)),
        _ => {
            let text = "timeout_ms is negative: only -1 is for ever";
            return Err(Error::new(Kind::Invalid, text));
        }
    };
    let mut taken = Vec::new();
    let outcome = take(server.pulled(timeout != Some(Duration::ZERO))?, &mut taken, cap, timeout);
    let mut count = 0;
    for one in taken.into_iter().filter_map(in_c) {
        // SAFETY: the caller has room for `cap`, and no more were taken.
        unsafe { out.add(count).write(one) };
        count += 1;
    }
    n.set(count);
    Ok(match outcome {
        Taken::Some => GW_OK,
        Taken::TimedOut => GW_AGAIN,
        Taken::Closed => GW_EOF,
    })
}

/// [any] The counters of this server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_stats(s: *const gw_server, out: *mut gw_stats) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let server = unsafe { borrow(s) }?;
        let stats = gw_stats {
            ready: server.remote.control.is_ready().into(),
            ..stats_of([((*server.remote.counters).as_ref(), true)], server.since)
        };
        // SAFETY: the rules page.
        unsafe { fill(out, &stats, "out") }
    })
}

/// [any] One of its sockets at a time, as gw_arbiter_listeners; what an arbiter's worker accepts from,
/// too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_listeners(
    s: *const gw_server,
    cursor: *mut u32,
    out: *mut gw_listener_info,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { listener::next(&borrow(s)?.remote.listeners, cursor, out) })
}

/// A server goes from thread to thread: calls into it come from any, one at a time.
const _: () = {
    const fn sendable<T: Send>() {}
    sendable::<Engine>();
};

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;
    use crate::gateway::abi::{Environ, StartResponse};
    use crate::gateway::app::Application;
    use crate::gateway::body::Body;

    #[test]
    fn a_server_that_a_panic_has_broken_still_closes_its_sockets() {
        let mut config = Config::new();
        config.set("worker_model", "inline").unwrap();
        config.set("bind", "127.0.0.1:0").unwrap();
        let app = |_: &Environ, _: &StartResponse<'_>| Ok(Body::empty());
        config.application(Application::new(app).nonblocking());
        let made = Server::new(config).unwrap();
        let (mut client, theirs) = UnixStream::pair().unwrap();
        let address = {
            let mut engine = made.enter().unwrap();
            engine.adopt(theirs.into_raw_fd()).unwrap();
            engine.listeners()[0].local().to_owned()
        };
        drop(TcpStream::connect(&address).unwrap());

        let server: *mut gw_server = give(made);
        // SAFETY: made above; freeing leaves a dead one where it is.
        let panicked = catch_unwind(AssertUnwindSafe(|| unsafe {
            let _inside = borrow(server).unwrap().enter().unwrap();
            resume_unwind(Box::new("a bug"));
        }));
        assert!(panicked.is_err());
        let mut wait_ms = 0;
        // SAFETY: as above.
        unsafe {
            assert_eq!(gw_server_turn(server, &raw mut wait_ms), Kind::Panic as gw_result);
            gw_server_free(server);
            gw_server_free(server);
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection has ended");
        // A child that another test starts has a copy until its exec.
        let refused = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            TcpStream::connect(&address).is_err()
        });
        assert!(refused, "nobody listens");
    }
}
