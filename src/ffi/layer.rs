//! Ready-made middleware as the calling convention has it: an application whose context is the
//! middleware and what it wraps.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use super::result::{GW_ERR_INVALID, GW_ERR_PANIC, GW_OK, gw_result};
use crate::apps::middleware::{Entered, Middleware, Said};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::{Chunk, OwnedChunk};
use crate::gateway::abi::{
    AppFrame, BodyFrame, Environ, Response, StartResponse, StartResponseFn, Writer,
};
use crate::gateway::app::forward;
use crate::gateway::body::Body;

/// A middleware, and the application in it, which lives longer.
struct Layer {
    middleware: Box<dyn Middleware>,
    inner: *const AppFrame,
}

/// Put `middleware` around `inner`: what of `outer` is its.
pub(super) fn around(
    middleware: Box<dyn Middleware>,
    inner: *const AppFrame,
    outer: &mut AppFrame,
) {
    outer.ctx = Box::into_raw(Box::new(Layer { middleware, inner })).cast();
    outer.call = Some(call);
    outer.drop = Some(drop_layer);
}

unsafe extern "C" fn drop_layer(ctx: *mut c_void) {
    // SAFETY: the box made in `around`; an application is dropped once.
    let layer = unsafe { Box::from_raw(ctx.cast::<Layer>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(layer)));
}

/// A call on its way through a layer: what the inner application has as `sr`.  It is in the request's
/// memory, and so is there until close().
struct Passing<'a> {
    layer: &'a Layer,
    env: *mut Environ,
    start_response: StartResponse<'a>,
    /// Where a body goes that replaces the application's; NULL when the call is over.
    instead: Cell<*const RefCell<Option<Body>>>,
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
    let start_response = StartResponse { call: start_response, sr, life: PhantomData };
    let run = AssertUnwindSafe(|| {
        // SAFETY: the convention: all of it belongs to a request that runs in this thread.
        unsafe { layer.run(env, start_response, body) }
    });
    // SAFETY: as above.
    told(unsafe { &*env }, catch_unwind(run))
}

/// The code for what came of it; what went wrong is in the log.
fn told(env: &Environ, outcome: std::thread::Result<Result<gw_result>>) -> gw_result {
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            env.log(Level::Error, error.message().as_bytes());
            error.kind() as gw_result
        }
        Err(_) => {
            env.log(Level::Error, b"a bug in libgateway: a middleware panicked");
            GW_ERR_PANIC
        }
    }
}

impl Layer {
    /// # Safety
    /// The arguments of an application's call.
    unsafe fn run(
        &self,
        env: *mut Environ,
        start_response: StartResponse<'_>,
        body: *mut BodyFrame,
    ) -> Result<gw_result> {
        // SAFETY: the caller's promise.
        let (request, out) = unsafe { (&*env.cast_const(), &mut *body) };
        let env = match self.middleware.enter(request, &start_response)? {
            Entered::Passed => env,
            Entered::Derived(derived) => ptr::from_mut(derived),
            Entered::Answered(answer) => {
                *out = frame(answer, request)?;
                return Ok(GW_OK);
            }
        };
        // SAFETY: lives until this application is dropped.
        let inner = unsafe { &*self.inner };
        let StartResponse { call, sr, .. } = start_response;
        if !self.middleware.watches_head() {
            // SAFETY: the caller's promise; a derived environ is as good as the first.
            return Ok(unsafe { forward(inner, env, call, sr, body) });
        }
        let instead = RefCell::new(None);
        let passing =
            Passing { layer: self, env, start_response, instead: Cell::new(&raw const instead) };
        let passing = &*request.exchange()?.arena().hold(passing);
        let sr = ptr::from_ref(passing).cast_mut().cast();
        // SAFETY: as above; `sr` is what `head` expects, and lives as long as the request.
        let code = unsafe { forward(inner, env, Some(head), sr, body) };
        passing.instead.set(ptr::null());
        if let (GW_OK, Some(other)) = (code, instead.into_inner()) {
            let other = frame(other, request)?;
            out.finish();
            *out = other;
        }
        Ok(code)
    }
}

/// A body as C has it; the middleware here has its answers at once.
fn frame(body: Body, env: &Environ) -> Result<BodyFrame> {
    body.into_frame(env.exchange().ok()).ok_or(Error::from(Kind::State))
}

/// start_response of the inner application.
unsafe extern "C" fn head(
    sr: *mut c_void,
    head: *const Response<'_>,
    writer: *mut Writer,
) -> gw_result {
    // SAFETY: `sr` is what `run` has put into the request's memory.
    let passing = unsafe { &*sr.cast_const().cast::<Passing<'_>>() };
    // SAFETY: the convention: a head, or NULL, that is valid for the call.
    let Some(head) = (unsafe { head.as_ref() }) else {
        return GW_ERR_INVALID;
    };
    // SAFETY: the environ that the inner application was given.
    let env = unsafe { &*passing.env.cast_const() };
    // SAFETY: NULL, or the caller's to be filled.
    let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { passing.say(env, head, writer) }));
    told(env, outcome)
}

impl Passing<'_> {
    /// # Safety
    /// `writer` is NULL, or to be filled.
    unsafe fn say(
        &self,
        env: &Environ,
        head: &Response<'_>,
        writer: *mut Writer,
    ) -> Result<gw_result> {
        let StartResponse { call, sr, .. } = self.start_response;
        // SAFETY: unless NULL, on the stack of a `run` that has not returned.
        let instead = unsafe { self.instead.get().as_ref() };
        let (middleware, in_call) = (&self.layer.middleware, instead.is_some());
        let said = match middleware.head(env, head, &self.start_response, in_call)? {
            Said::Nothing => {
                let call = call.ok_or(Error::new(Kind::Invalid, "start_response is NULL"))?;
                // SAFETY: function and context came together; the rest is the caller's promise.
                let code = unsafe { call(sr, head, writer) };
                // A head that replaces another takes its body with it.
                if let (GW_OK, Some(instead)) = (code, instead) {
                    instead.take();
                }
                return Ok(code);
            }
            Said::Another(other) => other.raw,
            Said::Instead(body) => {
                *instead.ok_or(Error::from(Kind::State))?.borrow_mut() = Some(body);
                Writer { write: Some(swallow), ctx: ptr::null_mut() }
            }
        };
        // SAFETY: the caller's promise.
        if let Some(out) = unsafe { writer.as_mut() } {
            *out = said;
        }
        Ok(GW_OK)
    }
}

/// What is written for a head that was replaced goes nowhere.
unsafe extern "C" fn swallow(_: *mut c_void, chunk: *const Chunk) -> gw_result {
    // SAFETY: the convention: a chunk, or NULL, which is ours to release.
    match unsafe { chunk.as_ref() } {
        // SAFETY: as above.
        Some(chunk) => drop(unsafe { OwnedChunk::new(*chunk) }),
        None => return GW_ERR_INVALID,
    }
    GW_OK
}
