//! Hosted: the front is somebody else's.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Instant;

use super::config::gw_config;
use super::guard::{fill, guard, guard_with, out, quietly, reference};
use super::object::{Exclusive, borrow, discard, give, handle, retire, revive, take};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_error, gw_result};
use super::stats::{gw_stats, stats_of};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{Chunk, Octets, OwnedChunk, Pair};
use crate::gateway::abi::{Environ, RESPONSE_EXCUSE, Response};
use crate::gateway::counters::Counters;
use crate::host::{self, Headed, Host, Pull};
use crate::wire::http1::reason_phrase;

/// requests of a foreign server in this process
#[derive(Debug)]
pub struct gw_host {
    _private: [u8; 0],
}

/// one of them
#[derive(Debug)]
pub struct gw_exchange {
    _private: [u8; 0],
}

handle!(gw_host: Arc<Shared>, b"host");
handle!(gw_exchange: Hosted, b"exch");

/// A host, and what may be asked while a call is in it.
pub(super) struct Shared {
    inside: Exclusive<Inside>,
    counters: Arc<Counters>,
    since: Instant,
    fd: i32,
}

struct Inside {
    /// None once it was freed.
    host: Option<Host<Tag>>,
    /// Handles that were freed, for the next exchanges.
    spare: Vec<Tag>,
}

/// Handles that are kept.
const SPARE_MAX: usize = 256;

/// What is behind an exchange's handle.
pub(super) struct Hosted {
    shared: Arc<Shared>,
    key: AtomicU64,
    user: AtomicPtr<c_void>,
}

/// What a host keeps with a request.
struct Tag {
    handle: *mut gw_exchange,
    /// The header fields of the head that was given last, and its number.
    pairs: Vec<Pair<'static>>,
    version: u64,
}

// SAFETY: a handle goes from thread to thread; the pairs are views of the head beside them.
unsafe impl Send for Tag {}

impl Inside {
    fn host(&mut self) -> Result<&mut Host<Tag>> {
        self.host.as_mut().ok_or_else(|| Error::new(Kind::State, "the gw_host was freed"))
    }
}

/// [one] Takes cfg.  One host for a process and its loop, made after the last fork; threads are started
/// when the first request needs one.  An application that blocks, also a GW_APP_SERIAL one, runs on
/// threads.  Listeners, and options that are about a process, are GW_ERR_UNSUPPORTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_new(
    cfg: *mut gw_config,
    out: *mut *mut gw_host,
    err: *mut gw_error,
) -> gw_result {
    let make = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        // SAFETY: the rules page.
        let out = unsafe { self::out(out, "out") }?;
        let counters = Arc::new(Counters::default());
        let host = Host::new(config.into_inner(), Arc::clone(&counters))?;
        let fd = host.fd();
        let inside = Exclusive::new(Inside { host: Some(host), spare: Vec::new() });
        out.set(give(Arc::new(Shared { inside, counters, since: Instant::now(), fd })));
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [one] Takes cfg.  Whether gw_host_new could make a host of it: that is tried in a process of its own,
/// unless this one has threads, and nothing of it stays.  For servers that check their configuration
/// before they fork.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_check(cfg: *mut gw_config, err: *mut gw_error) -> gw_result {
    let check = || {
        // SAFETY: the rules page.
        let (config, _) = unsafe { take(cfg) }?;
        host::check(config.into_inner())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, check) }
}

/// [any] Readable when gw_host_next has something; -1: no host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_fd(h: *const gw_host) -> i32 {
    // SAFETY: the rules page.
    quietly(-1, || Ok(unsafe { borrow(h) }?.fd))
}

/// there is room for the body again, after gw_exchange_feed said GW_AGAIN
pub const GW_HOST_FEED: u32 = 1;
/// there is something to pull, after GW_AGAIN, or the time for it is over
pub const GW_HOST_PULL: u32 = 2;

const _: () = assert!(GW_HOST_FEED == host::FEED && GW_HOST_PULL == host::PULL);

/// [one] What is ready, one exchange at a time; call it until GW_AGAIN, which says that there is none.
/// *what: GW_HOST_FEED, GW_HOST_PULL, or both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_next(
    h: *mut gw_host,
    ready: *mut *mut gw_exchange,
    what: *mut u32,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (shared, ready, what) =
            unsafe { (borrow(h)?, out(ready, "ready")?, out(what, "what")?) };
        let mut inside = shared.inside.enter()?;
        let host = inside.host()?;
        let Some((key, is)) = host.next_ready() else { return Ok(GW_AGAIN) };
        let Some(tag) = host.tag(key) else { return Ok(GW_AGAIN) };
        ready.set(tag.handle);
        what.set(is);
        Ok(GW_OK)
    })
}

/// [any] The counters of this host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_stats(h: *const gw_host, out: *mut gw_stats) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let shared = unsafe { borrow(h) }?;
        let stats = gw_stats { ready: 1, ..stats_of([(&*shared.counters, true)], shared.since) };
        // SAFETY: the rules page.
        unsafe { fill(out, &stats, "out") }
    })
}

/// [one] Frees what exchanges do, which are still to be freed.  Waits graceful_timeout for applications
/// that run on threads, then leaves them to those.  Handles to requests, and chunks that were pulled,
/// stay good.  Inside one of its own callbacks it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_host_free(h: *mut gw_host) {
    quietly((), || {
        // SAFETY: the rules page.
        let mut inside = unsafe { borrow(h) }?.inside.enter()?;
        let host = inside.host.take();
        let spare = std::mem::take(&mut inside.spare);
        drop(inside);
        // SAFETY: the rules page: nobody uses it any more.
        let _shared = unsafe { take(h) }?;
        drop(host);
        for tag in spare {
            // SAFETY: retired, and known to nobody else.
            unsafe { discard(tag.handle) };
        }
        Ok(())
    });
}

/// [one] A request that `env` describes: all of it is copied, `input` and `impl` are ignored.
/// `request_method` must be a token; what else is missing is made up or empty.  PATH_INFO is what
/// mounts look at; SCRIPT_NAME stands before theirs.  A body is announced by `content_length`, or by
/// GW_ENV_HAS_BODY where its length is not known (-1).  Then gw_exchange_feed, gw_exchange_run,
/// gw_exchange_head, gw_exchange_pull; at any moment gw_exchange_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_new(
    h: *mut gw_host,
    env: *const Environ,
    user: *mut c_void,
    out: *mut *mut gw_exchange,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (shared, env, out) =
            unsafe { (borrow(h)?, reference(env, "env")?, self::out(out, "out")?) };
        if (env.size as usize) < size_of::<Environ>() {
            let text = format!("env->size is {}: set it with GW_INIT", env.size);
            return Err(Error::new(Kind::Invalid, text));
        }
        let mut inside = shared.inside.enter()?;
        let tag = match inside.spare.pop() {
            Some(tag) => tag,
            None => {
                let (key, user) = (AtomicU64::new(0), AtomicPtr::new(std::ptr::null_mut()));
                let handle = give(Hosted { shared: Arc::clone(shared), key, user });
                // SAFETY: made here, and known to nobody else.
                unsafe { retire(handle) };
                Tag { handle, pairs: Vec::new(), version: 0 }
            }
        };
        let handle = tag.handle;
        let key = match inside.host().and_then(|host| host.begin(env, tag)) {
            Ok(key) => key,
            Err(error) => {
                // SAFETY: as above: the tag that had it is gone.
                unsafe { discard(handle) };
                return Err(error);
            }
        };
        // SAFETY: a handle that is kept, of this very type.
        let hosted = unsafe { revive(handle) };
        hosted.key.store(key, Ordering::Relaxed);
        hosted.user.store(user, Ordering::Relaxed);
        out.set(handle);
        Ok(())
    })
}

/// [any] What gw_exchange_new was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_user(x: *const gw_exchange) -> *mut c_void {
    // SAFETY: the rules page.
    quietly(std::ptr::null_mut(), || Ok(unsafe { borrow(x) }?.user.load(Ordering::Relaxed)))
}

/// [one] More of the request's body, GW_CHUNK_LAST with the end of it (not needed where content_length
/// says it).  Copied before it returns; of a file range the descriptor is duplicated.  Before the
/// application is called it is kept in memory, and past body_buffer in a file.  One chunk that is the
/// whole body stays what it is: in memory, or read from the file that it is in.  Where the body is
/// streamed (request_buffering=0) GW_AGAIN says that it is full and nothing was taken: wait for
/// GW_HOST_FEED.  GW_ERR_LIMIT: more than max_body; the answer is a 413.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_feed(x: *mut gw_exchange, chunk: *const Chunk) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let chunk = unsafe { reference(chunk, "chunk") }?;
        // SAFETY: valid until released, or, without that, until we return.
        let chunk = unsafe { OwnedChunk::new(*chunk) };
        // SAFETY: the rules page.
        let fed = unsafe { enter(x, |host, key| host.feed(key, chunk)) }?;
        Ok(match fed {
            None => GW_OK,
            Some(chunk) => {
                let _ = chunk.into_raw();
                GW_AGAIN
            }
        })
    })
}

/// [one] Calls the application, or lets a thread do that, when the body is complete, or at once where it
/// is streamed.  GW_OK: there is something to pull; GW_AGAIN: gw_host_next will say when.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_run(x: *mut gw_exchange) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let is_ready = unsafe { enter(x, Host::run) }?;
        Ok(if is_ready { GW_OK } else { GW_AGAIN })
    })
}

/// [one] How long it has waited for a thread, in nanoseconds; 0 where it did not, or does still.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_queued(x: *const gw_exchange) -> u64 {
    // SAFETY: the rules page.
    quietly(0, || unsafe { enter(x.cast_mut(), |host, key| Ok(host.queued(key))) })
}

/// [one] The head of the answer, with a Content-Length and a reason where there is one; it is valid until
/// the next call, and gw_exchange_free.  A status of 1xx is an early hint: call again.  With GW_RESPONSE_EXCUSE
/// it begins a page of the library's about an error (a 500, 503, 504 ...).  GW_AGAIN: wait for
/// GW_HOST_PULL.  GW_EOF: it was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_head(
    x: *mut gw_exchange,
    out: *mut Response<'static>,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let out = unsafe { self::out(out, "out") }?;
        let taken = |host: &mut Host<Tag>, key| {
            match host.head(key)? {
                Headed::Taken => {}
                Headed::Awaited => return Ok(GW_AGAIN),
                Headed::Over => return Ok(GW_EOF),
                Headed::Failed(why) => return Err(Error::from(why)),
            }
            let Some((record, version, excuses, tag)) = host.taken(key) else {
                return Ok(GW_AGAIN);
            };
            // SAFETY: the record stays as it is until the next one is taken, or the exchange freed: the
            // caller was told.
            let keep = |text| unsafe { Octets::new(text).erase() };
            if tag.version != version {
                tag.version = version;
                tag.pairs.clear();
                tag.pairs.extend(
                    record
                        .fields()
                        .map(|(name, value)| Pair { name: keep(name), value: keep(value) }),
                );
            }
            let fields: *const [Pair<'static>] = tag.pairs.as_slice();
            // SAFETY: as above.
            let mut head = Response::new(record.status, unsafe { &*fields });
            head.reason = match record.reason {
                b"" => Octets::new(reason_phrase(record.status).as_bytes()),
                reason => keep(reason),
            };
            head.flags = if excuses && !record.is_interim { RESPONSE_EXCUSE } else { 0 };
            out.set(head);
            Ok(GW_OK)
        };
        // SAFETY: the rules page.
        unsafe { enter(x, taken) }
    })
}

/// [one] The next piece of the answer's body: memory, or with GW_CHUNK_FILE a range of a file, valid until
/// its `release` is called, which the host owes it, in any order, from any thread and also after
/// gw_exchange_free.  GW_CHUNK_LAST: it is the last.  GW_EOF: there is no more.  GW_AGAIN: wait for
/// GW_HOST_PULL; the application is not asked for more than output_buffer ahead of what was released.
/// An error: the answer is not whole, and the client must see that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_pull(x: *mut gw_exchange, out: *mut Chunk) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let out = unsafe { self::out(out, "out") }?;
        // SAFETY: the rules page.
        Ok(match unsafe { enter(x, Host::pull) }? {
            Pull::Awaited => GW_AGAIN,
            Pull::End => GW_EOF,
            Pull::Piece(chunk) => {
                out.set(chunk.into_raw());
                GW_OK
            }
        })
    })
}

/// [one] The exchange is over for the host: at any moment, also while the application runs on a thread
/// or somebody has a handle to the request: they hear that the client is gone, and what they answer is
/// thrown away.  Not inside one of the host's own callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_exchange_free(x: *mut gw_exchange) {
    quietly((), || {
        // SAFETY: the rules page.
        let hosted = unsafe { borrow(x) }?;
        let mut inside = hosted.shared.inside.enter()?;
        let key = hosted.key.load(Ordering::Relaxed);
        let tag = inside.host.as_mut().and_then(|host| host.free(key));
        // SAFETY: the rules page: nobody uses it any more.
        unsafe { retire(x) };
        match tag {
            Some(tag) if inside.spare.len() < SPARE_MAX => inside.spare.push(tag),
            _ => {
                drop(inside);
                // SAFETY: retired, and nobody else knows it.
                unsafe { discard(x) };
            }
        }
        Ok(())
    });
}

/// One call on an exchange.
///
/// # Safety
/// The header's rules page.
unsafe fn enter<R>(
    x: *mut gw_exchange,
    call: impl FnOnce(&mut Host<Tag>, u64) -> Result<R>,
) -> Result<R> {
    // SAFETY: the caller's promise.
    let hosted = unsafe { borrow(x) }?;
    let mut inside = hosted.shared.inside.enter()?;
    call(inside.host()?, hosted.key.load(Ordering::Relaxed))
}
