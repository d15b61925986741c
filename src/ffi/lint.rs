//! Lint as the calling convention has it: an application around another, all of whose calls go
//! through here, in both directions.  What is right and what is not is in `apps/lint.rs`.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::result::{GW_ERR_APP, GW_ERR_INVALID, GW_ERR_PANIC, GW_ERR_STATE, GW_OK, gw_result};
use crate::apps::lint::{By, Lint, Rule, Watch};
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_LAST, Chunk, OwnedChunk};
use crate::gateway::abi::{
    AGAIN, AppFrame, BodyFrame, DEFERRED, EOF, Environ, Input, OK, Response, StartResponseFn,
    Writer,
};
use crate::gateway::app::forward;

/// Requests that are over whose memory stays a while, for those who still call us for them.
const KEPT: usize = 64;

/// What was kept of requests that are over; the oldest goes first.
type Over = Mutex<VecDeque<Arc<Call>>>;

/// Lint, and the application in it, which lives longer.
struct Layer {
    lint: Lint,
    inner: *const AppFrame,
    over: Arc<Over>,
}

/// A request on its way through: what the inner application has as `sr`, as its writer's, its
/// input's and its body's context.
struct Call {
    watch: Arc<Watch>,
    start_response: StartResponseFn,
    sr: *mut c_void,
    env: Cell<*mut Environ>,
    input: Input,
    writer: Cell<Writer>,
    /// What the application has returned.
    body: UnsafeCell<BodyFrame>,
    has_body: Cell<bool>,
    is_closed: AtomicBool,
    is_in_next: AtomicBool,
    /// The thread that is in the application; 0: none.
    inside: AtomicUsize,
    is_over: AtomicBool,
    over: Weak<Over>,
}

// SAFETY: cells and pointers are used by the thread that is inside the application, and by the one
// that calls it, which are the same; other threads get as far as the atomics.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

/// Put lint around `inner`: what of `outer` is its.
pub(super) fn around(lint: Lint, inner: *const AppFrame, outer: &mut AppFrame) {
    let layer = Layer { lint, inner, over: Arc::default() };
    outer.ctx = Box::into_raw(Box::new(layer)).cast();
    outer.call = Some(call);
    outer.drop = Some(drop_layer);
}

unsafe extern "C" fn drop_layer(ctx: *mut c_void) {
    // SAFETY: the box made in `around`; an application is dropped once.
    let layer = unsafe { Box::from_raw(ctx.cast::<Layer>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(layer)));
}

/// Code for an error of ours, or a panic.
fn contained(run: impl FnOnce() -> Result<gw_result>) -> gw_result {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => error.kind() as gw_result,
        Err(_) => GW_ERR_PANIC,
    }
}

/// A number for the calling thread, which no other has at the same time.
fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| ptr::from_ref(mark).addr())
}

unsafe extern "C" fn call(
    ctx: *mut c_void,
    env: *mut Environ,
    start_response: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
) -> gw_result {
    // SAFETY: `ctx` is the box made in `around`, alive until `drop_layer`.
    let layer = unsafe { &*ctx.cast_const().cast::<Layer>() };
    // SAFETY: the convention: all of it belongs to a request that runs in this thread.
    contained(|| unsafe { layer.run(env, start_response, sr, body) })
}

/// Under which a request knows of its call.
static KEY: u8 = 0;

impl Layer {
    /// # Safety
    /// The arguments of an application's call.
    unsafe fn run(
        &self,
        env: *mut Environ,
        start_response: StartResponseFn,
        sr: *mut c_void,
        body: *mut BodyFrame,
    ) -> Result<gw_result> {
        // SAFETY: the caller's promise.
        let (request, out) = unsafe { (&*env.cast_const(), &mut *body) };
        let x = request.exchange()?;
        let watch = Arc::new(self.lint.watch(request)?);
        watch_environ(&watch, request);
        if start_response.is_none() {
            watch.breach(Rule::StartResponseNull, "");
        }
        let call = Arc::new(Call {
            watch: Arc::clone(&watch),
            start_response,
            sr,
            env: Cell::new(ptr::null_mut()),
            input: request.input,
            writer: Cell::new(Writer { write: None, ctx: ptr::null_mut() }),
            body: UnsafeCell::new(BodyFrame::EMPTY),
            has_body: Cell::new(false),
            is_closed: AtomicBool::new(false),
            is_in_next: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            over: Arc::downgrade(&self.over),
        });
        let raw = Arc::as_ptr(&call).cast_mut().cast::<c_void>();
        // The request's own reference, until it is over.
        let held = Arc::into_raw(Arc::clone(&call)).cast_mut().cast();
        if let Err(error) = x.put((&raw const KEY).cast(), held, Some(over)) {
            // SAFETY: the reference that was just made, which nobody else has.
            drop(unsafe { Arc::from_raw(held.cast_const().cast::<Call>()) });
            return Err(error);
        }
        x.watch(Arc::clone(&watch) as _);

        // What a middleware has put in the place of the input is read through us.
        let passed = if watch.reads_the_request() {
            env
        } else {
            let derived = request.derive()?;
            derived.input = Input { read: Some(read), ctx: raw };
            ptr::from_mut(derived)
        };
        call.env.set(passed);
        // SAFETY: in the request's memory, and nobody writes to it now.
        let before = unsafe { &*passed.cast_const() }.twin();
        let mut inner = BodyFrame::EMPTY;
        // SAFETY: lives until this application is dropped; the rest is the caller's promise.
        let code = call
            .enter(|| unsafe { forward(&*self.inner, passed, Some(start), raw, &raw mut inner) });
        // SAFETY: as above.
        let after = unsafe { &*passed.cast_const() };
        if !after.is_as(&before) {
            watch.breach(Rule::EnvironChanged, "");
        }
        Ok(call.returned(code, inner, out))
    }
}

/// What a middleware may have done to an environ before it came here.
fn watch_environ(watch: &Watch, env: &Environ) {
    if !env.is_whole() {
        watch.breach(Rule::EnvironCopied, "");
    }
    if env.input.read.is_none() {
        watch.breach(Rule::EnvironInput, "");
    }
    if env.is_the_request_s().is_ok_and(|is_original| !is_original) {
        watch.derived(env);
    }
}

impl Call {
    /// Run something of the application's.
    fn enter<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = self.inside.swap(this_thread(), Ordering::AcqRel);
        let out = run();
        self.inside.store(before, Ordering::Release);
        out
    }

    /// Whether start_response or write() may be called here and now.
    fn is_inside(&self, what: &str) -> bool {
        let rule = match self.inside.load(Ordering::Acquire) {
            thread if thread == this_thread() => return true,
            _ if self.is_over.load(Ordering::Acquire) => Rule::CalledAfterEnd,
            0 => Rule::CalledOutside,
            _ => Rule::WrongThread,
        };
        self.watch.breach(rule, what);
        false
    }

    /// The application has returned: what is passed on for it.
    fn returned(
        self: &Arc<Self>,
        code: gw_result,
        mut body: BodyFrame,
        out: &mut BodyFrame,
    ) -> gw_result {
        let watch = &self.watch;
        if body.size != BodyFrame::EMPTY.size || body.flags != 0 {
            watch.breach(Rule::BodyReserved, "");
            (body.size, body.flags) = (BodyFrame::EMPTY.size, 0);
        }
        if code != OK {
            if code != DEFERRED && Kind::from_code(code).is_none() {
                watch.breach(Rule::ResultUnknown, &code.to_string());
            } else if body.is_open() || body.first.len > 0 {
                watch.breach(Rule::BodyBesideResult, "");
            }
            if code == DEFERRED && !self.has_handle() {
                watch.breach(Rule::DeferredWithoutHandle, "");
            }
            *out = body;
            return code;
        }
        watch.chunk(&body.first, By::First);
        watch.taken(body.first.len);
        if body.next.is_none() || body.first.flags & CHUNK_LAST != 0 && body.first.len > 0 {
            watch.ended();
        }
        if watch.is_broken() {
            self.enter(|| body.finish());
            return GW_ERR_APP;
        }
        if body.next.is_some() || body.close.is_some() {
            self.has_body.set(true);
            out.first = mem::replace(&mut body.first, Chunk::EMPTY);
            out.next = body.next.is_some().then_some(next as _);
            out.close = Some(close);
            out.ctx = Arc::as_ptr(self).cast_mut().cast();
            // SAFETY: nobody looks at it before `out` is used.
            unsafe { *self.body.get() = body };
        } else {
            *out = body;
        }
        GW_OK
    }

    /// Whether the request is answered, or resumed, by a handle.
    fn has_handle(&self) -> bool {
        // SAFETY: in the request's memory, and the request is not over.
        let env = unsafe { &*self.env.get().cast_const() };
        env.exchange().is_ok_and(|x| x.deferred().is_some())
    }

    /// Whether something will wake next().
    fn wakes(&self) -> bool {
        // SAFETY: as in `has_handle`.
        let env = unsafe { &*self.env.get().cast_const() };
        env.exchange().is_ok_and(|x| x.wakes())
    }
}

/// What stands behind a context that we have given away.
///
/// # Safety
/// It is one of ours, of a request that is not over, or one of the last that were.
unsafe fn of<'a>(ctx: *mut c_void) -> &'a Call {
    // SAFETY: the caller's promise.
    unsafe { &*ctx.cast_const().cast::<Call>() }
}

/// start_response of the inner application.
unsafe extern "C" fn start(
    sr: *mut c_void,
    head: *const Response<'_>,
    writer: *mut Writer,
) -> gw_result {
    // SAFETY: what `run` has passed.
    let call = unsafe { of(sr) };
    contained(|| {
        if !call.is_inside("start_response") {
            return Ok(GW_ERR_STATE);
        }
        // SAFETY: the convention: a head, or NULL, that is valid for the call.
        let Some(head) = (unsafe { head.as_ref() }) else {
            call.watch.breach(Rule::StartNull, "");
            return Ok(GW_ERR_INVALID);
        };
        call.watch.head(head);
        let outer = call.start_response.ok_or(Error::from(Kind::Invalid))?;
        let mut raw = Writer { write: None, ctx: ptr::null_mut() };
        let wants = if writer.is_null() { ptr::null_mut() } else { &raw mut raw };
        // SAFETY: function and context came together; the head is the caller's.
        let code = unsafe { outer(call.sr, head, wants) };
        call.watch.head_was(code);
        // SAFETY: NULL, or the caller's to be filled.
        if let (OK, Some(writer)) = (code, unsafe { writer.as_mut() }) {
            if raw.write.is_none() && !(100..200).contains(&head.status) {
                call.watch.breach(Rule::WriterMissing, "");
            } else {
                call.writer.set(raw);
                *writer = Writer { write: Some(write), ctx: sr };
            }
        }
        Ok(code)
    })
}

unsafe extern "C" fn write(ctx: *mut c_void, chunk: *const Chunk) -> gw_result {
    // SAFETY: what `start` has passed.
    let call = unsafe { of(ctx) };
    contained(|| {
        // SAFETY: the convention: a chunk, or NULL, that is valid for the call.
        let Some(chunk) = (unsafe { chunk.as_ref() }) else {
            call.watch.breach(Rule::WriteNull, "");
            return Ok(GW_ERR_INVALID);
        };
        let refuse = |code| {
            // SAFETY: it was given to us, whatever comes of it.
            drop(unsafe { OwnedChunk::new(*chunk) });
            Ok(code)
        };
        if !call.is_inside("write()") {
            return refuse(GW_ERR_STATE);
        }
        if call.is_in_next.load(Ordering::Relaxed) {
            call.watch.breach(Rule::WriteInNext, "");
        }
        call.watch.chunk(chunk, By::Write);
        let Writer { write: Some(outer), ctx } = call.writer.get() else {
            return refuse(GW_ERR_STATE);
        };
        if call.watch.is_broken() {
            return refuse(GW_ERR_APP);
        }
        let len = chunk.len;
        // SAFETY: function and context came together; the chunk is the caller's.
        let code = unsafe { outer(ctx, chunk) };
        if code == OK {
            call.watch.taken(len);
        }
        Ok(code)
    })
}

unsafe extern "C" fn read(
    ctx: *mut c_void,
    buf: *mut c_void,
    cap: usize,
    flags: u32,
    n: *mut usize,
) -> gw_result {
    // SAFETY: what `run` has put into the environ.
    let call = unsafe { of(ctx) };
    contained(|| {
        if call.is_over.load(Ordering::Acquire) {
            call.watch.breach(Rule::CalledAfterEnd, "gw_read");
            return Ok(GW_ERR_STATE);
        }
        if buf.is_null() || n.is_null() || cap == 0 {
            call.watch.breach(Rule::ReadArguments, "");
            return Ok(GW_ERR_INVALID);
        }
        let Some(outer) = call.input.read else { return Ok(EOF) };
        // SAFETY: function and context came together; the rest is the caller's.
        let code = unsafe { outer(call.input.ctx, buf, cap, flags, n) };
        call.watch.was_read(code);
        Ok(code)
    })
}

unsafe extern "C" fn next(ctx: *mut c_void, out: *mut Chunk) -> gw_result {
    // SAFETY: what `returned` has put into the body.
    let call = unsafe { of(ctx) };
    contained(|| {
        if call.is_closed.load(Ordering::Acquire) {
            call.watch.breach(Rule::NextAfterClose, "");
            return Ok(GW_ERR_STATE);
        }
        if call.watch.has_ended() {
            call.watch.breach(Rule::NextAfterEnd, "");
        }
        // SAFETY: the application's, until close().
        let (inner, ctx) = unsafe { ((*call.body.get()).next, (*call.body.get()).ctx) };
        let inner = inner.ok_or(Error::from(Kind::State))?;
        call.is_in_next.store(true, Ordering::Relaxed);
        // SAFETY: function and context came together; `out` is zeroed, and to be filled.
        let code = call.enter(|| unsafe { inner(ctx, out) });
        call.is_in_next.store(false, Ordering::Relaxed);
        match code {
            OK => {
                // SAFETY: as above.
                let chunk = unsafe { *out };
                call.watch.chunk(&chunk, By::Next);
                call.watch.taken(chunk.len);
                if chunk.flags & CHUNK_LAST != 0 {
                    call.watch.ended();
                }
            }
            EOF => call.watch.ended(),
            AGAIN if !call.wakes() => call.watch.breach(Rule::NextWaitsForNothing, ""),
            AGAIN => {}
            code => {
                call.watch.failed();
                if Kind::from_code(code).is_none() {
                    call.watch.breach(Rule::NextResult, &code.to_string());
                }
            }
        }
        if code >= 0 && call.watch.is_broken() {
            if code == OK {
                // SAFETY: what was given is ours, and goes nowhere.
                drop(unsafe { OwnedChunk::new(mem::replace(&mut *out, Chunk::EMPTY)) });
            }
            return Ok(GW_ERR_APP);
        }
        Ok(code)
    })
}

unsafe extern "C" fn close(ctx: *mut c_void) {
    // SAFETY: what `returned` has put into the body.
    let call = unsafe { of(ctx) };
    contained(|| {
        if call.is_closed.swap(true, Ordering::AcqRel) {
            call.watch.breach(Rule::BodyClosedTwice, "");
            return Ok(GW_ERR_STATE);
        }
        // SAFETY: nobody else has it: this comes once.
        let mut body = unsafe { mem::replace(&mut *call.body.get(), BodyFrame::EMPTY) };
        call.enter(|| body.finish());
        Ok(GW_OK)
    });
}

/// The request is over.
unsafe extern "C" fn over(held: *mut c_void) {
    // SAFETY: the reference that `run` has made; this comes once.
    let call = unsafe { Arc::from_raw(held.cast_const().cast::<Call>()) };
    contained(|| {
        if call.has_body.get() && !call.is_closed.load(Ordering::Acquire) {
            call.watch.breach(Rule::BodyNotClosed, "");
        }
        call.is_over.store(true, Ordering::Release);
        let gone = call.over.upgrade().and_then(|over| {
            let mut over = over.lock();
            over.push_back(Arc::clone(&call));
            if over.len() > KEPT { over.pop_front() } else { None }
        });
        drop(gone);
        Ok(GW_OK)
    });
}
