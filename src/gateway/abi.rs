//! The C shapes of the calling convention, and the only functions that read their raw pointers.
//!
//! An application in C and one in Rust get the same objects: what C sees as `gw_environ` is what
//! Rust code reads through the methods of [`Environ`].  Nothing is translated in between.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;

use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::{Chunk, Octets, OwnedChunk, Pair};

use super::deferred::Deferred;
use super::exchange::Exchange;

/// 0 done, > 0 a normal outcome, < 0 an error
pub type Code = i32;

/// done
pub const OK: Code = 0;
/// not now; you will be told when
pub const AGAIN: Code = 1;
/// there is no more
pub const EOF: Code = 2;
/// an application will answer later
pub const DEFERRED: Code = 3;

/// wsgi.input (frozen)
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// see gw_read
    pub read: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            buf: *mut c_void,
            cap: usize,
            flags: u32,
            n: *mut usize,
        ) -> Code,
    >,
    /// of `read`
    pub ctx: *mut c_void,
}

/// GW_AGAIN instead of blocking
pub const NOWAIT: u32 = 1 << 0;

impl Input {
    pub(crate) const NONE: Input = Input { read: None, ctx: std::ptr::null_mut() };

    /// What `read` says: `Ok(None)` is AGAIN, `Ok(Some(0))` the end.
    pub(crate) fn call(&self, buf: &mut [u8], flags: u32) -> Result<Option<usize>> {
        let Some(read) = self.read else {
            return Ok(Some(0));
        };
        let mut n = 0;
        // SAFETY: who replaced the input promised a function that takes its own context; `buf` is
        // writable for its length, and `n` is ours.
        let rc = unsafe { read(self.ctx, buf.as_mut_ptr().cast(), buf.len(), flags, &mut n) };
        match rc {
            OK => Ok(Some(n.min(buf.len()))),
            AGAIN => Ok(None),
            EOF => Ok(Some(0)),
            code => Err(Error::from(Kind::from_code(code).unwrap_or(Kind::App))),
        }
    }
}

/// A request.  All of it lives as long as the request does; `size` and `impl` are the library's.
#[repr(C)]
#[derive(Debug)]
pub struct Environ {
    /// of this struct
    pub(crate) size: u32,
    /// GW_ENV_*
    pub(crate) flags: u32,
    /// a token, as the client spells it
    pub(crate) request_method: Octets<'static>,
    /// the part of the path that led here; never "/"
    pub(crate) script_name: Octets<'static>,
    /// percent-decoded octets
    pub(crate) path_info: Octets<'static>,
    /// as it came, without "?"
    pub(crate) query_string: Octets<'static>,
    /// as it came
    pub(crate) request_uri: Octets<'static>,
    /// missing when there is none
    pub(crate) content_type: Octets<'static>,
    /// never empty
    pub(crate) server_name: Octets<'static>,
    /// never empty
    pub(crate) server_port: Octets<'static>,
    /// "HTTP/1.1"
    pub(crate) server_protocol: Octets<'static>,
    /// "unix:" for a peer on a unix socket
    pub(crate) remote_addr: Octets<'static>,
    /// empty for a peer on a unix socket
    pub(crate) remote_port: Octets<'static>,
    /// "http", "https"
    pub(crate) url_scheme: Octets<'static>,
    /// -1: absent, or a chunked body
    pub(crate) content_length: i64,
    /// as received, in order
    headers: *const Pair<'static>,
    header_count: usize,
    /// further variables: uwsgi_param, SSL_*
    vars: *const Pair<'static>,
    var_count: usize,
    /// replaced by a middleware that changes the body, in an environ it derived
    pub(crate) input: Input,
    /// the library's; do not touch
    r#impl: *mut c_void,
}

/// wsgi.multithread
pub const ENV_MULTITHREAD: u32 = 1 << 0;
/// wsgi.multiprocess
pub const ENV_MULTIPROCESS: u32 = 1 << 1;
/// wsgi.run_once
pub const ENV_RUN_ONCE: u32 = 1 << 2;
/// this thread is yours to block
pub const ENV_MAY_BLOCK: u32 = 1 << 3;
/// gw_defer() will work
pub const ENV_MAY_DEFER: u32 = 1 << 4;
/// a foreign server is in front (gw_host)
pub const ENV_HOSTED: u32 = 1 << 5;
/// also when content_length is -1
pub const ENV_HAS_BODY: u32 = 1 << 6;

/// What `impl` points to.  Its first members tell another copy of the library that the request is
/// not its own.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Handle {
    magic: u32,
    abi: u32,
    exchange: std::cell::Cell<*const Exchange>,
}

const MAGIC: u32 = 0x6777_6531;

impl Handle {
    pub(crate) fn new() -> Self {
        Handle { magic: MAGIC, abi: 0, exchange: std::cell::Cell::new(std::ptr::null()) }
    }
}

/// An environ whose request lasts as long as the handle that has this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnvironPtr(*const Environ);

// SAFETY: an environ is numbers and pointers into the memory of its request, which is used by one
// thread at a time: by the application's until it returns, then by whoever has the handle.
unsafe impl Send for EnvironPtr {}
// SAFETY: as above; it only gives the pointer away.
unsafe impl Sync for EnvironPtr {}

impl EnvironPtr {
    pub(crate) fn new(env: *const Environ) -> Self {
        EnvironPtr(env)
    }

    pub(crate) fn get(self) -> *const Environ {
        self.0
    }

    /// The environ, while its handle is there, and is what the answer comes through.
    pub(super) fn of(self, _handle: &Deferred) -> &Environ {
        // SAFETY: the request's memory stays until the handle is given up, for which it must not be
        // borrowed; only one thread has the handle.
        unsafe { &*self.0 }
    }
}

/// `members! { name }`: a member as Rust code reads it, for as long as it holds the environ.
macro_rules! members {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        impl Environ {
            $($(#[$doc])*
            pub fn $name(&self) -> &[u8] {
                self.$name.as_slice()
            })*
        }
    };
}

members! {
    /// REQUEST_METHOD: a token, in the client's spelling.
    request_method,
    /// SCRIPT_NAME: the part of the path that led to this application; may be empty.
    script_name,
    /// PATH_INFO: the rest of the path, percent-decoded octets.
    path_info,
    /// QUERY_STRING: behind the question mark, as it came; may be empty.
    query_string,
    /// REQUEST_URI: the request target as it came.
    request_uri,
    /// CONTENT_TYPE; empty when the request has none.
    content_type,
    /// SERVER_NAME; never empty.
    server_name,
    /// SERVER_PORT; never empty.
    server_port,
    /// SERVER_PROTOCOL: "HTTP/1.1".
    server_protocol,
    /// REMOTE_ADDR; "unix:" for a peer on a unix socket.
    remote_addr,
    /// REMOTE_PORT; empty for a peer on a unix socket.
    remote_port,
    /// wsgi.url_scheme: "http" or "https".
    url_scheme,
}

impl Environ {
    pub(crate) const EMPTY: Environ = Environ {
        size: size_of::<Environ>() as u32,
        flags: 0,
        request_method: Octets::MISSING,
        script_name: Octets::MISSING,
        path_info: Octets::MISSING,
        query_string: Octets::MISSING,
        request_uri: Octets::MISSING,
        content_type: Octets::MISSING,
        server_name: Octets::MISSING,
        server_port: Octets::MISSING,
        server_protocol: Octets::MISSING,
        remote_addr: Octets::MISSING,
        remote_port: Octets::MISSING,
        url_scheme: Octets::MISSING,
        content_length: -1,
        headers: std::ptr::null(),
        header_count: 0,
        vars: std::ptr::null(),
        var_count: 0,
        input: Input::NONE,
        r#impl: std::ptr::null_mut(),
    };

    /// The header fields as received, in order.
    pub fn headers(&self) -> &[Pair<'_>] {
        // SAFETY: set by `set_headers` from a slice that lives as long as the request.
        unsafe { slice(self.headers, self.header_count) }
    }

    /// Further variables; they win over the headers.
    pub fn vars(&self) -> &[Pair<'_>] {
        // SAFETY: set by `set_vars` from a slice that lives as long as the request.
        unsafe { slice(self.vars, self.var_count) }
    }

    /// `ENV_*`.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Let the body be read from somewhere else: a middleware's way to change it, in an environ
    /// that it derived.
    ///
    /// # Safety
    /// `read` must take `ctx`, and keep the rules of `gw_read`, until the request is over.
    pub unsafe fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    /// CONTENT_LENGTH; -1: absent, or a chunked body.
    pub fn content_length(&self) -> i64 {
        self.content_length
    }

    /// The same environ once more, for a copy in the request's memory.
    pub(crate) fn twin(&self) -> Environ {
        // SAFETY: an environ owns nothing: it is numbers and pointers into the request's memory,
        // in which the twin is put.
        unsafe { std::ptr::read(self) }
    }

    /// Whether the members are those of `other`: the same texts at the same places.
    pub(crate) fn is_as(&self, other: &Environ) -> bool {
        let texts = |env: &Environ| {
            [
                env.request_method,
                env.script_name,
                env.path_info,
                env.query_string,
                env.request_uri,
                env.content_type,
                env.server_name,
                env.server_port,
                env.server_protocol,
                env.remote_addr,
                env.remote_port,
                env.url_scheme,
            ]
            .map(|text| text.as_slice().as_ptr_range())
        };
        let numbers = |env: &Environ| {
            let counts = (env.header_count, env.var_count);
            (env.size, env.flags, env.content_length, env.headers, env.vars, counts, env.r#impl)
        };
        let input = |env: &Environ| (env.input.read.map(|it| it as usize), env.input.ctx);
        texts(self) == texts(other)
            && numbers(self) == numbers(other)
            && input(self) == input(other)
    }

    /// Whether it says to be as large as this library's are.
    pub(crate) fn is_whole(&self) -> bool {
        self.size == Environ::EMPTY.size
    }

    /// A line in the error log about this request (wsgi.errors).
    pub fn log(&self, level: Level, text: &[u8]) {
        if let Ok(x) = self.exchange() {
            x.log(level, text);
        }
    }

    /// The header fields, for what is kept in the request's memory.
    pub(crate) fn all_headers(&self) -> &[Pair<'static>] {
        // SAFETY: as in `headers`.
        unsafe { slice(self.headers, self.header_count) }
    }

    /// As `all_headers`.
    pub(crate) fn all_own_vars(&self) -> &[Pair<'static>] {
        // SAFETY: as in `vars`.
        unsafe { slice(self.vars, self.var_count) }
    }

    /// The slice must stay where it is until the request is over: it is in the arena, or in a
    /// vector of the exchange that is not touched meanwhile.
    pub(crate) fn set_headers(&mut self, headers: *const [Pair<'static>]) {
        (self.headers, self.header_count) = (headers.cast(), headers.len());
    }

    /// As `set_headers`.
    pub(crate) fn set_vars(&mut self, vars: *const [Pair<'static>]) {
        (self.vars, self.var_count) = (vars.cast(), vars.len());
    }

    /// Bind to the exchange that it belongs to, which stays where it is as long as the request.
    pub(crate) fn bind(&mut self, handle: &Handle, exchange: &Exchange) {
        handle.exchange.set(exchange);
        self.size = Environ::EMPTY.size;
        self.r#impl = std::ptr::from_ref(handle).cast_mut().cast();
        self.input = super::app::input_of(exchange);
    }

    /// The request is over: its memory is used again, and whoever still looks is told so.
    pub(crate) fn unbind(&mut self) {
        self.r#impl = std::ptr::null_mut();
        self.set_headers([].as_slice());
        self.set_vars([].as_slice());
    }

    /// Whether it is the environ of the request, and not one that a middleware derived.
    pub(crate) fn is_the_request_s(&self) -> Result<bool> {
        Ok(std::ptr::eq(self.exchange()?.environ().as_ptr(), self))
    }

    /// The exchange it belongs to; an error for an environ that was not made by this library.
    pub(crate) fn exchange(&self) -> Result<&Exchange> {
        if self.r#impl.is_null() {
            return Err(Error::new(Kind::State, "this environ is not of a running request"));
        }
        // SAFETY: `impl` is private and only set by `bind` (C programs are told not to touch it),
        // so it points to the handle of an exchange, which outlives the request.
        let handle = unsafe { &*self.r#impl.cast_const().cast::<Handle>() };
        if handle.magic != MAGIC {
            return Err(Error::new(Kind::Abi, "this environ belongs to another library"));
        }
        let exchange = handle.exchange.get();
        // SAFETY: `bind` stored the address of the exchange that owns the handle; an exchange does
        // not move while a request runs.
        Ok(unsafe { &*exchange })
    }
}

/// # Safety
/// `data` must be NULL, or point to `len` values that live and stay unwritten for 'a.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// frozen: middleware copies it
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// 1xx: sent at once, not the head
    pub status: u16,
    /// GW_RESPONSE_*
    pub flags: u16,
    /// 0
    pub reserved: u32,
    /// empty: the standard phrase
    pub reason: Octets<'a>,
    /// copied before start_response returns
    headers: *const Pair<'a>,
    header_count: usize,
    /// NULL
    more: *const c_void,
}

/// WSGI's exc_info: a second head, allowed until the first is sent
pub const RESPONSE_REPLACE: u16 = 1 << 0;
/// from gw_exchange_head: the library's own page about an error, for which the host may send another
pub const RESPONSE_EXCUSE: u16 = 1 << 1;
/// the connection is closed behind the answer, and a client of HTTP/1.1 is told so
pub const RESPONSE_CLOSE: u16 = 1 << 2;

impl<'a> Response<'a> {
    /// A head with the standard phrase.
    pub fn new(status: u16, headers: &'a [Pair<'a>]) -> Self {
        Response {
            status,
            flags: 0,
            reserved: 0,
            reason: Octets::MISSING,
            headers: headers.as_ptr(),
            header_count: headers.len(),
            more: std::ptr::null(),
        }
    }

    /// The same, replacing a head that was not sent yet.
    pub fn replacing(mut self) -> Self {
        self.flags |= RESPONSE_REPLACE;
        self
    }

    /// The same, and the connection is closed behind the answer.
    pub fn closing(mut self) -> Self {
        self.flags |= RESPONSE_CLOSE;
        self
    }

    /// The same with other fields.
    pub(crate) fn with_headers<'b>(&self, headers: &'b [Pair<'b>]) -> Response<'b>
    where
        'a: 'b,
    {
        Response { headers: headers.as_ptr(), header_count: headers.len(), ..*self }
    }

    /// Whether it may replace a head that was not sent yet.
    pub(crate) fn replaces(&self) -> bool {
        self.flags & RESPONSE_REPLACE != 0
    }

    /// The same with a phrase of its own; empty: the standard one.
    pub fn with_reason(mut self, reason: &'a [u8]) -> Self {
        if !reason.is_empty() {
            self.reason = Octets::new(reason);
        }
        self
    }

    /// Whether there is something in the reserved pointer.
    pub(crate) fn has_more(&self) -> bool {
        !self.more.is_null()
    }

    /// Whether it says that there are fields, and not where.
    pub(crate) fn lacks_headers(&self) -> bool {
        self.headers.is_null() && self.header_count > 0
    }

    /// The header fields.
    pub fn headers(&self) -> &'a [Pair<'a>] {
        // SAFETY: `new` took them from a slice that lives for 'a; a caller from C promises the
        // same for the time of the call.
        unsafe { slice(self.headers, self.header_count) }
    }
}

/// what WSGI's write() is (frozen)
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// Blocks while the client is slow where GW_ENV_MAY_BLOCK, else takes all or nothing
    /// (GW_AGAIN).
    pub write: Option<unsafe extern "C" fn(ctx: *mut c_void, chunk: *const Chunk) -> Code>,
    /// of `write`
    pub ctx: *mut c_void,
}

/// `writer` may be NULL.  What is written leaves before the body's chunks.  [req]: in the application
/// call and in next(); `sr` lives until close() is called.  Everything in `head` is copied.
/// A refused call changes nothing.  The head is committed when a non-empty chunk is accepted.
#[allow(rustdoc::broken_intra_doc_links, reason = "the header's tags look like links")]
pub type StartResponseFn = Option<
    unsafe extern "C" fn(sr: *mut c_void, head: *const Response<'_>, writer: *mut Writer) -> Code,
>;

/// start_response, with what it was given to go with it.
#[derive(Clone, Copy, Debug)]
pub struct StartResponse<'a> {
    pub(crate) call: StartResponseFn,
    pub(crate) sr: *mut c_void,
    pub(crate) life: PhantomData<&'a ()>,
}

/// What a Rust application writes through; see [`StartResponse::respond`].
#[derive(Clone, Copy, Debug)]
pub struct BodyWriter<'a> {
    pub(crate) raw: Writer,
    life: PhantomData<&'a ()>,
}

impl<'a> StartResponse<'a> {
    /// Says what the head of the response is.  A second call needs [`Response::replacing`] and an
    /// unsent head.  A status of 1xx is sent at once and is not the head.
    pub fn respond(&self, head: &Response<'_>) -> Result<BodyWriter<'a>> {
        let Some(call) = self.call else {
            return Err(Error::new(Kind::Invalid, "start_response is NULL"));
        };
        let mut raw = Writer { write: None, ctx: std::ptr::null_mut() };
        // SAFETY: function and context came together, from the library or from a middleware that
        // promised the same; `head` and `raw` live for the call.
        match unsafe { call(self.sr, head, &mut raw) } {
            OK => Ok(BodyWriter { raw, life: PhantomData }),
            code => Err(refused("start_response", code)),
        }
    }
}

impl BodyWriter<'_> {
    /// Sends `text` before the body's own chunks.  `false`: the client is slow, nothing was taken,
    /// try again later (never where the thread may block).
    pub fn write(&self, text: &[u8]) -> Result<bool> {
        let Some(write) = self.raw.write else {
            return Err(Error::new(Kind::Unsupported, "this start_response has no write()"));
        };
        let chunk = Chunk { data: text.as_ptr().cast(), len: text.len() as u64, ..Chunk::EMPTY };
        // SAFETY: function and context came together from start_response, and the request still
        // runs ('a); a chunk without release is copied before the call returns.
        match unsafe { write(self.raw.ctx, &chunk) } {
            OK => Ok(true),
            AGAIN => Ok(false),
            code => Err(refused("write", code)),
        }
    }
}

fn refused(what: &str, code: i32) -> Error {
    let kind = Kind::from_code(code).unwrap_or(Kind::App);
    Error::new(kind, format!("{what}: {}", kind.text()))
}

/// What the application returns; looked at only when it returned GW_OK.
#[repr(C)]
#[derive(Debug)]
pub struct BodyFrame {
    /// set by the library
    pub size: u32,
    /// 0
    pub flags: u32,
    /// leaves together with the head
    pub first: Chunk,
    /// Then, unless NULL: GW_OK and a chunk; GW_EOF; GW_AGAIN to be asked again after
    /// gw_deferred_resume(), or when more of a streamed request body is there; or an error.
    /// Without `release`, a chunk must stay valid until the following next() or close().  An empty
    /// chunk is legal and never commits the head.  NULL: `first` is all, and the length is known.
    pub next: Option<unsafe extern "C" fn(ctx: *mut c_void, out: *mut Chunk) -> Code>,
    /// exactly once, whatever happened
    pub close: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    /// of `next` and `close`
    pub ctx: *mut c_void,
}

impl BodyFrame {
    pub(crate) const EMPTY: BodyFrame = BodyFrame {
        size: size_of::<BodyFrame>() as u32,
        flags: 0,
        first: Chunk::EMPTY,
        next: None,
        close: None,
        ctx: std::ptr::null_mut(),
    };

    /// Ask for the next chunk: `Ok(None)` is EOF, `Err(None)` AGAIN.
    pub(crate) fn call_next(&self) -> std::result::Result<Option<OwnedChunk>, Option<Error>> {
        let Some(next) = self.next else {
            return Ok(None);
        };
        let mut chunk = Chunk::EMPTY;
        // SAFETY: the application's own function and context, as the convention has them.
        match unsafe { next(self.ctx, &mut chunk) } {
            // SAFETY: the convention: valid until released, or until the next call of next() or
            // close(), which the exchange makes only when the chunk is sent or copied.
            OK => Ok(Some(unsafe { OwnedChunk::new(chunk) })),
            EOF => Ok(None),
            AGAIN => Err(None),
            code => Err(Some(refused("next", code))),
        }
    }

    /// The first chunk, which the frame then no longer has.
    pub(crate) fn take_first(&mut self) -> OwnedChunk {
        let first = std::mem::replace(&mut self.first, Chunk::EMPTY);
        // SAFETY: as in `call_next`.
        unsafe { OwnedChunk::new(first) }
    }

    /// Whether anything is still to be asked for, or to be let go of.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.next.is_some() || self.close.is_some() || self.first.release.is_some()
    }

    /// Release the first chunk if nobody took it, and close, once.
    pub(crate) fn finish(&mut self) {
        drop(self.take_first());
        self.next = None;
        if let Some(close) = self.close.take() {
            // SAFETY: the application's own function and context; `take` makes it the only call.
            unsafe { close(self.ctx) };
        }
    }
}

/// application(environ, start_response) -> iterable.  Returns GW_OK, GW_DEFERRED (see gw_defer), or an
/// error, which becomes a 500.
pub type AppFn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        env: *mut Environ,
        start_response: StartResponseFn,
        sr: *mut c_void,
        body: *mut BodyFrame,
    ) -> Code,
>;

/// a function and its context
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AppFrame {
    /// of this struct
    pub size: u32,
    /// GW_APP_*
    pub flags: u32,
    /// must not be NULL
    pub call: AppFn,
    /// of `call` and `drop`
    pub ctx: *mut c_void,
    /// may be NULL
    pub drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    /// for log lines; may be NULL
    pub name: *const c_char,
}

/// may be entered by many threads
pub const APP_THREADSAFE: u32 = 1 << 0;
/// never blocks: runs on the loop
pub const APP_NONBLOCKING: u32 = 1 << 1;
/// may block, and runs on the loop all the same, one request at a time for each worker: gunicorn's
/// sync worker
pub const APP_SERIAL: u32 = 1 << 2;

impl AppFrame {
    pub(crate) const EMPTY: AppFrame = AppFrame {
        size: size_of::<AppFrame>() as u32,
        flags: 0,
        call: None,
        ctx: std::ptr::null_mut(),
        drop: None,
        name: std::ptr::null(),
    };
}
