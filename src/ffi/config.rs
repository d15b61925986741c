//! Configuration: setting options, the application and what wraps it, listeners.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::app::gw_middleware_fn;
use super::context::Context;
use super::guard::{Growing, buffer, cstr, grown, guard, guard_with, known, out, quietly};
use super::object::{Exclusive, borrow_anywhere, give, handle, take};
use super::result::{GW_ERR_INVALID, GW_OK, gw_error, gw_result};
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::{Address, Listener, Protocol};
use crate::gateway::abi::AppFrame;
use crate::gateway::app::Application;
use crate::gateway::config::{Config, Middleware};
use crate::serve;

/// what a server or an arbiter is made of
#[derive(Debug)]
pub struct gw_config {
    _private: [u8; 0],
}

handle!(gw_config: Exclusive<Config>, b"conf");

/// [any] All options as they are preset; NULL when there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn gw_config_new() -> *mut gw_config {
    quietly(std::ptr::null_mut(), || Ok(give(Exclusive::new(Config::new()))))
}

/// [one] For one that nothing was made of: what takes a configuration frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_free(cfg: *mut gw_config) {
    quietly((), || {
        // SAFETY: the rules page.
        unsafe { take(cfg) }.map(drop)
    });
}

/// [one] An option by its name: ("workers", "4").  A list grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_set(
    cfg: *mut gw_config,
    key: *const c_char,
    value: *const c_char,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let (cfg, key) = unsafe { (borrow_anywhere(cfg)?, cstr(key, "key")?) };
        // SAFETY: the rules page.
        let value = unsafe { cstr(value, "value") }?;
        cfg.enter()?.set(key, value).map(drop)
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// [one] The value of an option, as gw_config_set takes it.  As much as fits is written, and ends
/// with a NUL; *len is the length of all of it, without the NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_get(
    cfg: *const gw_config,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let (cfg, key) = unsafe { (borrow_anywhere(cfg)?, cstr(key, "key")?) };
        // SAFETY: the rules page.
        let (buf, len) = unsafe { (buffer(buf.cast(), cap, "buf")?, out(len, "len")?) };
        let value = cfg.enter()?.settings().get(key)?;
        if let Some(room) = buf.len().checked_sub(1) {
            let fits = (0..=room.min(value.len())).rev().find(|at| value.is_char_boundary(*at));
            let fits = fits.unwrap_or(0);
            buf[..fits].copy_from_slice(&value.as_bytes()[..fits]);
            buf[fits] = 0;
        }
        len.set(value.len());
        Ok(())
    })
}

/// [one] An option by its number: truth as 0 or 1, durations in milliseconds, sizes in octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_set_int(
    cfg: *mut gw_config,
    option: u32,
    value: i64,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        cfg.enter()?.settings_mut().set_id(option, value)
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

// SAFETY: repr(C), `size` first, numbers, pointers and functions that may be missing.
unsafe impl Growing for AppFrame {
    const FIRST: usize = 40;
}

/// [one] app->drop runs when the last user of it is gone.  It is for everything that nothing else is
/// mounted for, and replaces what was given for that before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_app(
    cfg: *mut gw_config,
    app: *const AppFrame,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let app = unsafe { application(app) }?;
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        cfg.enter()?.application(app);
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// # Safety
/// As the rules page has an application.
unsafe fn application(app: *const AppFrame) -> Result<Application> {
    // SAFETY: the caller's promise.
    let (app, newer) = unsafe { known(app, "app") }?;
    // SAFETY: the rules page: its functions take its context, its name is a string.
    let app = unsafe { Application::from_frame(app) }?;
    newer.map_or(Ok(app), Err)
}

/// [one] An application for the requests whose host and path match `where`: "/prefix", "host/prefix",
/// or "*.host/prefix" for the hosts below one.  A host is written without a port, "/" at its end is all
/// of it, and it counts before a path; a prefix matches whole segments of PATH_INFO.  The longest match
/// wins, and its prefix becomes the end of SCRIPT_NAME; what matches nothing is answered with 404.
/// NULL or "": as gw_config_app.  GW_ERR_INVALID: where is malformed, or another is mounted there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_mount(
    cfg: *mut gw_config,
    r#where: *const c_char,
    app: *const AppFrame,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let app = unsafe { application(app) }?;
        // SAFETY: the rules page.
        let (cfg, place) = unsafe { (borrow_anywhere(cfg)?, text(r#where, "where")?) };
        let mut cfg = cfg.enter()?;
        match place {
            "" => cfg.application(app),
            place => cfg.mount(place, app)?,
        };
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// [one] An application that is a module's, mounted as by gw_config_mount; NULL or "": instead of
/// gw_config_app.  There may be several, also of one file: each is asked for its own.  A file is loaded
/// when a server or an arbiter is made of the configuration, by forked workers after the fork unless the
/// option `preload` is set.  `path` as dlopen has it; one with a slash is meant from where the process
/// is now.  `args` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_module(
    cfg: *mut gw_config,
    r#where: *const c_char,
    path: *const c_char,
    args: *const c_char,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let (cfg, path) = unsafe { (borrow_anywhere(cfg)?, cstr(path, "path")?) };
        // SAFETY: the rules page.
        let (place, args) = unsafe { (text(r#where, "where")?, text(args, "args")?) };
        let mut cfg = cfg.enter()?;
        match place {
            // SAFETY: the rules page: a module is fit for the process that names it.
            "" => unsafe { cfg.module(path, args) }.map(drop),
            // SAFETY: as above.
            place => unsafe { cfg.mount_module(place, path, args) }.map(drop),
        }
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// A string; NULL is an empty one.
///
/// # Safety
/// As [`cstr`].
unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Ok("");
    }
    // SAFETY: the caller's promise.
    unsafe { cstr(text, what) }
}

/// [one] Middleware around each application; the first one used is the outermost.  It is called once for
/// each, when a server or an arbiter is made of the configuration; `drop` when all that it made is gone.
/// Its requests are those of the application: with SCRIPT_NAME, and no 404 of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_use(
    cfg: *mut gw_config,
    middleware: gw_middleware_fn,
    ctx: *mut c_void,
    drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        let kept = Arc::new(Context::new(ctx, drop));
        let middleware = layer(middleware, &kept)?;
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        cfg.enter()?.wrap_keeping(middleware, kept);
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// [one] Middleware around the application that is mounted at `where` already, and around no other; it
/// is within those of gw_config_use, and the first one used is the outermost.  NULL or "" is what
/// gw_config_app has set.  GW_ERR_NOT_FOUND: nothing is mounted there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_use_at(
    cfg: *mut gw_config,
    r#where: *const c_char,
    middleware: gw_middleware_fn,
    ctx: *mut c_void,
    drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        let kept = Arc::new(Context::new(ctx, drop));
        let middleware = layer(middleware, &kept)?;
        // SAFETY: the rules page.
        let (cfg, place) = unsafe { (borrow_anywhere(cfg)?, text(r#where, "where")?) };
        let place = if place.is_empty() { "/" } else { place };
        cfg.enter()?.wrap_at_keeping(place, middleware, kept)?;
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// A middleware of the host.
fn layer(middleware: gw_middleware_fn, context: &Arc<Context>) -> Result<Middleware> {
    let wrap = middleware.ok_or_else(|| Error::new(Kind::Invalid, "middleware is NULL"))?;
    let context = Arc::clone(context);
    Ok(Box::new(move |inner: &AppFrame, outer: &mut AppFrame| {
        let mut err = gw_error::EMPTY;
        // SAFETY: the host's function and context, as the rules page has them.
        match unsafe { wrap(context.get(), inner, outer, &raw mut err) } {
            GW_OK => Ok(()),
            code => Err(err.as_error(code, "the middleware failed")),
        }
    }))
}

/// where connections come from
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_listener {
    pub size: u32,
    /// GW_PROTO_*, where the address does not say
    pub protocol: u32,
    /// "host:port", "[::1]:port", "unix:/path", "unix:@name", or with its protocol,
    /// "uwsgi+unix:/path"; NULL
    pub address: *const c_char,
    /// an inherited socket, when no address
    pub fd: i32,
    /// 0: the option
    pub backlog: i32,
    /// 0
    pub flags: u32,
    /// of a unix socket, 0: umask decides
    pub mode: u32,
    /// "key=value ...": backlog, nodelay, defer_accept, fastopen, rcvbuf, sndbuf, reuse_port, mode,
    /// owner, trust, proxy_protocol, limits; NULL
    pub options: *const c_char,
}

/// HTTP/1.0 and 1.1
pub const GW_PROTO_HTTP: u32 = 0;

/// the uwsgi protocol
pub const GW_PROTO_UWSGI: u32 = 1;
/// FastCGI, as a responder
pub const GW_PROTO_FASTCGI: u32 = 2;
/// SCGI
pub const GW_PROTO_SCGI: u32 = 3;
/// told by the first octets of each connection
pub const GW_PROTO_AUTO: u32 = 4;

const _: () = assert!(
    GW_PROTO_HTTP == Protocol::Http as u32
        && GW_PROTO_UWSGI == Protocol::Uwsgi as u32
        && GW_PROTO_FASTCGI == Protocol::FastCgi as u32
        && GW_PROTO_SCGI == Protocol::Scgi as u32
        && GW_PROTO_AUTO == Protocol::Auto as u32
);

// SAFETY: repr(C), `size` first, numbers and pointers.
unsafe impl Growing for gw_listener {
    const FIRST: usize = 32;
}

/// [one] One more place to listen on; the option `bind` adds to the same list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_listen(
    cfg: *mut gw_config,
    listener: *const gw_listener,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        // SAFETY: the rules page.
        let (cfg, raw) = unsafe { (borrow_anywhere(cfg)?, grown(listener, "listener")?) };
        // SAFETY: the rules page.
        let listener = unsafe { listener_of(&raw) }?;
        cfg.enter()?.listen(listener);
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// # Safety
/// The address is NULL or a C string, and so are the options.
unsafe fn listener_of(raw: &gw_listener) -> Result<Listener> {
    let invalid = |text: String| Err(Error::new(Kind::Invalid, text));
    let protocol = Protocol::from_code(raw.protocol)?;
    let mut listener = if raw.address.is_null() {
        if raw.fd < 0 {
            return invalid(format!("listener: no address, and fd is {}", raw.fd));
        }
        let mut listener = Listener::new(Address::Fd(raw.fd));
        listener.protocol = protocol;
        listener
    } else {
        // SAFETY: the caller's promise.
        Listener::read(unsafe { cstr(raw.address, "listener->address") }?, protocol)?
    };
    if raw.flags != 0 {
        return invalid(format!("listener: flags are {:#x}: unknown", raw.flags));
    }
    if !raw.options.is_null() {
        // SAFETY: the caller's promise.
        let options = unsafe { cstr(raw.options, "listener->options") }?;
        listener.set_options(options, char::is_whitespace).map_err(|error| {
            Error::new(error.kind(), format!("listener->options: {}", error.message()))
        })?;
    }
    match u32::try_from(raw.backlog) {
        Ok(0) => {}
        Ok(backlog) => listener.backlog = backlog,
        Err(_) => return invalid(format!("listener: backlog is {}", raw.backlog)),
    }
    if raw.mode != 0 {
        listener.mode = raw.mode;
    }
    Ok(listener)
}

/// [one] Workers of their own for `pool`, watched by the same arbiter: with their applications,
/// middleware, listeners, hooks, and options.  Takes pool.  An option that it does not set is as cfg has
/// it when an arbiter is made; the log, too.  Options and hooks of the whole process, and pools of its
/// own, are a problem that gw_config_check tells.  What cfg has itself is the pool "main"; with pools it
/// may have no application, and then has no workers.  GW_ERR_INVALID: another pool is called so, or a
/// name is not 1 to 32 letters, digits, '_', '-' or '.'.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_pool(
    cfg: *mut gw_config,
    name: *const c_char,
    pool: *mut gw_config,
    err: *mut gw_error,
) -> gw_result {
    let set = || {
        if cfg == pool {
            let text = "pool: a configuration cannot be a pool of itself";
            return Err(Error::new(Kind::Invalid, text));
        }
        // SAFETY: the rules page.
        let (pool, _) = unsafe { take(pool) }?;
        // SAFETY: the rules page.
        let (cfg, name) = unsafe { (borrow_anywhere(cfg)?, cstr(name, "name")?) };
        cfg.enter()?.pool(name, pool.into_inner()).map(drop)
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set) }
}

/// [one] Every problem that gw_serve would find with this configuration, with its presets: a report
/// for each, which is the call's.  Nothing is started and nothing stays: a module is tried, and
/// middleware called, in a process of their own, unless this one has threads; an address is bound
/// and closed again.  GW_OK: there is none; GW_ERR_INVALID: there is.  report may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_check(
    cfg: *const gw_config,
    report: Option<unsafe extern "C" fn(ctx: *mut c_void, problem: *const gw_error)>,
    ctx: *mut c_void,
) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        let problems = serve::check(&mut *cfg.enter()?);
        for problem in &problems {
            let mut error = gw_error::EMPTY;
            // SAFETY: a whole struct of ours.
            unsafe { super::guard::report(&raw mut error, problem) };
            if let Some(report) = report {
                // SAFETY: the host's function and context, as the rules page has them.
                unsafe { report(ctx, &raw const error) };
            }
        }
        Ok(if problems.is_empty() { GW_OK } else { GW_ERR_INVALID })
    })
}

#[cfg(test)]
mod tests;
