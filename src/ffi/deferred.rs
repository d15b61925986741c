//! Handles to requests that are answered later, from any thread.
//!
//! Behind a gw_deferred is a strong reference to a [`Shared`].  The exchange has another, so that the
//! pointer in an event is good even while another thread gives the handle up.

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::context::Context;
use super::guard::{Growing, buffer, bytes, guard, known, out, quietly, reference};
use super::result::{GW_AGAIN, GW_EOF, GW_OK, gw_result};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{Chunk, OwnedChunk};
use crate::gateway::abi::{Environ, Response};
use crate::gateway::deferred::{Deferred, Events, GivenUp, Shared};
use crate::gateway::exchange::Written;
use crate::gateway::head;

/// the half of a request that any thread may use
#[derive(Debug)]
pub struct gw_deferred {
    _private: [u8; 0],
}

/// Called on the loop's thread, any may be NULL.  `d` is a valid handle until `drop`, which comes
/// last; after gw_deferred_end it only answers GW_ERR_STATE.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_deferred_events {
    pub size: u32,
    /// 0
    pub reserved: u32,
    /// after gw_deferred_read said GW_AGAIN
    pub readable: Option<unsafe extern "C" fn(ctx: *mut c_void, d: *mut gw_deferred)>,
    /// after gw_deferred_write said GW_AGAIN: there is room, or the client is gone
    pub writable: Option<unsafe extern "C" fn(ctx: *mut c_void, d: *mut gw_deferred)>,
    /// The client has left, or will send no more: an answer may not reach it.  Still call
    /// gw_deferred_end.
    pub aborted: Option<unsafe extern "C" fn(ctx: *mut c_void, d: *mut gw_deferred)>,
    /// on any thread
    pub drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    /// of all of them
    pub ctx: *mut c_void,
}

// SAFETY: repr(C), `size` first, numbers, functions that may be missing and a pointer.
unsafe impl Growing for gw_deferred_events {
    const FIRST: usize = 48;
}

/// Events for C.
struct Told {
    events: gw_deferred_events,
    context: Context,
}

// SAFETY: the functions are the host's, who was told in which threads they are called; the context
// is the host's as well, and `Context` goes from thread to thread for the same reason.
unsafe impl Send for Told {}
// SAFETY: as above.
unsafe impl Sync for Told {}

impl Told {
    fn tell(
        &self,
        what: Option<unsafe extern "C" fn(ctx: *mut c_void, d: *mut gw_deferred)>,
        d: &Arc<Shared>,
    ) {
        if let Some(what) = what {
            // SAFETY: the host's function and context; the handle's memory outlives the call.
            unsafe { what(self.context.get(), Arc::as_ptr(d).cast_mut().cast()) };
        }
    }
}

impl Events for Told {
    fn readable(&self, d: &Arc<Shared>) {
        self.tell(self.events.readable, d);
    }

    fn writable(&self, d: &Arc<Shared>) {
        self.tell(self.events.writable, d);
    }

    fn aborted(&self, d: &Arc<Shared>) {
        self.tell(self.events.aborted, d);
    }
}

/// # Safety
/// NULL, or as [`known`].
unsafe fn told(events: *const gw_deferred_events) -> Result<Option<Arc<dyn Events>>> {
    if events.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let (events, newer) = unsafe { known(events, "events") }?;
    let told = Told { events, context: Context::new(events.ctx, events.drop) };
    newer.map_or(Ok(Some(Arc::new(told))), Err)
}

/// A handle for C to keep.
pub(super) fn give(handle: Deferred) -> Option<*mut gw_deferred> {
    handle.into_shared().map(|shared| Arc::into_raw(shared).cast_mut().cast())
}

/// [req] A handle to the request that any thread may use; one for each request.  Return GW_DEFERRED
/// and answer through it; or return GW_OK and a body, and use it only to resume an iterator that
/// said GW_AGAIN.  It must be given up (_end, _reply) in either case, also when the client or the
/// server is gone.  `events` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_defer(
    env: *mut Environ,
    events: *const gw_deferred_events,
    out: *mut *mut gw_deferred,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let events = unsafe { told(events) }?;
        // SAFETY: the rules page.
        let (env, out) = unsafe { (reference(env, "env")?, self::out(out, "out")?) };
        let handle = give(env.defer(events)?);
        out.set(handle.ok_or(Error::from(Kind::State))?);
        Ok(())
    })
}

/// [one] Be told by `events`, for a handle that came from gw_server_take, whose events
/// gw_server_events has until then.  Of what was told before, `aborted` alone is told again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_watch(
    d: *mut gw_deferred,
    events: *const gw_deferred_events,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let events = unsafe { told(events) }?;
        let events = events.ok_or_else(|| Error::new(Kind::Invalid, "events is NULL"))?;
        // SAFETY: the rules page.
        unsafe { borrow(d) }?;
        // SAFETY: it is one; the reference that `give` left in it stays there.
        let shared = ManuallyDrop::new(unsafe { Arc::from_raw(d.cast_const().cast::<Shared>()) });
        shared.watch(events)
    })
}

/// [any] The environ, until the handle is given up.  NULL once the application has returned anything
/// but GW_DEFERRED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_environ(d: *mut gw_deferred) -> *mut Environ {
    let nothing = std::ptr::null_mut();
    // SAFETY: the rules page.
    quietly(nothing, || Ok(unsafe { borrow(d) }?.environ().map_or(nothing, <*const _>::cast_mut)))
}

/// [one] The request's body, never waiting: GW_AGAIN until `readable`.  Otherwise as gw_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_read(
    d: *mut gw_deferred,
    buf: *mut c_void,
    cap: usize,
    n: *mut usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (shared, buf) = unsafe { (borrow(d)?, buffer(buf, cap, "buf")?) };
        // SAFETY: the rules page.
        let n = unsafe { out(n, "n") }?;
        if buf.is_empty() {
            return Err(Error::new(Kind::Invalid, "cap is 0"));
        }
        Ok(match shared.read(buf)? {
            None => GW_AGAIN,
            Some(0) => {
                n.set(0);
                GW_EOF
            }
            Some(got) => {
                n.set(got);
                GW_OK
            }
        })
    })
}

/// [one] start_response.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_start(
    d: *mut gw_deferred,
    head: *const Response<'_>,
) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { borrow(d)?.start(reference(head, "head")?) })
}

/// [one] A piece of the body.  Memory without release is copied; a file range needs a release, which
/// may be called in any thread, also the loop's.  An empty one with GW_CHUNK_FLUSH sends the head
/// alone.  GW_AGAIN: not taken, wait for `writable`.  GW_ERR_CLOSED: the client is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_write(d: *mut gw_deferred, chunk: *const Chunk) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let chunk = unsafe { reference(chunk, "chunk") }?;
        // SAFETY: valid until released; one without release is copied before we return.
        let chunk = unsafe { OwnedChunk::new(*chunk) };
        // SAFETY: the rules page.
        match unsafe { borrow(d) }?.write(chunk)? {
            Written::Taken => Ok(GW_OK),
            Written::Refused(chunk) => {
                let _ = chunk.into_raw();
                Ok(GW_AGAIN)
            }
        }
    })
}

/// [any] Ask the iterator again that said GW_AGAIN.  Too many of these do no harm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_resume(d: *mut gw_deferred) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { borrow(d) }?.resume())
}

/// [any] The same in `ms` milliseconds; of several such wishes the soonest counts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_resume_after(d: *mut gw_deferred, ms: u32) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { borrow(d) }?.resume_after(ms))
}

/// [one] The answer is complete (GW_OK), or has failed: a 500, or a cut when it had begun.  Gives `d`
/// up, whatever it returns, also inside an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_end(d: *mut gw_deferred, outcome: gw_result) -> gw_result {
    // SAFETY: the rules page.
    guard(|| unsafe { give_up(d, |shared| shared.end(outcome)) })
}

/// [one] A whole answer: the head, the chunks, the end.  Gives `d` up and releases the chunks,
/// whatever it returns, also inside an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_reply(
    d: *mut gw_deferred,
    head: *const Response<'_>,
    chunks: *const Chunk,
    count: usize,
) -> gw_result {
    guard(|| {
        let given = if count == 0 || chunks.is_null() || !chunks.is_aligned() {
            &[][..]
        } else {
            // SAFETY: the rules page: `count` chunks, not written during the call.
            unsafe { std::slice::from_raw_parts(chunks, count) }
        };
        // SAFETY: valid until released; those without release are copied before we return.
        let owned = given.iter().map(|chunk| unsafe { OwnedChunk::new(*chunk) }).collect();
        let whole = given.len() == count;
        // SAFETY: the rules page.
        unsafe {
            give_up(d, |shared| match reference(head, "head") {
                Ok(head) if whole => shared.reply(head, owned),
                Ok(_) => shared.refuse(Error::new(Kind::Invalid, "reply: chunks is NULL")),
                Err(error) => shared.refuse(error),
            })
        }
    })
}

/// [one] The same for callers that must not pass structs of pointers (cgo): the header block is
/// "Name: value\r\n" lines; everything is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_deferred_reply_flat(
    d: *mut gw_deferred,
    status: u32,
    headers: *const c_char,
    headers_len: usize,
    body: *const c_void,
    body_len: usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let given = unsafe {
            bytes(headers.cast(), headers_len, "headers")
                .and_then(|headers| Ok((headers, bytes(body, body_len, "body")?)))
        };
        let reply = |shared: &Shared| {
            let fields = given.and_then(|(headers, body)| {
                let status = u16::try_from(status);
                let status = status.map_err(|_| Error::new(Kind::Invalid, "reply: status"))?;
                Ok((status, head::fields_of(headers)?, body))
            });
            match fields {
                Ok((status, fields, body)) => {
                    let head = Response::new(status, &fields);
                    // SAFETY: one without release is copied before we return.
                    let chunk = unsafe { OwnedChunk::new(memory(body)) };
                    shared.reply(&head, vec![chunk])
                }
                Err(error) => shared.refuse(error),
            }
        };
        // SAFETY: the rules page.
        unsafe { give_up(d, reply) }
    })
}

fn memory(octets: &[u8]) -> Chunk {
    Chunk { data: octets.as_ptr().cast(), len: octets.len() as u64, ..Chunk::EMPTY }
}

/// The request behind a handle, for the length of a call.
///
/// # Safety
/// Unless NULL, `d` came from the library and is not given up before the call ends; or the call is
/// inside one of its events.
unsafe fn borrow<'a>(d: *const gw_deferred) -> Result<&'a Shared> {
    let shared = d.cast::<Shared>();
    if shared.is_null() || !shared.is_aligned() {
        return Err(Error::new(Kind::Invalid, "this is not a gw_deferred"));
    }
    // SAFETY: every object of the library begins with a number that tells what it is.
    if unsafe { *shared.cast::<u32>() } != Shared::MAGIC {
        return Err(Error::new(Kind::Invalid, "this is not a gw_deferred"));
    }
    // SAFETY: it is one, says its number, and lives for the call, says the caller.
    Ok(unsafe { &*shared })
}

/// Give the handle up by `how`.
///
/// # Safety
/// As [`borrow`]; afterwards nobody uses the handle but its events.
unsafe fn give_up(d: *mut gw_deferred, how: impl FnOnce(&Shared) -> Result<GivenUp>) -> Result<()> {
    // SAFETY: the caller's promise.
    let GivenUp(result) = how(unsafe { borrow(d) }?)?;
    // SAFETY: `how` says that the handle was not given up before, so that the reference which `give`
    // left in it is still there; from here on it is not.
    drop(unsafe { Arc::from_raw(d.cast_const().cast::<Shared>()) });
    result
}
