//! Hooks and the log: what the library calls the host for.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::arbiter::{arbiter_of, gw_arbiter};
use super::config::gw_config;
use super::context::Context;
use super::guard::{Growing, bytes, guard, guard_with, known, quietly, reference, report};
use super::object::borrow_anywhere;
use super::requests::{gw_request_info, info_of};
use super::result::{gw_error, gw_result};
use super::server::{gw_server, lend, server_of};
use crate::arbiter::Cause;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Level, Record};
use crate::base::octets::{Octets, Pair};
use crate::gateway::abi::Environ;
use crate::gateway::config::Config;
use crate::gateway::service::{Access, Hooks, Supervisor, Worker};

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

/// what hooks are told of a worker
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_worker {
    pub size: u32,
    /// 0 for a thread, and when inline
    pub pid: i32,
    /// its place, from 0; reused
    pub slot: u32,
    /// counts reloads
    pub generation: u32,
    /// For gw_server_take, _events, _stop, _wake, _stats, until worker_exit has returned (in a
    /// forked worker: until its process ends).  NULL in the arbiter, post_fork and worker_abort.
    pub server: *mut gw_server,
    /// in child_exit, as from waitpid; -1: somebody else has waited for it
    pub exit_status: i32,
    /// in child_exit: GW_CAUSE_*
    pub cause: u32,
    /// "main", or its name as gw_config_pool has it; valid as the whole is
    pub pool: *const c_char,
}

/// for reasons of its own, or somebody else's: exit_status says which
pub const GW_CAUSE_OWN: u32 = 0;
/// it was told to stop
pub const GW_CAUSE_TOLD: u32 = 1;
/// boot_timeout
pub const GW_CAUSE_BOOT: u32 = 2;
/// heartbeat_timeout
pub const GW_CAUSE_SILENT: u32 = 3;
/// graceful_timeout
pub const GW_CAUSE_LATE: u32 = 4;
/// memory_hard
pub const GW_CAUSE_MEMORY: u32 = 5;
/// killed by the system: its control group had no memory left
pub const GW_CAUSE_OUT_OF_MEMORY: u32 = 6;
/// request_timeout, while its loop was in a request
pub const GW_CAUSE_OVERDUE: u32 = 7;

const _: () = assert!(
    GW_CAUSE_OWN == Cause::Own as u32
        && GW_CAUSE_TOLD == Cause::Told as u32
        && GW_CAUSE_BOOT == Cause::Boot as u32
        && GW_CAUSE_SILENT == Cause::Silent as u32
        && GW_CAUSE_LATE == Cause::Late as u32
        && GW_CAUSE_MEMORY == Cause::Memory as u32
        && GW_CAUSE_OUT_OF_MEMORY == Cause::OutOfMemory as u32
        && GW_CAUSE_OVERDUE == Cause::Overdue as u32
);

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
    /// from here to on_exit in the arbiter, in the thread that turns it, where [any] and [sig] calls on
    /// it are possible: it listens, and starts its first worker
    pub on_starting: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
    /// the first workers are all ready
    pub when_ready: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
    /// before each worker that is forked or started; w->pid is 0
    pub pre_fork: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
    /// a worker was started
    pub spawned: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
    /// a worker serves
    pub worker_ready: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
    /// a worker has ended
    pub child_exit: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
    /// there are to be `now` workers
    pub nworkers_changed: Option<unsafe extern "C" fn(ctx: *mut c_void, now: u32, before: u32)>,
    /// a reload begins
    pub on_reload: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
    /// it has ended: failure is NULL, or says why the old workers serve on.  The hook of the old
    /// configuration
    pub reloaded: Option<
        unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter, failure: *const gw_error),
    >,
    /// last; no worker is left
    pub on_exit: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
    /// first in a worker that was forked; an error refuses it
    pub post_fork: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker) -> gw_result>,
    /// in a worker that is to stop quickly, in the thread of its loop
    pub worker_int: Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker)>,
    /// in a forked worker that was sent ABRT, since it is silent: in the signal handler, on any of its
    /// threads; then the process ends.  culprit: the request that its application is in for the
    /// longest time; NULL when it is in none
    pub worker_abort: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            w: *const gw_worker,
            culprit: *const gw_request_info,
        ),
    >,
    /// in the arbiter, as on_starting: the program is about to be started again, for an upgrade
    pub pre_exec: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
    /// between worker_init and worker_exit, in the place of the loop: for event loops of the host's.
    /// It watches gw_server_fd(w->server), calls gw_server_turn for it as for a server of its own, in
    /// any thread, and returns after GW_EOF; an error ends the worker.  Of several, the host's before a
    /// module's
    pub worker_run:
        Option<unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker) -> gw_result>,
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
    cfg.hooks_mut().kept.push(context);
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
            refused("worker_init", code)
        });
    }
    if let Some(worker_run) = hooks.worker_run {
        let context = Arc::clone(context);
        cfg.hooks_mut().worker_run = Some(Box::new(move |worker, turn| {
            let record = worker_of(worker);
            // SAFETY: the host's function and context; the record lives for the call.
            let run = || unsafe { worker_run(context.get(), &raw const record) };
            refused("worker_run", lend(worker, turn, run))
        }));
    }
    if let Some(worker_exit) = hooks.worker_exit {
        let context = Arc::clone(context);
        cfg.on_worker_exit(move |worker| {
            let worker = worker_of(worker);
            // SAFETY: the host's function and context; the record lives for the call.
            unsafe { worker_exit(context.get(), &raw const worker) };
        });
    }
    hooks_of_arbiter(hooks, context, cfg.hooks_mut());
}

/// Those that the arbiter and the process of a worker call.
fn hooks_of_arbiter(hooks: &gw_hooks, context: &Arc<Context>, to: &mut Hooks) {
    macro_rules! set {
        ($to:expr; $($name:ident: |$($arg:ident),+| $call:expr;)*) => { $(
            if let Some($name) = hooks.$name {
                let context = Arc::clone(context);
                $to.$name = Some(Box::new(move |$($arg),+| {
                    let ctx = context.get();
                    $call(ctx, $name)
                }));
            }
        )* };
    }
    type OnArbiter = unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter);
    type OnWorker = unsafe extern "C" fn(ctx: *mut c_void, w: *const gw_worker);
    let arbiter = |ctx, hook: OnArbiter, supervisor: &Supervisor| {
        // SAFETY: the host's function and context; the arbiter is in the middle of a call.
        unsafe { hook(ctx, arbiter_of(supervisor)) };
    };
    let worker = |ctx, hook: OnWorker, worker: &Worker| {
        let worker = worker_of(worker);
        // SAFETY: the host's function and context; the record lives for the call.
        unsafe { hook(ctx, &raw const worker) };
    };
    set! { to.arbiter;
        on_starting: |it| |ctx, hook| arbiter(ctx, hook, it);
        when_ready: |it| |ctx, hook| arbiter(ctx, hook, it);
        on_reload: |it| |ctx, hook| arbiter(ctx, hook, it);
        on_exit: |it| |ctx, hook| arbiter(ctx, hook, it);
        pre_exec: |it| |ctx, hook| arbiter(ctx, hook, it);
        pre_fork: |it| |ctx, hook| worker(ctx, hook, it);
        spawned: |it| |ctx, hook| worker(ctx, hook, it);
        worker_ready: |it| |ctx, hook| worker(ctx, hook, it);
        child_exit: |it| |ctx, hook| worker(ctx, hook, it);
    }
    set! { to;
        worker_int: |it| |ctx, hook| worker(ctx, hook, it);
    }
    if let Some(worker_abort) = hooks.worker_abort {
        let context = Arc::clone(context);
        to.worker_abort = Some(Box::new(move |worker, culprit| {
            let (worker, culprit) = (worker_of(worker), culprit.map(info_of));
            let culprit = culprit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: the host's function and context; the records live for the call.
            unsafe { worker_abort(context.get(), &raw const worker, culprit) };
        }));
    }
    if let Some(nworkers_changed) = hooks.nworkers_changed {
        let context = Arc::clone(context);
        to.arbiter.nworkers_changed = Some(Box::new(move |now, before| {
            // SAFETY: the host's function and context.
            unsafe { nworkers_changed(context.get(), now, before) };
        }));
    }
    if let Some(reloaded) = hooks.reloaded {
        let context = Arc::clone(context);
        to.arbiter.reloaded = Some(Box::new(move |supervisor, failure| {
            let mut err = gw_error::EMPTY;
            if let Some(failure) = failure {
                // SAFETY: `err` is whole, and lives here.
                unsafe { report(&raw mut err, failure) };
            }
            let err = failure.map_or(std::ptr::null(), |_| &raw const err);
            // SAFETY: the host's function and context; the error lives for the call.
            unsafe { reloaded(context.get(), arbiter_of(supervisor), err) };
        }));
    }
    if let Some(post_fork) = hooks.post_fork {
        let context = Arc::clone(context);
        to.post_fork = Some(Box::new(move |worker| {
            let worker = worker_of(worker);
            // SAFETY: the host's function and context; the record lives for the call.
            let code = unsafe { post_fork(context.get(), &raw const worker) };
            refused("post_fork", code)
        }));
    }
}

/// What a hook that may refuse a worker has returned.
fn refused(hook: &str, code: gw_result) -> Result<()> {
    if code >= 0 {
        return Ok(());
    }
    let kind = Kind::from_code(code).unwrap_or(Kind::App);
    Err(Error::new(kind, format!("{hook} returned {code}: {}", kind.text())))
}

fn worker_of(worker: &Worker) -> gw_worker {
    gw_worker {
        size: size_of::<gw_worker>() as u32,
        pid: worker.pid,
        slot: worker.slot,
        generation: worker.generation,
        server: server_of(worker),
        exit_status: worker.exit_status,
        cause: worker.cause,
        pool: worker.pool.as_c().as_ptr(),
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
