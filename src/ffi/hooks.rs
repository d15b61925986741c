//! Hooks and the log: what the library calls the host for.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::config::gw_config;
use super::context::Context;
use super::guard::{Growing, bytes, guard, guard_with, known, quietly, reference};
use super::object::borrow_anywhere;
use super::result::{gw_error, gw_result};
use super::server::{gw_server, server_of};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Level, Record};
use crate::base::octets::{Octets, Pair};
use crate::gateway::abi::Environ;
use crate::gateway::config::Config;
use crate::gateway::service::{Access, Hooks, Worker};

/// one finished request
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_access {
    pub size: u32,
    /// of the response; 499: there was none, since the client left before (or GW_STOP_QUICK came)
    pub status: u16,
    /// 0
    pub reserved: u16,
    /// octets of the response's body
    pub sent: u64,
    /// octets of the request's body
    pub received: u64,
    /// since the epoch, when the head was there
    pub start_ns: u64,
    /// from then to the end
    pub took_ns: u64,
    /// until the body was there
    pub read_ns: u64,
    /// until the application was done
    pub app_ns: u64,
    /// what names it in log lines
    pub id: Octets<'static>,
    /// the request
    pub env: *const Environ,
    /// of the response
    pub headers: *const Pair<'static>,
    pub header_count: usize,
}

/// what worker_init and worker_exit are told
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_worker {
    pub size: u32,
    /// 0 for a thread, and when inline
    pub pid: i32,
    /// 0 .. workers-1, reused
    pub slot: u32,
    /// counts reloads
    pub generation: u32,
    /// For gw_server_take, _events, _stop, _wake, _stats, until worker_exit has returned (in a
    /// forked worker: until its process ends).
    pub server: *mut gw_server,
}

/// Gunicorn's names; any may be NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_hooks {
    pub size: u32,
    /// 0
    pub reserved: u32,
    /// of all of them
    pub ctx: *mut c_void,
    /// may be NULL
    pub drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    /// before the application, where it runs: with `threads` many at once
    pub pre_request: Option<unsafe extern "C" fn(ctx: *mut c_void, env: *mut Environ)>,
    /// after the request, there or on the loop's thread: with `threads` many at once.  What was
    /// refused before it was a request (400, 408, 414, 431 ...) is in the access log only
    pub access: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *const gw_access)>,
    /// first in a worker of gw_serve or an arbiter, in the thread of its loop: with
    /// GW_MODEL_THREADS many at once.  An error refuses the worker
    pub worker_init:
        Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker) -> gw_result>,
    /// last in a worker that was not refused, in the same thread
    pub worker_exit: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
}

// SAFETY: repr(C), `size` first, numbers, pointers and functions that may be missing.
unsafe impl Growing for gw_hooks {
    const FIRST: usize = 40;
}

/// [one] A hook takes the place of the one that was set before; NULL leaves that one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_hooks(
    cfg: *mut gw_config,
    hooks: *const gw_hooks,
    err: *mut gw_error,
) -> gw_result {
    let set_all = || {
        // SAFETY: the rules page.
        let (hooks, newer) = unsafe { known(hooks, "hooks") }?;
        let context = Arc::new(Context::new(hooks.ctx, hooks.drop));
        newer.map_or(Ok(()), Err)?;
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        set(&mut *cfg.enter()?, &hooks, &context);
        Ok(())
    };
    // SAFETY: the rules page.
    unsafe { guard_with(err, set_all) }
}

/// The hooks of a module, which live as long as its application.
///
/// # Safety
/// As [`gw_config_hooks`].
pub(super) unsafe fn hooks_of(hooks: *const gw_hooks) -> Result<Hooks> {
    // SAFETY: the caller's promise.
    let (hooks, newer) = unsafe { known(hooks, "hooks") }?;
    let context = Arc::new(Context::new(hooks.ctx, hooks.drop));
    newer.map_or(Ok(()), Err)?;
    let mut cfg = Config::new();
    set(&mut cfg, &hooks, &context);
    Ok(cfg.into_hooks())
}

fn set(cfg: &mut Config, hooks: &gw_hooks, context: &Arc<Context>) {
    if let Some(pre_request) = hooks.pre_request {
        let context = Arc::clone(context);
        cfg.on_request(move |env| {
            // SAFETY: the host's function and context; the request runs.
            unsafe { pre_request(context.get(), std::ptr::from_ref(env).cast_mut()) };
        });
    }
    if let Some(access) = hooks.access {
        let context = Arc::clone(context);
        cfg.on_access(move |done| {
            let done = access_of(done);
            // SAFETY: the host's function and context; the record lives for the call.
            unsafe { access(context.get(), &raw const done) };
        });
    }
    if let Some(worker_init) = hooks.worker_init {
        let context = Arc::clone(context);
        cfg.on_worker_init(move |worker| {
            let worker = worker_of(worker);
            // SAFETY: the host's function and context; the record lives for the call.
            let code = unsafe { worker_init(context.get(), &raw const worker) };
            if code >= 0 {
                return Ok(());
            }
            let kind = Kind::from_code(code).unwrap_or(Kind::App);
            Err(Error::new(kind, format!("worker_init returned {code}: {}", kind.text())))
        });
    }
    if let Some(worker_exit) = hooks.worker_exit {
        let context = Arc::clone(context);
        cfg.on_worker_exit(move |worker| {
            let worker = worker_of(worker);
            // SAFETY: the host's function and context; the record lives for the call.
            unsafe { worker_exit(context.get(), &raw const worker) };
        });
    }
}

fn worker_of(worker: &Worker) -> gw_worker {
    gw_worker {
        size: size_of::<gw_worker>() as u32,
        pid: worker.pid,
        slot: worker.slot,
        generation: worker.generation,
        server: server_of(worker),
    }
}

fn access_of(done: &Access<'_>) -> gw_access {
    gw_access {
        size: size_of::<gw_access>() as u32,
        status: done.status,
        reserved: 0,
        sent: done.sent,
        received: done.received,
        start_ns: done.start_ns,
        took_ns: done.took_ns,
        read_ns: done.read_ns,
        app_ns: done.app_ns,
        // SAFETY: the hook is told that all of it is gone when it returns.
        id: unsafe { done.id.erase() },
        env: done.env,
        headers: done.headers.as_ptr().cast(),
        header_count: done.headers.len(),
    }
}

/// valid during the call
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_log_record {
    pub size: u32,
    /// GW_LOG_*
    pub level: i32,
    /// since the epoch
    pub time_ns: u64,
    /// "arbiter", "http", "app"
    pub target: Octets<'static>,
    /// one line, no newline
    pub message: Octets<'static>,
    /// of the request that it is about, or empty
    pub id: Octets<'static>,
}

pub const GW_LOG_ERROR: i32 = 1;
pub const GW_LOG_WARN: i32 = 2;
pub const GW_LOG_INFO: i32 = 3;
pub const GW_LOG_DEBUG: i32 = 4;

const _: () = assert!(
    GW_LOG_ERROR == Level::Error as i32
        && GW_LOG_WARN == Level::Warn as i32
        && GW_LOG_INFO == Level::Info as i32
        && GW_LOG_DEBUG == Level::Debug as i32
);

/// Takes a record, on any thread, and not after drop has been called.
pub type gw_log_fn = Option<unsafe extern "C" fn(ctx: *mut c_void, record: *const gw_log_record)>;

/// [one] Records up to `level` go to `fn`, and not to the option `errorlog`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_config_log(
    cfg: *mut gw_config,
    level: i32,
    r#fn: gw_log_fn,
    ctx: *mut c_void,
    drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
) -> gw_result {
    guard(|| {
        let context = Context::new(ctx, drop);
        let log = r#fn.ok_or_else(|| Error::new(Kind::Invalid, "fn is NULL"))?;
        let level = level_of(level)?;
        // SAFETY: the rules page.
        let cfg = unsafe { borrow_anywhere(cfg) }?;
        let callback = move |record: &Record<'_>| {
            let record = record_of(record);
            // SAFETY: the host's function and context; the record lives for the call.
            unsafe { log(context.get(), &raw const record) };
        };
        cfg.enter()?.log(level, Box::new(callback));
        Ok(())
    })
}

fn record_of(record: &Record<'_>) -> gw_log_record {
    // SAFETY: the host is told that the record is gone when it returns.
    let octets = |text: &str| unsafe { Octets::from(text).erase() };
    gw_log_record {
        size: size_of::<gw_log_record>() as u32,
        level: record.level as i32,
        time_ns: record.time.unix_ns,
        target: octets(record.target),
        message: octets(record.message),
        id: octets(record.request_id),
    }
}

/// [req] A line in the log about this request: wsgi.errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_log(env: *const Environ, level: i32, text: *const c_char, len: usize) {
    quietly((), || {
        // SAFETY: the rules page.
        let (env, text) = unsafe { (reference(env, "env")?, bytes(text.cast(), len, "text")?) };
        env.exchange()?.log(level_of(level)?, text);
        Ok(())
    });
}

fn level_of(code: i32) -> Result<Level> {
    Level::from_code(code)
        .ok_or_else(|| Error::new(Kind::Invalid, format!("level is {code}: 1 to 4 are known")))
}
