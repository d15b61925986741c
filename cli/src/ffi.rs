//! The part of `gateway.h` that the command uses, by hand; a test compares it with the header.
#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_void};

pub(crate) type gw_result = i32;

pub(crate) const GW_OK: gw_result = 0;
pub(crate) const GW_EOF: gw_result = 2;

/// Opaque.
#[repr(C)]
pub(crate) struct gw_config {
    _private: [u8; 0],
}

/// Opaque.
#[repr(C)]
pub(crate) struct gw_arbiter {
    _private: [u8; 0],
}

#[repr(C)]
pub(crate) struct gw_error {
    pub(crate) size: u32,
    pub(crate) code: gw_result,
    pub(crate) os_errno: i32,
    pub(crate) exit_status: i32,
    pub(crate) message: [c_char; 240],
}

/// An application as the library hands it out and takes it; nobody here calls it.
#[repr(C)]
pub(crate) struct gw_app {
    pub(crate) size: u32,
    pub(crate) flags: u32,
    pub(crate) call: Option<unsafe extern "C" fn()>,
    pub(crate) ctx: *mut c_void,
    pub(crate) drop: Option<unsafe extern "C" fn(ctx: *mut c_void)>,
    pub(crate) name: *const c_char,
}

#[repr(C)]
pub(crate) struct gw_listener {
    pub(crate) size: u32,
    pub(crate) protocol: u32,
    pub(crate) address: *const c_char,
    pub(crate) fd: i32,
    pub(crate) backlog: i32,
    pub(crate) flags: u32,
    pub(crate) mode: u32,
    pub(crate) options: *const c_char,
}

/// As much of it as is used: members past `size` read as zero.
#[repr(C)]
pub(crate) struct gw_hooks {
    pub(crate) size: u32,
    pub(crate) reserved: u32,
    pub(crate) ctx: *mut c_void,
    pub(crate) drop: Option<drop_fn>,
    pub(crate) pre_request: Option<unsafe extern "C" fn()>,
    pub(crate) access: Option<unsafe extern "C" fn()>,
    pub(crate) worker_init: Option<unsafe extern "C" fn()>,
    pub(crate) worker_exit: Option<unsafe extern "C" fn()>,
    pub(crate) on_starting: Option<unsafe extern "C" fn(ctx: *mut c_void, a: *mut gw_arbiter)>,
}

#[repr(C)]
pub(crate) struct gw_option {
    pub(crate) size: u32,
    pub(crate) id: u32,
    pub(crate) name: *const c_char,
    pub(crate) kind: *const c_char,
    pub(crate) preset: *const c_char,
    pub(crate) help: *const c_char,
}

pub(crate) const GW_PROTO_HTTP: u32 = 0;
pub(crate) const GW_PROTO_UWSGI: u32 = 1;
pub(crate) const GW_PROTO_FASTCGI: u32 = 2;
pub(crate) const GW_PROTO_SCGI: u32 = 3;
pub(crate) const GW_PROTO_AUTO: u32 = 4;

pub(crate) type gw_middleware_fn = unsafe extern "C" fn(
    ctx: *mut c_void,
    inner: *const gw_app,
    outer: *mut gw_app,
    err: *mut gw_error,
) -> gw_result;

pub(crate) type report_fn = unsafe extern "C" fn(ctx: *mut c_void, problem: *const gw_error);

pub(crate) type drop_fn = unsafe extern "C" fn(ctx: *mut c_void);

#[link(name = "gateway", kind = "dylib")]
unsafe extern "C" {
    pub(crate) fn gw_version() -> *const c_char;
    pub(crate) fn gw_option_next(cursor: *mut u32, out: *mut gw_option) -> gw_result;
    pub(crate) fn gw_result_text(rc: gw_result) -> *const c_char;

    pub(crate) fn gw_config_new() -> *mut gw_config;
    pub(crate) fn gw_config_free(cfg: *mut gw_config);
    pub(crate) fn gw_config_set(
        cfg: *mut gw_config,
        key: *const c_char,
        value: *const c_char,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_get(
        cfg: *const gw_config,
        key: *const c_char,
        buf: *mut c_char,
        cap: usize,
        len: *mut usize,
    ) -> gw_result;
    pub(crate) fn gw_config_listen(
        cfg: *mut gw_config,
        listener: *const gw_listener,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_mount(
        cfg: *mut gw_config,
        place: *const c_char,
        app: *const gw_app,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_module(
        cfg: *mut gw_config,
        place: *const c_char,
        path: *const c_char,
        args: *const c_char,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_use(
        cfg: *mut gw_config,
        middleware: gw_middleware_fn,
        ctx: *mut c_void,
        drop: Option<drop_fn>,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_use_at(
        cfg: *mut gw_config,
        place: *const c_char,
        middleware: gw_middleware_fn,
        ctx: *mut c_void,
        drop: Option<drop_fn>,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_hooks(
        cfg: *mut gw_config,
        hooks: *const gw_hooks,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_pool(
        cfg: *mut gw_config,
        name: *const c_char,
        pool: *mut gw_config,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_config_check(
        cfg: *const gw_config,
        report: Option<report_fn>,
        ctx: *mut c_void,
    ) -> gw_result;
    pub(crate) fn gw_app_builtin(
        name: *const c_char,
        args: *const c_char,
        out: *mut gw_app,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_middleware_builtin(
        ctx: *mut c_void,
        inner: *const gw_app,
        outer: *mut gw_app,
        err: *mut gw_error,
    ) -> gw_result;

    pub(crate) fn gw_serve(cfg: *mut gw_config, err: *mut gw_error) -> gw_result;
    pub(crate) fn gw_is_worker() -> i32;
    pub(crate) fn gw_arbiter_new(
        cfg: *mut gw_config,
        out: *mut *mut gw_arbiter,
        err: *mut gw_error,
    ) -> gw_result;
    pub(crate) fn gw_arbiter_start(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result;
    pub(crate) fn gw_arbiter_fd(a: *const gw_arbiter) -> i32;
    pub(crate) fn gw_arbiter_turn(a: *mut gw_arbiter, wait_ms: *mut i64) -> gw_result;
    pub(crate) fn gw_arbiter_run(a: *mut gw_arbiter, err: *mut gw_error) -> gw_result;
    pub(crate) fn gw_arbiter_reload(a: *mut gw_arbiter, cfg: *mut gw_config) -> gw_result;
    pub(crate) fn gw_arbiter_free(a: *mut gw_arbiter);
}
