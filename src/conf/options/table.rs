//! The table: every option with its number, name, kind, bounds, preset and help.

use std::ffi::CStr;

use crate::base::log::Level;
use crate::conf::settings::{AcceptMode, WorkerModel};
use crate::conf::trust::ProxyProtocol;

use super::{Choices, Field, MEMORY_MAX, Opt, Slot, here};

/// What is known of `worker_model`.
const MODELS: Choices = &[
    here("inline", WorkerModel::Inline as i64),
    here("threads", WorkerModel::Threads as i64),
    here("fork", WorkerModel::Fork as i64),
    here("exec", WorkerModel::Exec as i64),
];

/// From which sockets workers accept.
const ACCEPT_MODES: Choices =
    &[here("shared", AcceptMode::Shared as i64), here("reuseport", AcceptMode::Reuseport as i64)];

/// The levels, and gunicorn's word for one of them.
const LEVELS: Choices = &[
    here("error", Level::Error as i64),
    here("warn", Level::Warn as i64),
    here("warning", Level::Warn as i64),
    here("info", Level::Info as i64),
    here("debug", Level::Debug as i64),
];

/// gunicorn's words, and those of a switch.
const PROXY_PROTOCOLS: Choices = &[
    here("off", ProxyProtocol::Off as i64),
    here("v1", ProxyProtocol::V1 as i64),
    here("v2", ProxyProtocol::V2 as i64),
    here("auto", ProxyProtocol::Auto as i64),
    here("0", ProxyProtocol::Off as i64),
    here("1", ProxyProtocol::Auto as i64),
];

macro_rules! field {
    ($name:ident) => {
        Field { get: |settings| &settings.$name, get_mut: |settings| &mut settings.$name }
    };
}

macro_rules! int {
    ($name:ident, $min:expr, $max:expr) => {
        Slot::Int { at: field!($name), min: $min, max: $max }
    };
}

macro_rules! size {
    ($name:ident, $min:expr, $max:expr) => {
        Slot::Size { at: field!($name), min: $min, max: $max }
    };
}

const fn opt(
    id: u32,
    name: &'static CStr,
    slot: Slot,
    preset: &'static CStr,
    help: &'static CStr,
) -> Opt {
    Opt { id, name, preset, help, slot }
}

pub(super) static OPTIONS: [Opt; 60] = [
    opt(
        1,
        c"workers",
        int!(workers, 0, 1024),
        c"0",
        c"How many workers. 0: one for each CPU that the control group grants.",
    ),
    opt(
        2,
        c"worker_model",
        Slot::Enum {
            choices: MODELS,
            get: |settings| settings.worker_model as i64,
            set: |settings, n| {
                settings.worker_model = match n {
                    0 => WorkerModel::Inline,
                    1 => WorkerModel::Threads,
                    3 => WorkerModel::Exec,
                    _ => WorkerModel::Fork,
                };
            },
        },
        c"fork",
        c"How a worker comes to be. inline: the calling thread serves; threads: loops in threads of \
          this process, which can be told to stop and not be killed; fork: processes are forked; \
          exec: processes are this program, started again, for hosts that have threads.",
    ),
    opt(
        3,
        c"threads",
        Slot::AutoInt { at: field!(threads), max: 1024 },
        c"auto",
        c"Threads of a worker that run its applications. 0: they run on the loop. auto: 1 for those that \
          may block; those that never do, or that are serial, run on the loop.",
    ),
    opt(
        4,
        c"heartbeat_timeout",
        Slot::Duration(field!(heartbeat_timeout)),
        c"30s",
        c"How long the loop of a worker may give no sign of life, and a thread of it be in the \
          application without reading or writing: then the worker is sent ABRT, and KILL a second \
          later. A worker that is a thread cannot be killed; it is told to stop. 0: any time.",
    ),
    opt(
        5,
        c"graceful_timeout",
        Slot::Duration(field!(graceful_timeout)),
        c"30s",
        c"How long requests in flight may take after a graceful stop began. 0: they are cut.",
    ),
    opt(
        6,
        c"keepalive",
        Slot::Duration(field!(keepalive)),
        c"5s",
        c"How long a connection waits for its next request. 0: connections are never kept.",
    ),
    opt(
        7,
        c"max_requests",
        int!(max_requests, 0, i32::MAX as u32),
        c"0",
        c"Requests after which a worker of an arbiter leaves, and is replaced. 0: it stays.",
    ),
    opt(
        8,
        c"max_body",
        size!(max_body, 0, i64::MAX as u64),
        c"1g",
        c"Octets of a request body; more is answered with 413. 0: no limit.",
    ),
    opt(
        9,
        c"signals",
        Slot::AutoBool(field!(signals)),
        c"auto",
        c"Whether the library handles signals: TERM, INT and QUIT stop it, HUP reloads, TTIN and TTOU \
          change the number of workers, USR1 opens the logs again, USR2 begins an upgrade. auto: in \
          gw_serve only.",
    ),
    opt(
        10,
        c"bind",
        Slot::Listeners(field!(listeners)),
        c"",
        c"Addresses to listen on, separated by commas; each use adds. None: 127.0.0.1:8000 in \
          gw_serve.",
    ),
    opt(
        11,
        c"backlog",
        int!(backlog, 1, 65_535),
        c"2048",
        c"Connections that wait to be accepted; the system may allow fewer.",
    ),
    opt(
        12,
        c"worker_connections",
        int!(worker_connections, 1, 1_000_000),
        c"1000",
        c"Connections that one worker holds; more wait in the backlog.",
    ),
    opt(
        13,
        c"limit_request_line",
        size!(limit_request_line, 1, MEMORY_MAX),
        c"4094",
        c"Octets of a request line; more is answered with 414.",
    ),
    opt(
        14,
        c"limit_request_fields",
        int!(limit_request_fields, 1, 32_768),
        c"100",
        c"Header fields of a request; more are answered with 431.",
    ),
    opt(
        15,
        c"limit_request_field_size",
        size!(limit_request_field_size, 1, MEMORY_MAX),
        c"8190",
        c"Octets of one header line; more is answered with 431.",
    ),
    opt(
        16,
        c"limit_request_head",
        size!(limit_request_head, 64, MEMORY_MAX),
        c"64k",
        c"Octets of a whole request head; more is answered with 431.",
    ),
    opt(
        17,
        c"header_timeout",
        Slot::Duration(field!(header_timeout)),
        c"30s",
        c"How long a request head may take from its first octet to its last. 0: no limit.",
    ),
    opt(
        18,
        c"body_timeout",
        Slot::Duration(field!(body_timeout)),
        c"30s",
        c"How long a client may pause within a request body. 0: no limit.",
    ),
    opt(
        19,
        c"write_timeout",
        Slot::Duration(field!(write_timeout)),
        c"30s",
        c"How long a client may take nothing of a response. 0: no limit.",
    ),
    opt(
        20,
        c"request_buffering",
        Slot::Bool(field!(request_buffering)),
        c"1",
        c"1: the application is called when the request body is complete. 0: when the head is, and \
          the body streams.",
    ),
    opt(
        21,
        c"body_buffer",
        size!(body_buffer, 0, MEMORY_MAX),
        c"64k",
        c"Octets of a request body that are kept in memory; a longer one goes to an unlinked \
          temporary file.",
    ),
    opt(
        22,
        c"spool_dir",
        Slot::Path(field!(spool_dir)),
        c"",
        c"Where those files are made. Empty: the system's directory for temporary files.",
    ),
    opt(
        23,
        c"accesslog",
        Slot::Output(field!(accesslog)),
        c"",
        c"Where the access log goes. -: standard output. Empty: nowhere.",
    ),
    opt(
        24,
        c"errorlog",
        Slot::AutoOutput(field!(errorlog)),
        c"auto",
        c"Where the error log goes. -: standard error. Empty: nowhere. auto: - in gw_serve, else \
          nowhere.",
    ),
    opt(
        25,
        c"loglevel",
        Slot::Enum {
            choices: LEVELS,
            get: |settings| settings.loglevel as i64,
            set: |settings, n| {
                let level = i32::try_from(n).ok().and_then(Level::from_code);
                settings.loglevel = level.unwrap_or(Level::Info);
            },
        },
        c"info",
        c"What the error log leaves out: all that is less grave than this.",
    ),
    opt(
        26,
        c"access_log_format",
        Slot::Text(field!(access_log_format)),
        c"%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"",
        c"A line of the access log, in gunicorn's atoms. json: an object for each request, phases and \
          trace included.",
    ),
    opt(
        27,
        c"output_buffer",
        size!(output_buffer, 1, MEMORY_MAX),
        c"64k",
        c"Octets that may wait for a slow client before the application is paused.",
    ),
    opt(
        28,
        c"queue_limit",
        int!(queue_limit, 1, 1 << 20),
        c"1024",
        c"Requests that wait for a thread of the worker, or to be taken; more are answered with 503.",
    ),
    opt(
        29,
        c"queue_timeout",
        Slot::Duration(field!(queue_timeout)),
        c"0",
        c"How long a request may wait for a thread, or to be taken; one that waited longer is \
          answered with 503. 0: any time.",
    ),
    opt(
        30,
        c"preload",
        Slot::Bool(field!(preload)),
        c"0",
        c"When a module is loaded, if workers are forked. 0: by each worker after the fork, so that \
          new workers run new code. 1: before the fork: memory is shared, and only a new process \
          runs new code.",
    ),
    opt(
        31,
        c"boot_timeout",
        Slot::Duration(field!(boot_timeout)),
        c"90s",
        c"How long a worker may take from its start until it serves; one that takes longer has \
          failed to boot. 0: any time.",
    ),
    opt(
        32,
        c"reload_parallel",
        int!(reload_parallel, 1, 64),
        c"1",
        c"How many workers more than usual there may be during a reload.",
    ),
    opt(
        33,
        c"max_requests_jitter",
        int!(max_requests_jitter, 0, i32::MAX as u32),
        c"0",
        c"A random number from 0 to this is added to the max_requests of each worker.",
    ),
    opt(
        34,
        c"max_recycling",
        int!(max_recycling, 1, 1024),
        c"1",
        c"How many workers may be away at once since they reached max_requests or max_lifetime; \
          the others serve on until it is their turn.",
    ),
    opt(
        35,
        c"max_lifetime",
        Slot::Duration(field!(max_lifetime)),
        c"0",
        c"How long a worker lives before it is replaced; up to a tenth is added at random. 0: as \
          long as it can.",
    ),
    opt(
        36,
        c"request_timeout",
        Slot::Duration(field!(request_timeout)),
        c"0",
        c"How long a request may take from when the application is to be called until its answer \
          begins; then it is answered with 504. A worker of whose threads one does not come back is \
          replaced. 0: any time.",
    ),
    opt(
        37,
        c"stream_timeout",
        Slot::Duration(field!(stream_timeout)),
        c"0",
        c"How long an answer may take from its head to its end; then it is cut. 0: any time.",
    ),
    opt(
        38,
        c"fork_unsafe",
        Slot::Bool(field!(fork_unsafe)),
        c"0",
        c"Whether workers are forked although the process has threads, which is an error otherwise: a \
          lock that one of them holds stays locked in the worker. 1: it is a line in the log.",
    ),
    opt(
        39,
        c"pidfile",
        Slot::Path(field!(pidfile)),
        c"",
        c"A file for the id of the process, written when the addresses are bound and removed at the \
          end. One that names another process that lives is an error; a stale one is replaced. \
          Empty: none.",
    ),
    opt(
        40,
        c"user",
        Slot::Text(field!(user)),
        c"",
        c"Who serves, by name or number: workers that are processes become that before they have an \
          application, with all groups of the user; with inline and threads, which gw_serve alone \
          allows, the process itself does. Empty: whoever starts it.",
    ),
    opt(
        41,
        c"group",
        Slot::Text(field!(group)),
        c"",
        c"The group of those who serve, by name or number. Empty: the user's.",
    ),
    opt(
        42,
        c"umask",
        Slot::AutoMask(field!(umask)),
        c"auto",
        c"What new files of those who serve are not to allow, set when user and group are. auto: \
          as it is.",
    ),
    opt(
        43,
        c"systemd",
        Slot::AutoBool(field!(systemd)),
        c"auto",
        c"Whether to heed NOTIFY_SOCKET, WATCHDOG_USEC and LISTEN_FDS: systemd is told when the \
          server is ready, reloads, stops and lives, and without bind the sockets are listened on \
          that it has passed. auto: in gw_serve only.",
    ),
    opt(
        44,
        c"reap_orphans",
        Slot::Bool(field!(reap_orphans)),
        c"0",
        c"Whether all children of the process that are no workers are nobody's, and are waited for: \
          for process 1 of a container. What the program itself waits for loses its status.",
    ),
    opt(
        50,
        c"lame_duck",
        Slot::Duration(field!(lame_duck)),
        c"0",
        c"How long a server that was told to stop gracefully serves on as before, and says only that it \
          is not ready, so that no more is sent to it; a second TERM ends that time. 0: it stops at \
          once.",
    ),
    opt(
        51,
        c"accept_mode",
        Slot::Enum {
            choices: ACCEPT_MODES,
            get: |settings| settings.accept_mode as i64,
            set: |settings, n| {
                settings.accept_mode =
                    if n == 0 { AcceptMode::Shared } else { AcceptMode::Reuseport };
            },
        },
        c"shared",
        c"shared: all workers accept from one socket for each address, and whoever has more \
          connections than the others lets them go first. reuseport: a socket for each worker at \
          each internet address, between which the system chooses without a look at the load.",
    ),
    opt(
        52,
        c"worker_requests",
        int!(worker_requests, 0, 1 << 20),
        c"0",
        c"Requests that the application of one worker has at once, those that wait for a thread \
          included; more are answered with 503. 0: no limit of its own.",
    ),
    opt(
        53,
        c"health_path",
        Slot::Text(field!(health_path)),
        c"",
        c"Where a load balancer asks whether the server is well: one request for this path is let \
          through beside worker_requests, connections that are idle give way at worker_connections, \
          and in lame_duck it is answered with 503. Empty: there is none.",
    ),
    opt(
        60,
        c"memory_soft",
        size!(memory_soft, 0, i64::MAX as u64),
        c"0",
        c"Octets of memory that a worker may have resident (RSS, as top shows it) before it is \
          replaced, when its requests are answered. Looked at each second. 0: any. Without effect \
          where workers are threads.",
    ),
    opt(
        61,
        c"memory_hard",
        size!(memory_hard, 0, i64::MAX as u64),
        c"0",
        c"Octets of memory at which a worker is killed. 0: none. As memory_soft.",
    ),
    opt(
        70,
        c"forwarded_allow_ips",
        Slot::Networks(field!(forwarded_allow_ips)),
        c"127.0.0.1,::1,unix",
        c"The web servers in front, by the addresses that they connect from; unix: whoever can reach a \
          unix socket. What they say of their client is believed: X-Forwarded-Proto, -Protocol, -Ssl and \
          Forwarded decide wsgi.url_scheme, and so does HTTPS in uwsgi, FastCGI and SCGI, where \
          REMOTE_ADDR, REMOTE_USER and their like count, too. From others, none of it means anything. \
          Of one listener: trust.",
    ),
    opt(
        71,
        c"proxy_protocol",
        Slot::Enum {
            choices: PROXY_PROTOCOLS,
            get: |settings| settings.proxy_protocol as i64,
            set: |settings, n| {
                settings.proxy_protocol = match n {
                    1 => ProxyProtocol::Auto,
                    2 => ProxyProtocol::V1,
                    3 => ProxyProtocol::V2,
                    _ => ProxyProtocol::Off,
                };
            },
        },
        c"off",
        c"Whether connections begin with a header of the PROXY protocol, and of which version; auto or \
          1: of either. It says who the client is. A connection without one is closed, but for a \
          listener that finds out by itself what is spoken.",
    ),
    opt(
        72,
        c"proxy_allow_ips",
        Slot::Networks(field!(proxy_allow_ips)),
        c"127.0.0.1,::1,unix",
        c"Who may say so with the PROXY protocol; others are refused.",
    ),
    opt(
        73,
        c"forwarded_for",
        Slot::Bool(field!(forwarded_for)),
        c"0",
        c"Whether REMOTE_ADDR, in the environ and in the logs, is the client that X-Forwarded-For or \
          Forwarded name: the last address that is none of forwarded_allow_ips. 0: it is whoever \
          connected.",
    ),
    opt(
        80,
        c"timings",
        Slot::AutoBool(field!(timings)),
        c"auto",
        c"Whether to measure how long requests take, in the phases read, queue, app and write, for the \
          pages of metrics_path and stats_path. auto: where there is one of them.",
    ),
    opt(
        81,
        c"metrics_path",
        Slot::Text(field!(metrics_path)),
        c"",
        c"Where what all workers count and measure is read in Prometheus' text format (0.0.4), whoever \
          asks: say it for one listener (?metrics_path=/metrics) that only they can reach. The worker \
          answers, and not the application. Empty: nowhere.",
    ),
    opt(
        82,
        c"stats_path",
        Slot::Text(field!(stats_path)),
        c"",
        c"The same as JSON, worker by worker and with the requests in flight, under the keys of uWSGI's \
          stats server. Empty: nowhere.",
    ),
    opt(
        83,
        c"stats_only",
        Slot::Bool(field!(stats_only)),
        c"0",
        c"Whether there is nothing else: 404 for all but metrics_path and stats_path, so that a listener \
          of their own (?metrics_path=/metrics&stats_only=1) never reaches the application.",
    ),
    opt(
        84,
        c"slow_request",
        Slot::Duration(field!(slow_request)),
        c"0",
        c"How long a request may take before it has a line in the error log, at level warn, that says \
          in which phases. 0: any time.",
    ),
    opt(
        90,
        c"control_socket",
        Slot::Path(field!(control_socket)),
        c"",
        c"The path of a unix socket on which the arbiter, or the only worker, says what it does and takes \
          commands: status, requests, reload, stop, scale, reopen. The file's mode is 0600, or less if the \
          umask says so; the server's user and root steer, and others whom the mode lets in only read. \
          Empty: none.",
    ),
];
