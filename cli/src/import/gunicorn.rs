//! `gunicorn.conf.py`: all of gunicorn's settings (27), by name.

use super::draft::{Draft, Toml};
use super::python::{self, Assumed, Binding, Bound};
use super::rules::How::{But, Needless, No, Other, Own, Same, To};
use super::rules::{ON, Rule, Unit, Value, find, mode, rule, size};
use super::{Import, Source, address};

const NO_PYTHON: &str = "This is about Python: gateway-python.so has path= and venv=; `python -m gateway` \
                         takes such a file as it is.";
const NO_TLS: &str = "TLS is not in this version: let nginx, HAProxy or a load balancer end it.";
const NO_HTTP2: &str = "HTTP/2 is not in this version: let the web server in front speak it.";
const NO_ASGI: &str = "ASGI is Python's; what answers later is a deferred request (gw_defer).";
const NO_DIRTY: &str = "There is no pool of workers without listeners: run a program of its own.";
const NO_LENIENCE: &str =
    "Requests like that are refused always: they are how requests are smuggled.";
const NO_LOGGING: &str = "Python's logging is not there: logs are errorlog and accesslog, and \
                          access_log_format=json is an object for each request.";
const NO_SYSLOG: &str = "Logs go to files and descriptors: a service manager takes standard error to \
                         syslog or the journal.";
const NO_STATSD: &str = "Nothing is sent: metrics_path and stats_path are pages to be read.";

const COUNT: Unit = Unit::Int(0, 2_147_483_647);

/// All settings, by name.
pub(super) static RULES: [Rule; 120] = [
    rule("access_log_format", To("access_log_format", Unit::Text)),
    rule("accesslog", To("accesslog", Unit::Text)),
    rule("asgi_disconnect_grace_period", No(NO_ASGI)),
    rule("asgi_lifespan", No(NO_ASGI)),
    rule("asgi_loop", No(NO_ASGI)),
    rule("backlog", To("backlog", Unit::Int(1, 65535))),
    rule(
        "bind",
        Own("`bind`; with `protocol = \"uwsgi\"`, `uwsgi://` before it. A unix socket of \
                      gunicorn has the mode 777 less `umask`, and so has this one (`?mode=`)"),
    ),
    rule("ca_certs", No(NO_TLS)),
    rule(
        "capture_output",
        No("Standard output and error of the application stay what they are: \
                               let the service manager keep them."),
    ),
    rule("casefold_http_method", No(NO_LENIENCE)),
    rule("cert_reqs", No(NO_TLS)),
    rule("certfile", No(NO_TLS)),
    rule("chdir", Own("`chdir`")),
    rule("check_config", No("Say `gateway check FILE`.")),
    rule("child_exit", No("A hook is a function of a module here: child_exit of gw_hooks.")),
    rule("ciphers", No(NO_TLS)),
    rule("config", No("Name the file itself: `gateway run FILE`.")),
    rule(
        "control_socket",
        No("gunicorn's tool does not speak to this server; the option \
                               control_socket is for `gateway status`, and off unless it is set."),
    ),
    rule("control_socket_disable", Needless("There is no control socket unless one is asked for.")),
    rule("control_socket_mode", No("See control_socket.")),
    rule(
        "daemon",
        No("A server stays in the foreground: let systemd or supervisord keep it \
                       (docs/operations.md)."),
    ),
    rule("default_proc_name", No("Processes keep the name of the program.")),
    rule("dirty_apps", No(NO_DIRTY)),
    rule("dirty_graceful_timeout", No(NO_DIRTY)),
    rule("dirty_post_fork", No(NO_DIRTY)),
    rule("dirty_threads", No(NO_DIRTY)),
    rule("dirty_timeout", No(NO_DIRTY)),
    rule("dirty_worker_exit", No(NO_DIRTY)),
    rule("dirty_worker_init", No(NO_DIRTY)),
    rule("dirty_workers", No(NO_DIRTY)),
    rule("disable_redirect_access_to_syslog", No(NO_SYSLOG)),
    rule("do_handshake_on_connect", No(NO_TLS)),
    rule("dogstatsd_tags", No(NO_STATSD)),
    rule("enable_backlog_metric", Needless("It is in the page of metrics_path.")),
    rule("enable_stdio_inheritance", Same(ON, "Standard output and error are inherited.")),
    rule("errorlog", To("errorlog", Unit::Text)),
    rule(
        "forwarded_allow_ips",
        Own("`forwarded_allow_ips`, with `unix` added, which gunicorn \
                                     always trusts"),
    ),
    rule(
        "forwarder_headers",
        No("Prefixes come from a front's SCRIPT_NAME by uwsgi, FastCGI and SCGI, \
                                  and not from header fields (docs/fronts.md)."),
    ),
    rule("graceful_timeout", To("graceful_timeout", Unit::Seconds)),
    rule("group", To("group", Unit::Name)),
    rule(
        "header_map",
        Same(&["drop"], "A header field whose name has an underscore is no variable."),
    ),
    rule("http2_cleartext", No(NO_HTTP2)),
    rule("http2_initial_window_size", No(NO_HTTP2)),
    rule("http2_max_concurrent_streams", No(NO_HTTP2)),
    rule("http2_max_frame_size", No(NO_HTTP2)),
    rule("http2_max_header_list_size", No(NO_HTTP2)),
    rule("http_parser", Needless("There is one parser.")),
    rule("http_protocols", Same(&["h1"], NO_HTTP2)),
    rule("initgroups", Same(ON, "Workers have all groups of the user.")),
    rule(
        "keepalive",
        But(
            "keepalive",
            Unit::Seconds,
            "gunicorn's sync workers ignore it, and these \
                                                       do not.",
        ),
    ),
    rule("keyfile", No(NO_TLS)),
    rule(
        "limit_request_field_size",
        Own("`limit_request_field_size`; 0 becomes 1g, the most there is"),
    ),
    rule("limit_request_fields", To("limit_request_fields", Unit::Int(1, 32768))),
    rule("limit_request_line", Own("`limit_request_line`; 0 becomes 1g, the most there is")),
    rule("logconfig", No(NO_LOGGING)),
    rule("logconfig_dict", No(NO_LOGGING)),
    rule("logconfig_json", No(NO_LOGGING)),
    rule("logger_class", No(NO_LOGGING)),
    rule("loglevel", Own("`loglevel`; critical becomes error")),
    rule("max_requests", To("max_requests", COUNT)),
    rule("max_requests_jitter", To("max_requests_jitter", COUNT)),
    rule(
        "nworkers_changed",
        No("A hook is a function of a module here: nworkers_changed of gw_hooks."),
    ),
    rule("on_dirty_starting", No(NO_DIRTY)),
    rule("on_exit", No("A hook is a function of a module here: on_exit of gw_hooks.")),
    rule("on_reload", No("A hook is a function of a module here: on_reload of gw_hooks.")),
    rule("on_starting", No("A hook is a function of a module here: on_starting of gw_hooks.")),
    rule("paste", No(NO_PYTHON)),
    rule("permit_obsolete_folding", No(NO_LENIENCE)),
    rule(
        "permit_unconventional_http_method",
        No("Methods are tokens, whatever their case; others \
                                                  are refused always."),
    ),
    rule("permit_unconventional_http_version", No(NO_LENIENCE)),
    rule("pidfile", To("pidfile", Unit::Text)),
    rule(
        "post_fork",
        No("A hook is a function of a module here: post_fork of gw_hooks, or \
                          worker_init, which is called for threads, too."),
    ),
    rule("post_request", No("A hook is a function of a module here: access of gw_hooks.")),
    rule(
        "post_worker_init",
        No("A hook is a function of a module here: worker_ready of gw_hooks."),
    ),
    rule("pre_exec", No("A hook is a function of a module here: pre_exec of gw_hooks.")),
    rule("pre_fork", No("A hook is a function of a module here: pre_fork of gw_hooks.")),
    rule("pre_request", No("A hook is a function of a module here: pre_request of gw_hooks.")),
    rule("preload_app", But("preload", Unit::Bool, "What is loaded before the fork is a module.")),
    rule("print_config", No("Say `gateway options` for the options and their presets.")),
    rule("proc_name", No("Processes keep the name of the program.")),
    rule("protocol", Own("the protocol of `bind`: http, uwsgi")),
    rule(
        "proxy_allow_ips",
        Own("`proxy_allow_ips`, with `unix` added, which gunicorn always trusts"),
    ),
    rule("proxy_protocol", Own("`proxy_protocol`")),
    rule("pythonpath", No(NO_PYTHON)),
    rule("raw_env", Own("`[env]`")),
    rule("raw_paste_global_conf", No(NO_PYTHON)),
    rule("reload", No("Files are not watched: HUP, or `gateway reload`, loads a module again.")),
    rule("reload_engine", No("See reload.")),
    rule("reload_extra_files", No("See reload.")),
    rule("reuse_port", Own("`accept_mode = \"reuseport\"`")),
    rule("root_path", No(NO_ASGI)),
    rule(
        "secure_scheme_headers",
        Other(
            "X-Forwarded-Proto, X-Forwarded-Protocol, X-Forwarded-Ssl and \
               Forwarded of trusted peers count, all of them and no others.",
        ),
    ),
    rule("sendfile", Same(ON, "Files go out by sendfile.")),
    rule("spew", No("A debugger or a profiler does that.")),
    rule("ssl_context", No(NO_TLS)),
    rule("ssl_version", No(NO_TLS)),
    rule("statsd_host", No(NO_STATSD)),
    rule("statsd_prefix", No(NO_STATSD)),
    rule("strip_header_spaces", No(NO_LENIENCE)),
    rule("suppress_ragged_eofs", Needless("It is about TLS, which is not in this version.")),
    rule("syslog", No(NO_SYSLOG)),
    rule("syslog_addr", No(NO_SYSLOG)),
    rule("syslog_facility", No(NO_SYSLOG)),
    rule("syslog_prefix", No(NO_SYSLOG)),
    rule("threads", To("threads", Unit::Int(1, 1024))),
    rule(
        "timeout",
        But(
            "heartbeat_timeout",
            Unit::Seconds,
            "It ends workers that hang, as gunicorn's \
                         does; for a 504 in time there is request_timeout.",
        ),
    ),
    rule("tmp_upload_dir", To("spool_dir", Unit::Text)),
    rule(
        "umask",
        Own(
            "`?mode=` of unix sockets in `bind`, and nothing else: gunicorn's workers have the umask \
             of whoever starts it, as these have",
        ),
    ),
    rule("user", To("user", Unit::Name)),
    rule(
        "uwsgi_allow_ips",
        Own(
            "does not map, unless it is `*` or nobody but this machine can connect: here whoever can \
             connect may speak uwsgi",
        ),
    ),
    rule("websocket_max_message_size", No(NO_ASGI)),
    rule("when_ready", No("A hook is a function of a module here: when_ready of gw_hooks.")),
    rule(
        "worker_abort",
        No("A hook is a function of a module here: worker_abort of gw_hooks, which is \
                             told the request."),
    ),
    rule(
        "worker_class",
        Own("sync and gthread are `threads`; gevent, tornado and classes of one's own \
                              do not map"),
    ),
    rule("worker_connections", To("worker_connections", Unit::Int(1, 1_000_000))),
    rule("worker_exit", No("A hook is a function of a module here: worker_exit of gw_hooks.")),
    rule("worker_int", No("A hook is a function of a module here: worker_int of gw_hooks.")),
    rule("worker_tmp_dir", Needless("Workers beat in shared memory, and not in files.")),
    rule("workers", Own("`workers`; `multiprocessing.cpu_count()` alone is 0, one for each CPU")),
    rule(
        "wsgi_app",
        No("An application of Python is one of gateway-python.so: module = \
            \"/usr/local/lib/gateway-python.so\", args = \"venv=/srv/venv path=/srv/app myapp:app\"."),
    ),
];

/// What the settings become.
pub(super) fn import(source: &Source<'_>) -> Import {
    let mut draft = super::draft(source);
    let bindings = python::read(source.text, source.cpus);
    let value_of = |name: &str| {
        bindings.iter().rev().find_map(|binding| match &binding.what {
            Bound::Value(value, _) if binding.name == name => Some(value),
            _ => None,
        })
    };
    let is_set = |it: &&Binding| !matches!(it.what, Bound::Statement(_));
    let is_sure = |it: &Binding| matches!(it.what, Bound::Value(..));
    let set = |name: &str| -> Vec<&Binding> {
        bindings.iter().filter(is_set).filter(|binding| binding.name == name).collect()
    };
    let has = |name: &str| !set(name).is_empty();
    let is_unsure = |name: &str| !set(name).into_iter().all(is_sure);
    let protocol = value_of("protocol").and_then(Value::shown).map(|name| name.to_lowercase());
    let speaks = |name: &str| protocol.as_deref() == Some(name);
    let all = All {
        protocol: protocol.clone(),
        is_tls: bindings.iter().any(is_tls),
        umask: match value_of("umask") {
            Some(value) => umask(value).ok(),
            None => (!has("umask")).then_some(0),
        },
        uwsgi_reaches: match value_of("bind") {
            _ if !speaks("uwsgi") && !is_unsure("protocol") => Reach::Nobody,
            _ if is_unsure("bind") => Reach::Network,
            None => Reach::Machine,
            Some(addresses) => reach(addresses),
        },
        names_uwsgi_peers: has("uwsgi_allow_ips"),
    };
    for binding in &bindings {
        let (line, key) = (binding.line, binding.name.as_str());
        if let Bound::Statement(why) = &binding.what {
            draft.unmapped(line, key, why);
            continue;
        }
        let Some(rule) = find(&RULES, key) else { continue };
        match &binding.what {
            Bound::Unread(why) => match rule.how {
                No(reason) | Other(reason) => draft.unmapped(line, key, reason),
                _ => draft.unmapped(line, key, why),
            },
            Bound::Perhaps(keyword) => {
                let why = format!(
                    "It is set under `{keyword}`, which is not executed: write what holds, or a file \
                     for each case."
                );
                draft.unmapped(line, key, &why);
            }
            Bound::Value(value, assumed) => {
                let maps = !matches!(rule.how, No(_) | Other(_));
                if maps {
                    tell_assumed(&mut draft, line, key, value, assumed, source.cpus);
                }
                match rule.how {
                    Own(_) => all.own(&mut draft, line, key, value, assumed, source.cpus),
                    how => how.apply(&mut draft, line, key, value),
                }
            }
            Bound::Statement(_) => {}
        }
    }
    if speaks("uwsgi") && !has("bind") && !all.is_tls {
        draft.say("gunicorn's own address, with what is spoken there.");
        draft.set("bind", Toml::List(vec![Toml::text("uwsgi://127.0.0.1:8000")]));
    }
    if !draft.has("workers") {
        draft.say(
            "gunicorn has 1 worker unless something is said (or WEB_CONCURRENCY); this server has one \
             for each CPU: workers = 0.",
        );
    }
    super::done(draft)
}

/// What values depend on that are not in the file.
fn tell_assumed(
    draft: &mut Draft<'_>,
    line: usize,
    key: &str,
    value: &Value,
    assumed: &[Assumed],
    cpus: usize,
) {
    for what in assumed {
        match what {
            Assumed::Environment(name) => {
                let value = value.shown().map_or(String::new(), |value| format!(" It is {value}."));
                let why = format!(
                    "The environment is not asked for {name} any more: its default counts.{value}"
                );
                draft.unmapped(line, key, &why);
            }
            Assumed::Cpus if key != "workers" || *value != as_cpus(cpus) => {
                draft.remark(line, &format!("Computed for {cpus} CPUs, as there are here."));
            }
            Assumed::Cpus => {}
        }
    }
}

fn as_cpus(cpus: usize) -> Value {
    Value::Int(i64::try_from(cpus).unwrap_or(1))
}

/// Whether it makes addresses speak TLS, or may.
fn is_tls(binding: &Binding) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::None => true,
        Value::Text(text) => text.trim().is_empty(),
        _ => false,
    };
    matches!(binding.name.as_str(), "certfile" | "keyfile" | "ssl_context")
        && !matches!(&binding.what, Bound::Value(value, _) if is_nothing(value))
}

/// Who can connect and speak uwsgi, besides whoever a unix socket lets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reach {
    Nobody,
    Machine,
    Network,
}

/// Who comes to the addresses of `bind`.
fn reach(bind: &Value) -> Reach {
    let addresses = words(bind).unwrap_or_default();
    let is_tcp = |text: &&String| !text.starts_with("unix:");
    let is_near = |text: &String| {
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        address::is_loopback(text) || address::is_loopback(&format!("{text}:"))
    };
    match addresses.iter().filter(is_tcp).collect::<Vec<_>>()[..] {
        [] => Reach::Nobody,
        ref list if list.iter().all(|text| is_near(text)) => Reach::Machine,
        _ => Reach::Network,
    }
}

/// gunicorn takes numbers, and texts as `int(text, 0)`.
fn umask(value: &Value) -> Result<i64, String> {
    match value {
        Value::Text(text) if text.starts_with(|c: char| c.is_ascii_digit() && c != '0') => {
            mode(&text.parse().map_or(Value::None, Value::Int))
        }
        other => mode(other),
    }
}

/// What some settings have to know of others.
struct All {
    protocol: Option<String>,
    is_tls: bool,
    /// Of unix sockets; nothing if it is not known.
    umask: Option<i64>,
    uwsgi_reaches: Reach,
    /// Whether `uwsgi_allow_ips` is there.
    names_uwsgi_peers: bool,
}

const OPEN_UWSGI: &str = "gunicorn lets 127.0.0.1 and ::1 alone speak uwsgi unless uwsgi_allow_ips names others; here \
                          whoever can connect may, and forwarded_allow_ips is whose variables are believed. \
                          (Middleware `access` would look at the client that the web server names.) Listen on a \
                          unix socket or on loopback, or let a firewall refuse the others.";

impl All {
    fn own(
        &self,
        draft: &mut Draft<'_>,
        line: usize,
        key: &str,
        value: &Value,
        assumed: &[Assumed],
        cpus: usize,
    ) {
        if *value == Value::None && key != "uwsgi_allow_ips" {
            return;
        }
        let wrong = |draft: &mut Draft<'_>, why: &str| draft.unmapped(line, key, why);
        match key {
            "bind" => self.bind(draft, line, value),
            "chdir" => match Unit::Text.convert(value) {
                Ok(Some(path)) => draft.set("chdir", path),
                _ => wrong(draft, "Its value is not a path."),
            },
            "forwarded_allow_ips" | "proxy_allow_ips" => match words(value) {
                Some(list) if list.iter().all(|it| it == "*" || address::is_network(it)) => {
                    draft.set(key, Toml::Text(trusted(&list)));
                }
                _ => wrong(draft, "Its value is no list of addresses."),
            },
            "limit_request_line" | "limit_request_field_size" => {
                match Unit::Octets(0, 1 << 30).convert(value) {
                    Ok(Some(Toml::Int(0))) => draft.set(key, size(1 << 30)),
                    Ok(Some(toml)) => draft.set(key, toml),
                    Ok(None) => {}
                    Err(why) => wrong(draft, &why),
                }
            }
            "loglevel" => match value.shown().unwrap_or_default().to_lowercase().as_str() {
                "critical" => {
                    draft.remark(line, "Nothing is graver than an error here.");
                    draft.set(key, Toml::text("error"));
                }
                level @ ("error" | "warning" | "info" | "debug") => {
                    draft.set(key, Toml::text(level));
                }
                _ => wrong(draft, "It is none of error, warning, info and debug."),
            },
            "protocol" => match self.protocol.as_deref() {
                Some("http" | "uwsgi") => {}
                _ => wrong(draft, "It is neither http nor uwsgi."),
            },
            "proxy_protocol" => match value.shown().unwrap_or_default().to_lowercase().as_str() {
                "false" | "off" | "none" | "" => draft.set(key, Toml::text("off")),
                "true" | "auto" => draft.set(key, Toml::text("auto")),
                version @ ("v1" | "v2") => draft.set(key, Toml::text(version)),
                _ => wrong(draft, "It is none of off, v1, v2 and auto."),
            },
            "raw_env" => {
                let Some(list) = words(value) else {
                    return wrong(draft, "Its value is no list of texts.");
                };
                for entry in list {
                    match entry.split_once('=') {
                        Some((name, value)) if !name.is_empty() => draft.env(name, value),
                        _ => wrong(draft, "An entry is not NAME=value."),
                    }
                }
            }
            "reuse_port" => match value.truth() {
                Some(true) => draft.set("accept_mode", Toml::text("reuseport")),
                Some(false) => draft.set("accept_mode", Toml::text("shared")),
                None => wrong(draft, "Its value is neither true nor false."),
            },
            "umask" => match umask(value) {
                Ok(_) => draft.remark(
                    line,
                    "gunicorn has it for its unix sockets alone, where it is ?mode= of bind; workers \
                     have that of whoever starts the server, there and here.",
                ),
                Err(why) => wrong(draft, &why),
            },
            "uwsgi_allow_ips" => {
                let list = words(value).unwrap_or_default();
                let has = |ip: &str| list.iter().any(|it| it == ip);
                match self.uwsgi_reaches {
                    Reach::Nobody => {
                        draft.remark(line, "Nobody comes by TCP to speak uwsgi.");
                    }
                    _ if has("*") => draft.remark(line, "So it is here, always."),
                    Reach::Machine if has("127.0.0.1") => {
                        draft.remark(line, "Nobody but this machine can connect.");
                    }
                    _ => wrong(draft, OPEN_UWSGI),
                }
            }
            "worker_class" => self.class(draft, line, value),
            "workers" if assumed == [Assumed::Cpus] && *value == as_cpus(cpus) => {
                draft.remark(line, "One for each CPU.");
                draft.set("workers", Toml::Int(0));
            }
            // 0 of gunicorn is no worker at all.
            "workers" => match Unit::Int(1, 1024).convert(value) {
                Ok(Some(toml)) => draft.set("workers", toml),
                Ok(None) => {}
                Err(why) => wrong(draft, &why),
            },
            _ => unreachable!("{key} is one of the rules"),
        }
    }

    fn bind(&self, draft: &mut Draft<'_>, line: usize, value: &Value) {
        if self.is_tls {
            let why = format!("{NO_TLS} Its addresses are not listened on without it.");
            return draft.unmapped(line, "bind", &why);
        }
        if self.uwsgi_reaches == Reach::Network && !self.names_uwsgi_peers {
            draft.unmapped(line, "bind", OPEN_UWSGI);
        }
        let mut list = Vec::new();
        for address in words(value).unwrap_or_default() {
            match self.address(&address) {
                Some((address, is_open)) => {
                    if is_open {
                        draft.remark(
                            line,
                            "Everybody on the machine may connect, as with gunicorn: say less than \
                             mode=777 if you can, and owner=.",
                        );
                    }
                    list.push(Toml::Text(address));
                }
                None => {
                    let why = format!("\"{address}\" cannot be written as an address here.");
                    draft.unmapped(line, "bind", &why);
                }
            }
        }
        if list.is_empty() {
            return draft.unmapped(line, "bind", "It has no address that can be listened on.");
        }
        draft.set("bind", Toml::List(list));
    }

    /// An address as we write it, and whether everybody on the machine may connect.
    fn address(&self, text: &str) -> Option<(String, bool)> {
        let protocol = match self.protocol.as_deref() {
            Some("uwsgi") => "uwsgi",
            _ => "http",
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            // A name with @ is a file to gunicorn.
            let path = if path.starts_with('@') { format!("./{path}") } else { path.to_owned() };
            // Of a umask that is not known nothing is said: the mode is that of ours.
            let bits = self.umask.map_or(0, |umask| 0o777 & !umask);
            let mode = if bits == 0 { String::new() } else { format!("?mode={bits:o}") };
            let address = address::speaking(protocol, address::unix(&path)?);
            return Some((format!("{address}{mode}"), bits & 0o002 != 0));
        }
        if text.starts_with("fd://") {
            return Some((address::speaking(protocol, address::fd(text)?), false));
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = match text.find(']') {
            Some(end) => (&text[..=end], text[end + 1..].strip_prefix(':')),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let address = address::tcp(host, port.unwrap_or("8000"))?;
        Some((address::speaking(protocol, address), false))
    }

    fn class(&self, draft: &mut Draft<'_>, line: usize, value: &Value) {
        let name = value.shown().unwrap_or_default();
        let why = match name.as_str() {
            "sync" | "gunicorn.workers.sync.SyncWorker" => {
                return draft.remark(
                    line,
                    "An application that may block runs on threads of a worker: \
                                           threads, one unless more are asked for.",
                );
            }
            "gthread" | "gunicorn.workers.gthread.ThreadWorker" => {
                return draft.remark(line, "Workers have threads, as many as `threads` says.");
            }
            name if name.contains("gevent") || name.contains("eventlet") => {
                "Green threads are Python's: an application runs on threads, or answers later \
                 (gw_defer)."
            }
            name if name.contains("uvicorn") || name.contains("asgi") => NO_ASGI,
            _ => "Workers of other classes are Python's.",
        };
        draft.unmapped(line, "worker_class", why);
    }
}

/// A list of texts; also one text with commas.
fn words(value: &Value) -> Option<Vec<String>> {
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    };
    match value {
        Value::Text(text) => Some(split(text)),
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) => Some(text.trim().to_owned()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// Who is trusted, as we write it: gunicorn trusts unix sockets always.
fn trusted(list: &[String]) -> String {
    match list {
        list if list.iter().any(|entry| entry == "*") => "*".to_owned(),
        list => {
            let mut list = list.to_vec();
            list.push("unix".to_owned());
            list.join(",")
        }
    }
}
