//! A handle as a C program has it: chunks with release functions, events that are function pointers.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::ffi::c_void;
use std::sync::Arc;

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{Environ, Response as Head};

pub const OK: i32 = 0;
pub const AGAIN: i32 = 1;
pub const EOF: i32 = 2;
pub const DEFERRED: i32 = 3;
pub const STATE: i32 = -2;

unsafe extern "C" {
    fn gw_defer(env: *const Environ, events: *const RawEvents, out: *mut *mut c_void) -> i32;
    fn gw_deferred_environ(d: *mut c_void) -> *mut Environ;
    fn gw_deferred_read(d: *mut c_void, buf: *mut u8, cap: usize, n: *mut usize) -> i32;
    fn gw_deferred_start(d: *mut c_void, head: *const Head<'_>) -> i32;
    fn gw_deferred_write(d: *mut c_void, chunk: *const Chunk) -> i32;
    fn gw_deferred_resume(d: *mut c_void) -> i32;
    fn gw_deferred_resume_after(d: *mut c_void, ms: u32) -> i32;
    fn gw_deferred_end(d: *mut c_void, outcome: i32) -> i32;
    fn gw_deferred_reply(
        d: *mut c_void,
        head: *const Head<'_>,
        chunks: *const Chunk,
        count: usize,
    ) -> i32;
}

type Told = Option<unsafe extern "C" fn(ctx: *mut c_void, d: *mut c_void)>;

#[repr(C)]
struct RawEvents {
    size: u32,
    reserved: u32,
    readable: Told,
    writable: Told,
    aborted: Told,
    drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    ctx: *mut c_void,
}

/// Which event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Readable,
    Writable,
    Aborted,
}

/// Is told of events.
pub type Listener = dyn Fn(What, CHandle) + Send + Sync;

/// A handle.  Copied, as C copies pointers: who gives it up must be the last to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CHandle(*mut c_void);

// SAFETY: that is what a handle is for.
unsafe impl Send for CHandle {}
// SAFETY: as above; the tests keep the rule of one call at a time.
unsafe impl Sync for CHandle {}

unsafe extern "C" fn readable(ctx: *mut c_void, d: *mut c_void) {
    // SAFETY: the box made in `defer`, alive until `forget`.
    unsafe { (*ctx.cast::<Arc<Listener>>())(What::Readable, CHandle(d)) }
}

unsafe extern "C" fn writable(ctx: *mut c_void, d: *mut c_void) {
    // SAFETY: as above.
    unsafe { (*ctx.cast::<Arc<Listener>>())(What::Writable, CHandle(d)) }
}

unsafe extern "C" fn aborted(ctx: *mut c_void, d: *mut c_void) {
    // SAFETY: as above.
    unsafe { (*ctx.cast::<Arc<Listener>>())(What::Aborted, CHandle(d)) }
}

unsafe extern "C" fn forget(ctx: *mut c_void) {
    // SAFETY: the box made in `defer`; the library drops it once.
    drop(unsafe { Box::from_raw(ctx.cast::<Arc<Listener>>()) });
}

impl CHandle {
    pub fn new(env: &Environ) -> Self {
        CHandle::told(env, Arc::new(|_, _| ()))
    }

    /// `listener` is dropped with the events.
    pub fn told(env: &Environ, listener: Arc<Listener>) -> Self {
        let events = RawEvents {
            size: size_of::<RawEvents>() as u32,
            reserved: 0,
            readable: Some(readable),
            writable: Some(writable),
            aborted: Some(aborted),
            drop: Some(forget),
            ctx: Box::into_raw(Box::new(listener)).cast(),
        };
        let mut d = std::ptr::null_mut();
        // SAFETY: an environ of a running request, and events that take their context.
        assert_eq!(unsafe { gw_defer(env, &events, &mut d) }, OK);
        CHandle(d)
    }

    /// The environ; the caller gives the handle up when it has no more use for it.
    pub fn environ(&self) -> Option<&Environ> {
        // SAFETY: a handle; what it gives lives until the handle is given up.
        unsafe { gw_deferred_environ(self.0).as_ref() }
    }

    /// What gw_deferred_read returned, and how many octets.
    pub fn read(&self, buf: &mut [u8]) -> (i32, usize) {
        let mut n = 0;
        // SAFETY: a handle, and a slice to write to.
        (unsafe { gw_deferred_read(self.0, buf.as_mut_ptr(), buf.len(), &mut n) }, n)
    }

    pub fn start(&self, head: &Head<'_>) -> i32 {
        // SAFETY: a handle, and a head for the call.
        unsafe { gw_deferred_start(self.0, head) }
    }

    pub fn write(&self, chunk: &Chunk) -> i32 {
        // SAFETY: a handle, and a chunk that its maker promised for.
        unsafe { gw_deferred_write(self.0, chunk) }
    }

    pub fn resume(&self) -> i32 {
        // SAFETY: a handle.
        unsafe { gw_deferred_resume(self.0) }
    }

    pub fn resume_after(&self, ms: u32) -> i32 {
        // SAFETY: a handle.
        unsafe { gw_deferred_resume_after(self.0, ms) }
    }

    pub fn end(self, outcome: i32) -> i32 {
        // SAFETY: a handle, which nobody uses any more.
        unsafe { gw_deferred_end(self.0, outcome) }
    }

    pub fn reply(self, head: &Head<'_>, chunks: &[Chunk]) -> i32 {
        // SAFETY: a handle, which nobody uses any more, and chunks that their makers promised for.
        unsafe { gw_deferred_reply(self.0, head, chunks.as_ptr(), chunks.len()) }
    }
}

/// A chunk whose release runs `released`.
pub fn chunk(text: Vec<u8>, released: impl FnOnce() + Send + 'static) -> Chunk {
    struct Held(Box<dyn FnOnce() + Send>, #[allow(dead_code)] Vec<u8>);
    unsafe extern "C" fn release(arg: *mut c_void) {
        // SAFETY: the box made below; the library calls this once.
        let Held(released, text) = *unsafe { Box::from_raw(arg.cast::<Held>()) };
        drop(text);
        released();
    }
    let (data, len) = (text.as_ptr().cast(), text.len() as u64);
    let arg = Box::into_raw(Box::new(Held(Box::new(released), text))).cast();
    Chunk { data, len, release: Some(release), arg, ..Chunk::EMPTY }
}
