//! Applications: how one is called, how one in Rust looks to one in C, how they are stacked.
//!
//! Everything that crosses between Rust and the application goes through a C function pointer and
//! its context, in both directions, so that a middleware in either language can stand in between.

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{CHUNK_FILE, Chunk, OwnedChunk};

use super::abi::{
    AGAIN, APP_NONBLOCKING, APP_SERIAL, APP_THREADSAFE, AppFrame, BodyFrame, DEFERRED, EOF,
    Environ, Input, OK, Response, StartResponse, StartResponseFn, Writer,
};
use super::body::{Body, Piece};
use super::exchange::{Exchange, Link, Written};

/// An application: `call(environ, start_response)` returns the body.
///
/// A closure with this signature is one.
pub trait App: Send + Sync {
    /// Answers one request.  An error before the head is sent becomes a 500, one after it cuts the
    /// response.
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body>;
}

impl<F> App for F
where
    F: Fn(&Environ, &StartResponse<'_>) -> Result<Body> + Send + Sync,
{
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        self(env, start_response)
    }
}

/// An application as the library holds it: any [`App`], or a function of a C program, with what it
/// may be asked to do.
pub struct Application {
    frame: AppFrame,
    name: String,
    /// What `frame.name` points to: the caller's need not outlive the call.
    _c_name: Option<CString>,
    /// What a middleware wraps; outlives the frame's `drop`.
    inner: Option<Arc<Application>>,
    /// What else it needs; outlives the frame's `drop`, too.
    kept: Option<Kept>,
}

/// Something that an application needs as long as it lives.
pub type Kept = Arc<dyn Any + Send + Sync>;

// SAFETY: `ctx` belongs to an `App`, which is Send and Sync, or to a C program, which was told that
// the application is called in whichever thread serves (many at once only with APP_THREADSAFE) and
// dropped in any.
unsafe impl Send for Application {}
// SAFETY: as above.
unsafe impl Sync for Application {}

impl Application {
    /// An application in Rust.  It may block until it is said to be [`Self::nonblocking`].
    pub fn new(app: impl App + 'static) -> Self {
        let ctx: Box<Box<dyn App>> = Box::new(Box::new(app));
        let frame = AppFrame {
            flags: APP_THREADSAFE,
            call: Some(call_rust),
            ctx: Box::into_raw(ctx).cast(),
            drop: Some(drop_rust),
            ..AppFrame::EMPTY
        };
        Application { frame, name: String::from("app"), _c_name: None, inner: None, kept: None }
    }

    /// What stands for the application where whoever asks takes the requests.
    pub(super) fn taken() -> Self {
        let app = |env: &Environ, _: &StartResponse<'_>| {
            let request = env.defer(None)?;
            env.exchange()?.offer(request)?;
            Ok(Body::later())
        };
        Application::new(app).nonblocking().named("(taken)")
    }

    /// An application in C; it is dropped also when this fails.
    ///
    /// # Safety
    /// The functions must take `ctx`, and `name` be NULL or a C string.
    pub unsafe fn from_frame(mut frame: AppFrame) -> Result<Self> {
        // SAFETY: the caller's promise.
        let c_name =
            (!frame.name.is_null()).then(|| unsafe { CStr::from_ptr(frame.name) }.to_owned());
        let (pointer, name) = match &c_name {
            Some(name) => (name.as_ptr(), name.to_string_lossy().into_owned()),
            None => (std::ptr::null(), String::from("app")),
        };
        frame.name = pointer;
        let app = Application { frame, name, _c_name: c_name, inner: None, kept: None };
        if app.frame.call.is_none() {
            return Err(Error::new(Kind::Invalid, "application: call is NULL"));
        }
        if app.frame.flags & !(APP_THREADSAFE | APP_NONBLOCKING | APP_SERIAL) != 0 {
            return Err(Error::new(Kind::Invalid, "application: unknown flags"));
        }
        if app.frame.flags & APP_NONBLOCKING != 0 && app.frame.flags & APP_SERIAL != 0 {
            return Err(Error::new(
                Kind::Invalid,
                "application: GW_APP_NONBLOCKING never blocks, GW_APP_SERIAL may: choose one",
            ));
        }
        Ok(app)
    }

    /// Put `wrap` around `inner`: it fills the outer frame, which arrives with the inner's flags
    /// and name.
    pub fn wrapped(
        inner: Arc<Application>,
        wrap: impl FnOnce(&AppFrame, &mut AppFrame) -> Result<()>,
    ) -> Result<Self> {
        let mut frame = AppFrame { flags: inner.frame.flags, ..AppFrame::EMPTY };
        frame.name = inner.frame.name;
        wrap(&inner.frame, &mut frame)?;
        // SAFETY: the middleware filled the frame under the convention's rules; the name is the
        // inner application's, or the middleware's own.
        let mut outer = unsafe { Application::from_frame(frame) }?;
        outer.inner = Some(inner);
        Ok(outer)
    }

    /// Never blocks: may run on the event loop.
    pub fn nonblocking(mut self) -> Self {
        self.frame.flags = self.frame.flags & !APP_SERIAL | APP_NONBLOCKING;
        self
    }

    /// `kept` goes when it has gone.
    pub(super) fn keeping(mut self, kept: Option<Kept>) -> Self {
        self.kept = kept;
        self
    }

    /// A name for log lines.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// `APP_*`.
    pub fn flags(&self) -> u32 {
        self.frame.flags
    }

    /// For log lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For a program in C, which calls `drop` once; one that nothing is wrapped in.
    pub fn into_frame(mut self, name: &'static CStr) -> AppFrame {
        AppFrame { drop: self.frame.drop.take(), name: name.as_ptr(), ..self.frame }
    }

    /// As a middleware or a mount in C sees it.
    pub fn frame(&self) -> &AppFrame {
        &self.frame
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(drop) = self.frame.drop.take() {
            // SAFETY: the application's own function and context, once.
            unsafe { drop(self.frame.ctx) };
        }
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("name", &self.name)
            .field("flags", &self.frame.flags)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Call an application the way a middleware does.
///
/// # Safety
/// `frame` must be an application of this convention, `sr` go with `start_response`, and both, like
/// `env`, belong to a request that runs in this thread.
pub unsafe fn forward(
    frame: &AppFrame,
    env: *mut Environ,
    start_response: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
) -> i32 {
    match frame.call {
        // SAFETY: the caller's promise.
        Some(call) => unsafe { call(frame.ctx, env, start_response, sr, body) },
        None => Kind::Invalid as i32,
    }
}

/// What an application returned.
#[derive(Debug)]
pub(super) enum Called {
    /// GW_OK, and a body.
    Body,
    /// GW_DEFERRED.
    Later,
    /// An error.
    Refused(i32),
}

// SAFETY: an exchange is not shared, only moved with its connection, and then nothing of it is in
// use: `link` is set within `enter` only, `handle` leads back into the exchange, and the contexts
// beside the functions of an application and a middleware go to whichever thread serves, as they
// were told.
unsafe impl Send for Exchange {}

impl Exchange {
    /// Call the application for this request; the empty `body` is what it returns.
    #[inline]
    pub(super) fn call_app(
        &self,
        app: &Application,
        link: &dyn Link,
        body: &mut BodyFrame,
    ) -> Called {
        let env = self.environ().as_ptr();
        let sr = std::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the frame is an application's, `sr` is what `start_response` below expects, and
        // both live as long as the request.
        let rc = self
            .enter(link, || unsafe { forward(&app.frame, env, Some(start_response), sr, body) });
        if rc == OK {
            return Called::Body;
        }
        // A body beside anything else was not returned, but octets that a call of ours took over
        // are given back.
        drop(body.take_first());
        if rc == DEFERRED { Called::Later } else { Called::Refused(rc) }
    }

    /// Run `callback`, which may call back into the exchange; `link` is where it finds its way out.
    pub(super) fn enter<R>(&self, link: &dyn Link, callback: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a Exchange, Option<*const (dyn Link + 'static)>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.link.set(self.1);
            }
        }
        // SAFETY: only the lifetime changes; `Leave` takes the pointer away before `link` ends.
        let erased: *const (dyn Link + 'static) =
            unsafe { std::mem::transmute(std::ptr::from_ref(link)) };
        let _leave = Leave(self, self.link.replace(Some(erased)));
        callback()
    }

    /// The way out, for what is called by the application.
    pub(super) fn link(&self) -> Result<&dyn Link> {
        match self.link.get() {
            // SAFETY: set means inside `enter`, whose borrow of the link is still running below us
            // on this thread's stack.
            Some(link) => Ok(unsafe { &*link }),
            None => Err(Error::new(
                Kind::State,
                "only inside the application call, next() and close() of this request",
            )),
        }
    }
}

/// Code for a panic or an error of ours, which is logged in full.
#[inline(always)]
fn contained(x: &Exchange, outcome: std::thread::Result<Result<i32>>) -> i32 {
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => told(x, &error),
        Err(_) => told(x, &Error::from(Kind::Panic)),
    }
}

#[cold]
fn told(x: &Exchange, error: &Error) -> i32 {
    x.complain(error);
    error.kind() as i32
}

unsafe extern "C" fn start_response(
    sr: *mut c_void,
    head: *const Response<'_>,
    writer: *mut Writer,
) -> i32 {
    // SAFETY: `sr` is the exchange that `call_app` passed; it lives until close() returned.
    let x = unsafe { &*sr.cast_const().cast::<Exchange>() };
    // SAFETY: the convention: a head, or NULL, that is valid for the call.
    let Some(head) = (unsafe { head.as_ref() }) else {
        return Kind::Invalid as i32;
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| x.start_response(head).map(|()| OK)));
    let code = contained(x, outcome);
    // SAFETY: NULL, or ours to fill.
    if let (OK, Some(out)) = (code, unsafe { writer.as_mut() }) {
        *out = Writer { write: Some(write), ctx: sr };
    }
    code
}

unsafe extern "C" fn write(ctx: *mut c_void, chunk: *const Chunk) -> i32 {
    // SAFETY: `ctx` is the exchange that start_response put into the writer.
    let x = unsafe { &*ctx.cast_const().cast::<Exchange>() };
    // SAFETY: the convention: a chunk, or NULL, that is valid for the call.
    let Some(chunk) = (unsafe { chunk.as_ref() }) else {
        return Kind::Invalid as i32;
    };
    // SAFETY: the convention: valid until released; one without release is copied before we return.
    let chunk = unsafe { OwnedChunk::new(*chunk) };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Ok(match x.write(chunk)? {
            Written::Taken => OK,
            Written::Refused(chunk) => {
                let _ = chunk.into_raw();
                AGAIN
            }
        })
    }));
    contained(x, outcome)
}

unsafe extern "C" fn read(
    ctx: *mut c_void,
    buf: *mut c_void,
    cap: usize,
    flags: u32,
    n: *mut usize,
) -> i32 {
    // SAFETY: `ctx` is the exchange that `input_of` put into the environ.
    let x = unsafe { &*ctx.cast_const().cast::<Exchange>() };
    if buf.is_null() || n.is_null() || cap == 0 {
        return Kind::Invalid as i32;
    }
    // SAFETY: the convention: `cap` octets to write to.  They may be uninitialised in C's eyes;
    // they are only ever written.
    let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), cap) };
    let outcome = catch_unwind(AssertUnwindSafe(|| x.read(buf, flags)));
    let (code, got) = match outcome {
        Ok(Ok(None)) => return AGAIN,
        Ok(Ok(Some(0))) => (EOF, 0),
        Ok(Ok(Some(got))) => (OK, got),
        Ok(Err(error)) => return error.kind() as i32,
        Err(_) => return Kind::Panic as i32,
    };
    // SAFETY: not NULL, and the convention: ours to write.
    unsafe { *n = got };
    code
}

/// The body of a request as `wsgi.input`.
pub(super) fn input_of(x: &Exchange) -> Input {
    Input { read: Some(read), ctx: std::ptr::from_ref(x).cast_mut().cast() }
}

/// Whether an input reads from its exchange directly, so that lines need no octet-wise reading.
pub(super) fn is_own(input: &Input, x: &Exchange) -> bool {
    let own = input_of(x);
    let same = matches!((input.read, own.read), (Some(a), Some(b)) if std::ptr::fn_addr_eq(a, b));
    same && input.ctx == own.ctx
}

unsafe extern "C" fn call_rust(
    ctx: *mut c_void,
    env: *mut Environ,
    call: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
) -> i32 {
    // SAFETY: `ctx` is the box made in `Application::new`, alive until `drop_rust`.
    let app = unsafe { &*ctx.cast_const().cast::<Box<dyn App>>() };
    // SAFETY: the convention: an environ and a zeroed body, both for the time of the call.
    let (env, body) = unsafe { (&*env.cast_const(), &mut *body) };
    let start = StartResponse { call, sr, life: PhantomData };
    match catch_unwind(AssertUnwindSafe(|| app.call(env, &start))) {
        Ok(Ok(answer)) => match answer.into_frame(env.exchange().ok()) {
            Some(frame) => {
                *body = frame;
                OK
            }
            None => DEFERRED,
        },
        Ok(Err(error)) => {
            if let Ok(x) = env.exchange() {
                x.complain(&error);
            }
            error.kind() as i32
        }
        Err(panic) => {
            if let Ok(x) = env.exchange() {
                x.complain(&panicked(panic.as_ref()));
            }
            Kind::App as i32
        }
    }
}

/// What the application's panic was about.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    Error::new(Kind::App, format!("the application panicked: {text}"))
}

unsafe extern "C" fn drop_rust(ctx: *mut c_void) {
    // SAFETY: the box made in `Application::new`; `Application::drop` calls this once.
    drop(unsafe { Box::from_raw(ctx.cast::<Box<dyn App>>()) });
}

/// The iterator of a body in Rust.
pub(super) type Chunks = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// What a frame of a body in Rust points to.
struct Iteration {
    chunks: Chunks,
    /// Whose log takes what goes wrong.
    exchange: *const Exchange,
}

/// The frame of a body in Rust whose chunks come from an iterator; what goes wrong there is told
/// to the log of `x`, the request's exchange.
pub(super) fn frame_of(chunks: Chunks, x: Option<&Exchange>) -> BodyFrame {
    unsafe extern "C" fn next(ctx: *mut c_void, out: *mut Chunk) -> i32 {
        // SAFETY: `ctx` is the box made below, alive until `close`; `out` is the library's.
        let (body, out) = unsafe { (&mut *ctx.cast::<Iteration>(), &mut *out) };
        let error = match catch_unwind(AssertUnwindSafe(|| body.chunks.next())) {
            Ok(Some(Ok(chunk))) => {
                *out = chunk.0.into_raw();
                return OK;
            }
            Ok(None) => return EOF,
            Ok(Some(Err(error))) => error,
            Err(panic) => panicked(panic.as_ref()),
        };
        // SAFETY: NULL, or the exchange that this body was returned to, which closes it before the
        // request ends.
        if let Some(x) = unsafe { body.exchange.as_ref() } {
            x.complain(&error);
        }
        error.kind() as i32
    }
    unsafe extern "C" fn close(ctx: *mut c_void) {
        // SAFETY: the box made below; the library closes a body once.
        let body = unsafe { Box::from_raw(ctx.cast::<Iteration>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
    }
    let exchange = x.map_or(std::ptr::null(), std::ptr::from_ref);
    let ctx = Box::into_raw(Box::new(Iteration { chunks, exchange })).cast();
    BodyFrame { next: Some(next), close: Some(close), ctx, ..BodyFrame::EMPTY }
}

/// Let go of a value that hung on a request.
pub(super) fn call_drop(drop: unsafe extern "C" fn(value: *mut c_void), value: *mut c_void) {
    // SAFETY: function and value came together from `gw_environ_put`, whose caller promised that
    // they fit; the exchange calls this once.
    unsafe { drop(value) };
}

/// A range of a file that is closed with the chunk.
pub(crate) fn file_chunk(fd: OwnedFd, offset: u64, len: u64) -> OwnedChunk {
    unsafe extern "C" fn close(arg: *mut c_void) {
        // SAFETY: the descriptor that was given up below; a chunk is released once.
        drop(unsafe { OwnedFd::from_raw_fd(arg as isize as RawFd) });
    }
    let fd = fd.into_raw_fd();
    // SAFETY: the descriptor stays open until `close`.
    unsafe {
        OwnedChunk::new(Chunk {
            len,
            offset: offset as i64,
            fd,
            flags: CHUNK_FILE,
            release: Some(close),
            arg: fd as isize as *mut c_void,
            ..Chunk::EMPTY
        })
    }
}
