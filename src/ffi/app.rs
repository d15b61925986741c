//! The calling convention from the side of an application: calling another one, a whole answer at
//! once, a reason for a 500.

use std::ffi::{c_char, c_void};

use super::body::put_first;
use super::guard::{bytes, cstr, fill, grown, guard, guard_with, reference};
use super::layer;
use super::lint;
use super::result::{GW_ERR_APP, GW_OK, gw_error, gw_result};
use crate::apps;
use crate::apps::middleware::{Ready, middleware};
use crate::base::error::{Error, Kind};
use crate::base::log::Level;
use crate::base::octets::{Chunk, OwnedChunk};
use crate::gateway::abi::{AppFrame, BodyFrame, Environ, Response, StartResponseFn};
use crate::gateway::app::forward;

/// An application that wraps an application: fill `outer` from `inner`, which lives until
/// outer->drop.  `outer` arrives with inner's flags.
pub type gw_middleware_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        inner: *const AppFrame,
        outer: *mut AppFrame,
        err: *mut gw_error,
    ) -> gw_result,
>;

/// [req] Call `app` as the library would: what a middleware does with its inner application.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_app_call(
    app: *const AppFrame,
    env: *mut Environ,
    start_response: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (app, _) = unsafe { (reference(app, "app")?, reference(env, "env")?) };
        // SAFETY: as above; a body is only looked at for NULL here.
        unsafe { reference(body, "body") }?;
        // SAFETY: all of it came from a call of an application, and goes into one.
        Ok(unsafe { forward(app, env, start_response, sr, body) })
    })
}

/// [req] A whole answer in one call: the head, and `chunk` (may be NULL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_reply(
    start_response: StartResponseFn,
    sr: *mut c_void,
    body: *mut BodyFrame,
    head: *const Response<'_>,
    chunk: *const Chunk,
) -> gw_result {
    guard(|| {
        // SAFETY: NULL, or a chunk that is ours from here on, whatever happens.
        let chunk = unsafe { chunk.as_ref().map(|chunk| OwnedChunk::new(*chunk)) };
        // SAFETY: the rules page.
        unsafe { reference(head, "head") }?;
        let start = start_response.ok_or(Error::new(Kind::Invalid, "start_response is NULL"))?;
        // SAFETY: `start` and `sr` came together; `head` is valid for the call.
        let rc = unsafe { start(sr, head, std::ptr::null_mut()) };
        if rc != GW_OK {
            return Ok(rc);
        }
        match chunk {
            // SAFETY: the rules page.
            Some(chunk) => unsafe { put_first(body, chunk) }.map(|()| GW_OK),
            None => Ok(GW_OK),
        }
    })
}

/// [req] Logs why, and returns GW_ERR_APP for the application to return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_fail(
    env: *const Environ,
    text: *const c_char,
    len: usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (env, text) = unsafe { (reference(env, "env")?, bytes(text.cast(), len, "text")?) };
        env.exchange()?.log(Level::Error, text);
        Ok(GW_ERR_APP)
    })
}

/// [any] A ready-made application by its name, made as `args` say ("key=value ...", may be NULL), for
/// gw_config_app or any other use: whoever has it calls its `drop` once.  "static": the files of a
/// directory, root=/srv/www (a path without white space); "cgi": its CGI scripts, root=/srv/scripts;
/// "redirect": to=https://example.org keep=path,query; "health": 200, or 503 when the server stops;
/// "forward": HTTP to others, to=http://127.0.0.1:9001,http://127.0.0.1:9002, for development and tests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_app_builtin(
    name: *const c_char,
    args: *const c_char,
    out: *mut AppFrame,
    err: *mut gw_error,
) -> gw_result {
    let make = || {
        // SAFETY: the rules page.
        let name = unsafe { cstr(name, "name") }?;
        // SAFETY: the rules page.
        let args = if args.is_null() { "" } else { unsafe { cstr(args, "args") }? };
        // SAFETY: the rules page.
        unsafe { grown(out, "out") }?;
        let (app, name) = apps::builtin(name, args)?;
        // SAFETY: as above.
        unsafe { fill(out, &app.into_frame(name), "out") }
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}

/// [any] Ready-made middleware, a gw_middleware_fn: `ctx` is a string, its name and "key=value ...", for
/// gw_config_use(cfg, gw_middleware_builtin, "access allow=10.0.0.0/8", NULL, err).  "access": allow= and
/// deny= by network; "request_id": X-Request-ID; "sendfile": X-Sendfile and X-Accel-Redirect, root=/srv/files;
/// "lint": each breach of this convention in the error log, by its name, and with fatal=1 as a 500.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_middleware_builtin(
    ctx: *mut c_void,
    inner: *const AppFrame,
    outer: *mut AppFrame,
    err: *mut gw_error,
) -> gw_result {
    let make = || {
        // SAFETY: the rules page.
        let (spec, wrapped) =
            unsafe { (cstr(ctx.cast_const().cast(), "ctx")?, reference(inner, "inner")?) };
        // SAFETY: the rules page.
        let mut frame = unsafe { grown(outer, "outer") }?;
        (frame.flags, frame.name) = (wrapped.flags, wrapped.name);
        match middleware(spec)? {
            Ready::Layer(middleware) => layer::around(middleware, inner, &mut frame),
            Ready::Lint(lint) => lint::around(lint, inner, &mut frame),
        }
        // SAFETY: as above.
        unsafe { fill(outer, &frame, "outer") }
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, make) }
}
