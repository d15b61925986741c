//! One worker in the caller's own event loop.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

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
    /// Of a worker.
    lent: Loan,
    remote: Remote,
    since: Instant,
}

/// The turns of a worker, for whoever calls for them while its hook `worker_run` runs.
#[derive(Default)]
struct Loan {
    state: Mutex<Lent>,
    /// A turn has ended.
    ended: Condvar,
}

#[derive(Default)]
enum Lent {
    /// The hook does not run, or a turn has panicked.
    #[default]
    Not,
    /// To the next call.
    Turn(NonNull<Turn<'static>>),
    /// A call is in it.
    Busy,
}

// SAFETY: a turn goes from thread to thread, and is in one place at a time.
unsafe impl Send for Lent {}

impl Loan {
    /// Lets `once` do `turn`, in any thread, while `hook` runs.
    fn during<T>(&self, turn: &mut Turn<'_>, hook: impl FnOnce() -> T) -> T {
        // Its lifetime goes: `Back` takes it back before that ends.
        let turn = NonNull::from(turn);
        // SAFETY: only the lifetime changes.
        let turn =
            unsafe { std::mem::transmute::<NonNull<Turn<'_>>, NonNull<Turn<'static>>>(turn) };
        struct Back<'a>(&'a Loan);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                let mut state = self.0.state.lock();
                // A call that is in it in another thread.
                self.0.ended.wait_while(&mut state, |state| matches!(state, Lent::Busy));
                *state = Lent::Not;
            }
        }
        let _back = Back(self);
        *self.state.lock() = Lent::Turn(turn);
        hook()
    }

    /// A turn; None: there is none to be had, also for a call from inside of one.
    fn once(&self) -> Option<Result<Option<i64>>> {
        struct Given<'a>(&'a Loan, Lent);
        impl Drop for Given<'_> {
            fn drop(&mut self) {
                // Who waits for it may free the loan as soon as it has the lock.
                let mut state = self.0.state.lock();
                *state = std::mem::take(&mut self.1);
                self.0.ended.notify_all();
            }
        }
        let mut turn = {
            let mut state = self.state.lock();
            let Lent::Turn(turn) = *state else { return None };
            *state = Lent::Busy;
            turn
        };
        // After a panic it stays away.
        let mut given = Given(self, Lent::Not);
        // SAFETY: `during` does not end before `given` does; nobody else has it meanwhile.
        let next = unsafe { turn.as_mut() }();
        given.1 = Lent::Turn(turn);
        Some(next)
    }
}

/// Lets gw_server_turn on the server of this worker do `turn` while `hook` runs.
pub(super) fn lend<T>(worker: &Worker, turn: &mut Turn<'_>, hook: impl FnOnce() -> T) -> T {
    // SAFETY: a handle that is freed with `worker`.
    match unsafe { borrow(server_of(worker)) } {
        Ok(server) => server.lent.during(turn, hook),
        Err(_) => hook(),
    }
}

/// The server of a worker, the same one for all of its hooks; freed with `worker`.
pub(super) fn server_of(worker: &Worker) -> *mut gw_server {
    struct Kept(*mut gw_server);
    // SAFETY: a handle goes from thread to thread; this one is only taken back, once.
    unsafe impl Send for Kept {}
    // SAFETY: as above.
    unsafe impl Sync for Kept {}
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
    let made =
        || -> Box<dyn Any + Send + Sync> { Box::new(Kept(give(Server::of(None, remote.clone())))) };
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
        Server { engine, lent: Loan::default(), remote, since: Instant::now() }
    }

    /// What can be done without waiting; None: it has stopped.
    fn turn(&self) -> Result<Option<i64>> {
        match self.lent.once() {
            Some(next) => next,
            None => self.enter()?.turn(0),
        }
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
/// not at all, -1 for ever.  GW_EOF: stopped.  On a worker's server: while its hook worker_run runs.
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

/// [one] What this thread says of requests from now on, by gw_deferred_reply and the like, does not make
/// the fd readable: the next [one] call for this server is gw_server_turn, in the same thread, and sees
/// to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_server_cork(s: *mut gw_server) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        unsafe { borrow(s) }?.remote.control.cork();
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
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;
    use crate::gateway::abi::{Environ, StartResponse};
    use crate::gateway::app::Application;
    use crate::gateway::body::Body;
    use crate::sys::sock;

    #[test]
    fn who_turns_next_need_not_be_woken() {
        let mut config = Config::new();
        config.set("worker_model", "inline").unwrap();
        let server: *mut gw_server = give(Server::new(config).unwrap());
        // SAFETY: made above, and used in one thread.
        let of = |s| unsafe { borrow(s) }.unwrap();
        let is_readable = || sock::wait_readable(of(server).remote.fd, 0).unwrap();
        let turn = || while of(server).turn().unwrap() == Some(0) || is_readable() {};
        let (mut client, theirs) = UnixStream::pair().unwrap();
        of(server).enter().unwrap().adopt(theirs.into_raw_fd()).unwrap();
        let mut answer = [0; 12];
        for corks in [false, true] {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut taken = Vec::new();
            while taken.is_empty() {
                turn();
                of(server).pulled(false).unwrap().take(&mut taken, 1, Some(Duration::ZERO));
            }
            if corks {
                // SAFETY: as above.
                assert_eq!(unsafe { gw_server_cork(server) }, GW_OK);
            }
            let handle = deferred::give(taken.pop().unwrap()).unwrap();
            let nothing = std::ptr::null();
            // SAFETY: a handle of ours, which this gives up; no octets.
            let code = unsafe {
                deferred::gw_deferred_reply_flat(handle, 204, nothing, 0, nothing.cast(), 0)
            };
            assert_eq!((code, is_readable()), (GW_OK, !corks));
            turn();
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 204");
            client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            while client.read(&mut [0; 64]).is_ok() {}
        }
        // SAFETY: as above; nothing uses it any more.
        unsafe { gw_server_free(server) };
    }

    #[test]
    fn a_turn_that_leaves_something_to_the_next_says_so() {
        let mut config = Config::new();
        config.set("worker_model", "inline").unwrap();
        config.set("bind", "127.0.0.1:0").unwrap();
        let server: *mut gw_server = give(Server::new(config).unwrap());
        // SAFETY: made above, and used in one thread.
        let server_of = || unsafe { borrow(server) }.unwrap();
        let address = server_of().enter().unwrap().listeners()[0].local().to_owned();
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
        // Without a look at the descriptor, which a watcher of edges would not hear of again.
        while server_of().turn().unwrap() == Some(0) {}
        let counters = (*server_of().remote.counters).as_ref();
        assert_eq!(counters.accepted.get(), clients.len() as u64);
        // SAFETY: as above; nothing uses it any more.
        unsafe { gw_server_free(server) };
    }

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
