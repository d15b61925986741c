//! Applications as a C program writes them: function pointers, chunks with release functions,
//! `next` and `close`; and a journal of what was called when.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use gateway::base::octets::{CHUNK_FILE, Chunk};
use gateway::gateway::abi::{
    APP_NONBLOCKING, APP_THREADSAFE, AppFrame, BodyFrame, Environ, Response, StartResponseFn,
    Writer,
};
use gateway::gateway::app::Application;

unsafe extern "C" {
    fn gw_environ_put(
        env: *mut Environ,
        key: *const c_void,
        value: *mut c_void,
        drop: Option<unsafe extern "C" fn(value: *mut c_void)>,
    ) -> i32;
    fn gw_environ_set(
        derived: *mut Environ,
        name: *const u8,
        name_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> i32;
    fn gw_environ_alloc(env: *mut Environ, size: usize) -> *mut c_void;
    fn gw_environ_gone(env: *const Environ) -> i32;
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| *line == what).count()
    }

    /// Adds `what` when it is dropped.
    pub fn at_drop(&self, what: &str) -> Dropped {
        Dropped(self.clone(), what.to_owned())
    }
}

pub struct Dropped(Journal, String);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add(self.1.clone());
    }
}

/// Lives in a C `void *`; running `add_note` on it writes into the journal, once.
struct Note(Journal, String, #[allow(dead_code)] Vec<u8>);

unsafe extern "C" fn add_note(arg: *mut c_void) {
    // SAFETY: the box made by `note`; the library calls this once.
    let note = unsafe { Box::from_raw(arg.cast::<Note>()) };
    note.0.add(note.1.clone());
}

fn note(journal: &Journal, what: &str, keep: Vec<u8>) -> *mut c_void {
    Box::into_raw(Box::new(Note(journal.clone(), what.to_owned(), keep))).cast()
}

/// A chunk that is released.
pub fn owned(journal: &Journal, name: &str, text: Vec<u8>) -> Chunk {
    let (data, len) = (text.as_ptr().cast(), text.len() as u64);
    let arg = note(journal, &format!("release {name}"), text);
    Chunk { data, len, release: Some(add_note), arg, ..Chunk::EMPTY }
}

/// A chunk without release: `text` must live until the next call.
pub fn lent(text: &[u8]) -> Chunk {
    Chunk { data: text.as_ptr().cast(), len: text.len() as u64, ..Chunk::EMPTY }
}

/// A range of a file, released when it is not needed.
pub fn file(journal: &Journal, name: &str, fd: i32, offset: i64, len: u64) -> Chunk {
    let arg = note(journal, &format!("release {name}"), Vec::new());
    Chunk { len, offset, fd, flags: CHUNK_FILE, release: Some(add_note), arg, ..Chunk::EMPTY }
}

/// Hang something on the request that writes into the journal when it is dropped.
pub fn attach(env: &Environ, journal: &Journal, name: &str) {
    let value = note(journal, &format!("drop {name}"), Vec::new());
    let env = std::ptr::from_ref(env).cast_mut();
    // SAFETY: an environ of a running request; `add_note` fits its value.
    let rc = unsafe { gw_environ_put(env, value, value, Some(add_note)) };
    assert_eq!(rc, 0);
}

/// Hang something on a request, to be dropped with it.
pub fn attach_value(env: &Environ, value: Box<dyn Send>) {
    unsafe extern "C" fn drop_value(value: *mut c_void) {
        // SAFETY: the box made below; the library calls this once.
        drop(unsafe { Box::from_raw(value.cast::<Box<dyn Send>>()) });
    }
    let value = Box::into_raw(Box::new(value)).cast();
    let env = std::ptr::from_ref(env).cast_mut();
    // SAFETY: an environ of a running request; `drop_value` fits its value.
    let rc = unsafe { gw_environ_put(env, value, value, Some(drop_value)) };
    assert_eq!(rc, 0);
}

/// Set (or take away) a variable of a derived environ.
pub fn set(env: &mut Environ, name: &str, value: Option<&[u8]>) -> i32 {
    let (data, len) = value.map_or((std::ptr::null(), 0), |v| (v.as_ptr(), v.len()));
    // SAFETY: a derived environ of a running request; pointers and lengths of slices.
    unsafe { gw_environ_set(env, name.as_ptr(), name.len(), data, len) }
}

/// Memory of the request, filled with `text`.
pub fn in_request_memory(env: &Environ, text: &[u8]) -> *const u8 {
    // SAFETY: an environ of a running request; what is allocated has the size asked for.
    unsafe {
        let room = gw_environ_alloc(std::ptr::from_ref(env).cast_mut(), text.len()).cast::<u8>();
        assert!(!room.is_null());
        std::ptr::copy_nonoverlapping(text.as_ptr(), room, text.len());
        room
    }
}

/// Whether the client has left.
pub fn is_gone(env: &Environ) -> bool {
    // SAFETY: an environ of a running request.
    unsafe { gw_environ_gone(env) != 0 }
}

/// start_response, as an application in C was given it.  It lives until close() returned.
#[derive(Clone, Copy)]
pub struct Start {
    call: StartResponseFn,
    sr: *mut c_void,
}

// SAFETY: the tests' engines have one thread.
unsafe impl Send for Start {}

impl Start {
    /// What start_response returned.
    pub fn respond(&self, head: &Response<'_>) -> i32 {
        self.open(head).0
    }

    /// The same, and the writer.
    pub fn open(&self, head: &Response<'_>) -> (i32, Write) {
        let mut writer = Writer { write: None, ctx: std::ptr::null_mut() };
        // SAFETY: function and context came together; head and writer live for the call.
        let rc = unsafe { self.call.unwrap()(self.sr, head, &mut writer) };
        (rc, Write(writer))
    }
}

/// write(), as start_response gave it.
#[derive(Clone, Copy)]
pub struct Write(Writer);

// SAFETY: the tests' engines have one thread.
unsafe impl Send for Write {}

impl Write {
    /// What write() returned.
    pub fn write(&self, chunk: &Chunk) -> i32 {
        // SAFETY: function and context came together, and the request runs.
        unsafe { self.0.write.unwrap()(self.0.ctx, chunk) }
    }
}

/// What `next` is.
pub type Next = Box<dyn FnMut(&mut Chunk) -> i32>;

/// The body that an application in C fills.
#[derive(Default)]
pub struct CBody {
    pub first: Option<Chunk>,
    pub next: Option<Next>,
    /// Is told of close().
    pub journal: Option<Journal>,
    pub close: Option<Box<dyn FnMut()>>,
}

unsafe extern "C" fn next(ctx: *mut c_void, out: *mut Chunk) -> i32 {
    // SAFETY: the box made in `call`, alive until `close`; `out` is the library's.
    let (body, out) = unsafe { (&mut *ctx.cast::<CBody>(), &mut *out) };
    body.next.as_mut().unwrap()(out)
}

unsafe extern "C" fn close(ctx: *mut c_void) {
    // SAFETY: the box made in `call`.  A second close() would be found by the journal's count, or
    // by the allocator.
    let mut body = unsafe { Box::from_raw(ctx.cast::<CBody>()) };
    if let Some(close) = &mut body.close {
        close();
    }
    if let Some(journal) = &body.journal {
        journal.add("close");
    }
}

type Call = Box<dyn Fn(&Environ, &Start, &mut CBody) -> i32 + Send + Sync>;

unsafe extern "C" fn call(
    ctx: *mut c_void,
    env: *mut Environ,
    start: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
) -> i32 {
    // SAFETY: the box made in `application`; environ and body are the library's for the call.
    let (call, env, body) = unsafe { (&*ctx.cast::<Call>(), &*env, &mut *body) };
    let mut mine = CBody::default();
    let rc = call(env, &Start { call: start, sr }, &mut mine);
    if let Some(first) = mine.first.take() {
        body.first = first;
    }
    if rc != 0 {
        // A body beside an error was not returned.
        return rc;
    }
    if mine.next.is_none() && mine.close.is_none() && mine.journal.is_none() {
        return rc;
    }
    if mine.next.is_some() {
        body.next = Some(next);
    }
    body.close = Some(close);
    body.ctx = Box::into_raw(Box::new(mine)).cast();
    rc
}

unsafe extern "C" fn drop_call(ctx: *mut c_void) {
    // SAFETY: the box made in `application`, once.
    drop(unsafe { Box::from_raw(ctx.cast::<Call>()) });
}

/// An application in C that never blocks.
pub fn application(
    app: impl Fn(&Environ, &Start, &mut CBody) -> i32 + Send + Sync + 'static,
) -> Application {
    with_flags(APP_NONBLOCKING | APP_THREADSAFE, app)
}

/// An application in C.
pub fn with_flags(
    flags: u32,
    app: impl Fn(&Environ, &Start, &mut CBody) -> i32 + Send + Sync + 'static,
) -> Application {
    let ctx: Box<Call> = Box::new(Box::new(app));
    let frame = AppFrame {
        size: size_of::<AppFrame>() as u32,
        flags,
        call: Some(call),
        ctx: Box::into_raw(ctx).cast(),
        drop: Some(drop_call),
        name: std::ptr::null(),
    };
    // SAFETY: the functions take the box; there is no name.
    unsafe { Application::from_frame(frame) }.unwrap()
}
