//! What goes with a callback: the host's context, dropped once.

use std::ffi::c_void;

/// A context and its `drop`.
#[derive(Debug)]
pub(super) struct Context {
    ctx: *mut c_void,
    drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
}

// SAFETY: the rules page: callbacks run on any thread, and so does `drop`; what they do with their
// context is the host's business.
unsafe impl Send for Context {}
// SAFETY: as above; this side never looks into it.
unsafe impl Sync for Context {}

impl Context {
    /// Takes it: `drop` runs when this is dropped.
    pub(super) fn new(
        ctx: *mut c_void,
        drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    ) -> Self {
        Context { ctx, drop }
    }

    /// For a call.
    pub(super) fn get(&self) -> *mut c_void {
        self.ctx
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            // SAFETY: the host's function and context; taken out, so once.
            unsafe { drop(self.ctx) };
        }
    }
}
