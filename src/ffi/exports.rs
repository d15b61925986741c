//! All that the library exports, by name.
//!
//! A program that has the library in itself (`libgateway.a`) takes from the archive what it uses, and
//! here it uses everything: a module that it loads may need more than the program does.

use std::ffi::{CStr, c_void};

/// A function, and what it is called.
pub(super) struct Export {
    pub(super) name: &'static CStr,
    pub(super) address: *const c_void,
}

// SAFETY: an address of code, which is only compared.
unsafe impl Sync for Export {}

macro_rules! exports {
    ($($file:ident: $($name:ident),+;)*) => {
        /// In no order.
        pub(super) static EXPORTS: &[Export] = &[$($(Export {
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            address: super::$file::$name as *const c_void,
        },)+)*];
    };
}

exports! {
    app: gw_app_builtin, gw_app_call, gw_fail, gw_middleware_builtin, gw_reply;
    arbiter: gw_arbiter_scale_pool, gw_arbiter_fd, gw_arbiter_free, gw_arbiter_listeners, gw_arbiter_new, gw_arbiter_reaped, gw_arbiter_reload, gw_arbiter_requests, gw_arbiter_run, gw_arbiter_scale, gw_arbiter_signal, gw_arbiter_start, gw_arbiter_stats, gw_arbiter_stop, gw_arbiter_turn, gw_arbiter_upgrade, gw_arbiter_wait, gw_is_worker, gw_serve;
    body: gw_body_bytes, gw_body_copy, gw_body_file;
    config: gw_config_pool, gw_config_app, gw_config_check, gw_config_free, gw_config_get, gw_config_listen, gw_config_module, gw_config_mount, gw_config_new, gw_config_set, gw_config_set_int, gw_config_use, gw_config_use_at;
    deferred: gw_defer, gw_deferred_end, gw_deferred_environ, gw_deferred_read, gw_deferred_reply, gw_deferred_reply_flat, gw_deferred_resume, gw_deferred_resume_after, gw_deferred_start, gw_deferred_watch, gw_deferred_write;
    environ: gw_environ_alloc, gw_environ_at, gw_environ_cstr, gw_environ_derive, gw_environ_get, gw_environ_gone, gw_environ_next, gw_environ_put, gw_environ_query, gw_environ_set, gw_environ_vars;
    hooks: gw_config_hooks, gw_config_log, gw_log;
    host: gw_exchange_feed, gw_exchange_free, gw_exchange_head, gw_exchange_new, gw_exchange_pull, gw_exchange_queued, gw_exchange_run, gw_exchange_user, gw_host_check, gw_host_fd, gw_host_free, gw_host_new, gw_host_next, gw_host_stats;
    input: gw_read, gw_read_all, gw_read_line;
    options: gw_option_next;
    result: gw_result_name, gw_result_text;
    server: gw_server_adopt, gw_server_cork, gw_server_events, gw_server_fd, gw_server_free, gw_server_listeners, gw_server_new, gw_server_stats, gw_server_stop, gw_server_take, gw_server_turn, gw_server_wake;
    version: gw_abi, gw_features, gw_version, gw_version_number;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_are_all() {
        let text = include_str!("../../tests/abi/symbols.txt");
        let mut names: Vec<_> = EXPORTS.iter().map(|it| it.name.to_str().unwrap()).collect();
        names.sort_unstable();
        let listed: Vec<_> = text.lines().filter(|line| line.starts_with("gw_")).collect();
        assert_eq!(names, listed, "src/ffi/exports.rs, tests/abi/symbols.txt");
    }
}
