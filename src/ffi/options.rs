//! The options: their numbers, and the table of them for tools.

#![allow(dead_code)] // C reads the constants; config/tests.rs compares them with the table.

use std::ffi::{CStr, c_char};

use super::guard::{Growing, fill, guard, out, reference};
use super::result::{GW_EOF, GW_OK, gw_result};
use crate::conf::options::options;
use crate::conf::settings::{AcceptMode, WorkerModel};
use crate::conf::trust::ProxyProtocol;

/// processes, or threads
pub const GW_OPT_WORKERS: u32 = 1;
/// GW_MODEL_*
pub const GW_OPT_WORKER_MODEL: u32 = 2;
/// of a worker; auto by name only
pub const GW_OPT_THREADS: u32 = 3;
/// ms
pub const GW_OPT_HEARTBEAT_TIMEOUT: u32 = 4;
/// ms
pub const GW_OPT_GRACEFUL_TIMEOUT: u32 = 5;
/// ms
pub const GW_OPT_KEEPALIVE: u32 = 6;
/// of a worker
pub const GW_OPT_MAX_REQUESTS: u32 = 7;
/// octets
pub const GW_OPT_MAX_BODY: u32 = 8;
/// 1 in gw_serve, else 0, unless set
pub const GW_OPT_SIGNALS: u32 = 9;
/// by name only
pub const GW_OPT_BIND: u32 = 10;
/// connections that wait
pub const GW_OPT_BACKLOG: u32 = 11;
/// of one worker
pub const GW_OPT_WORKER_CONNECTIONS: u32 = 12;
/// octets
pub const GW_OPT_LIMIT_REQUEST_LINE: u32 = 13;
/// number
pub const GW_OPT_LIMIT_REQUEST_FIELDS: u32 = 14;
/// octets
pub const GW_OPT_LIMIT_REQUEST_FIELD_SIZE: u32 = 15;
/// octets
pub const GW_OPT_LIMIT_REQUEST_HEAD: u32 = 16;
/// ms
pub const GW_OPT_HEADER_TIMEOUT: u32 = 17;
/// ms
pub const GW_OPT_BODY_TIMEOUT: u32 = 18;
/// ms
pub const GW_OPT_WRITE_TIMEOUT: u32 = 19;
/// 0: bodies stream
pub const GW_OPT_REQUEST_BUFFERING: u32 = 20;
/// octets
pub const GW_OPT_BODY_BUFFER: u32 = 21;
/// by name only
pub const GW_OPT_SPOOL_DIR: u32 = 22;
/// by name only
pub const GW_OPT_ACCESSLOG: u32 = 23;
/// by name only
pub const GW_OPT_ERRORLOG: u32 = 24;
/// GW_LOG_*
pub const GW_OPT_LOGLEVEL: u32 = 25;
/// by name only
pub const GW_OPT_ACCESS_LOG_FORMAT: u32 = 26;
/// octets
pub const GW_OPT_OUTPUT_BUFFER: u32 = 27;
/// requests that wait
pub const GW_OPT_QUEUE_LIMIT: u32 = 28;
/// ms
pub const GW_OPT_QUEUE_TIMEOUT: u32 = 29;
/// 0 or 1
pub const GW_OPT_PRELOAD: u32 = 30;
/// ms
pub const GW_OPT_BOOT_TIMEOUT: u32 = 31;
/// workers
pub const GW_OPT_RELOAD_PARALLEL: u32 = 32;
/// requests
pub const GW_OPT_MAX_REQUESTS_JITTER: u32 = 33;
/// workers
pub const GW_OPT_MAX_RECYCLING: u32 = 34;
/// ms
pub const GW_OPT_MAX_LIFETIME: u32 = 35;
/// ms
pub const GW_OPT_REQUEST_TIMEOUT: u32 = 36;
/// ms
pub const GW_OPT_STREAM_TIMEOUT: u32 = 37;
/// 0 or 1
pub const GW_OPT_FORK_UNSAFE: u32 = 38;
/// by name only
pub const GW_OPT_PIDFILE: u32 = 39;
/// by name only
pub const GW_OPT_USER: u32 = 40;
/// by name only
pub const GW_OPT_GROUP: u32 = 41;
/// 022, say; auto by name only
pub const GW_OPT_UMASK: u32 = 42;
/// 1 in gw_serve, else 0, unless set
pub const GW_OPT_SYSTEMD: u32 = 43;
/// 0 or 1
pub const GW_OPT_REAP_ORPHANS: u32 = 44;
/// ms
pub const GW_OPT_LAME_DUCK: u32 = 50;
/// GW_ACCEPT_*
pub const GW_OPT_ACCEPT_MODE: u32 = 51;
/// of one worker
pub const GW_OPT_WORKER_REQUESTS: u32 = 52;
/// by name only
pub const GW_OPT_HEALTH_PATH: u32 = 53;
/// octets
pub const GW_OPT_MEMORY_SOFT: u32 = 60;
/// octets
pub const GW_OPT_MEMORY_HARD: u32 = 61;
/// by name only
pub const GW_OPT_FORWARDED_ALLOW_IPS: u32 = 70;
/// GW_PROXY_*
pub const GW_OPT_PROXY_PROTOCOL: u32 = 71;
/// by name only
pub const GW_OPT_PROXY_ALLOW_IPS: u32 = 72;
/// truth
pub const GW_OPT_FORWARDED_FOR: u32 = 73;
/// truth; auto by name only
pub const GW_OPT_TIMINGS: u32 = 80;
/// by name only
pub const GW_OPT_METRICS_PATH: u32 = 81;
/// by name only
pub const GW_OPT_STATS_PATH: u32 = 82;
/// truth
pub const GW_OPT_STATS_ONLY: u32 = 83;
/// ms
pub const GW_OPT_SLOW_REQUEST: u32 = 84;
/// by name only
pub const GW_OPT_CONTROL_SOCKET: u32 = 90;

/// this thread, this process
pub const GW_MODEL_INLINE: u32 = 0;
/// loops in threads of this process
pub const GW_MODEL_THREADS: u32 = 1;
/// processes are forked
pub const GW_MODEL_FORK: u32 = 2;
/// processes are this program, started again: in those gw_serve is the worker
pub const GW_MODEL_EXEC: u32 = 3;

/// all workers from one socket for each address
pub const GW_ACCEPT_SHARED: u32 = 0;
/// each from one of its own (SO_REUSEPORT)
pub const GW_ACCEPT_REUSEPORT: u32 = 1;

/// connections begin without the PROXY protocol
pub const GW_PROXY_OFF: u32 = 0;
/// with a header of either version
pub const GW_PROXY_AUTO: u32 = 1;
/// of version 1
pub const GW_PROXY_V1: u32 = 2;
/// of version 2
pub const GW_PROXY_V2: u32 = 3;

const _: () = assert!(
    GW_PROXY_OFF == ProxyProtocol::Off as u32
        && GW_PROXY_AUTO == ProxyProtocol::Auto as u32
        && GW_PROXY_V1 == ProxyProtocol::V1 as u32
        && GW_PROXY_V2 == ProxyProtocol::V2 as u32
);

const _: () = assert!(
    GW_ACCEPT_SHARED == AcceptMode::Shared as u32
        && GW_ACCEPT_REUSEPORT == AcceptMode::Reuseport as u32
);

const _: () = assert!(
    GW_MODEL_INLINE == WorkerModel::Inline as u32
        && GW_MODEL_THREADS == WorkerModel::Threads as u32
        && GW_MODEL_FORK == WorkerModel::Fork as u32
        && GW_MODEL_EXEC == WorkerModel::Exec as u32
);

/// what the options are, for tools
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_option {
    pub size: u32,
    /// GW_OPT_*
    pub id: u32,
    /// of gw_config_set
    pub name: *const c_char,
    /// "int", "bool", "ms", "size", "enum", "text", "path", "list"
    pub kind: *const c_char,
    /// as gw_config_set takes it
    pub preset: *const c_char,
    /// a sentence or two
    pub help: *const c_char,
}

// SAFETY: repr(C), `size` first, numbers and pointers.
unsafe impl Growing for gw_option {
    const FIRST: usize = 40;
}

/// [any] One option at a time, in the order of their numbers: start with *cursor = 0; GW_EOF at the
/// end.  The texts are static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gw_option_next(cursor: *mut u32, out: *mut gw_option) -> gw_result {
    guard(|| {
        // SAFETY: the rules page.
        let at = *unsafe { reference(cursor, "cursor") }?;
        let Some(option) = options().get(at as usize) else {
            return Ok(GW_EOF);
        };
        let [name, kind, preset, help] = option.c_strings().map(CStr::as_ptr);
        let row = gw_option { size: 0, id: option.id(), name, kind, preset, help };
        // SAFETY: the rules page.
        unsafe {
            fill(out, &row, "out")?;
            self::out(cursor, "cursor")?.set(at + 1);
        }
        Ok(GW_OK)
    })
}
