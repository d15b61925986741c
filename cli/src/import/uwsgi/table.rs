//! What becomes of uWSGI's options; a star stands for all that begin so.

use crate::import::rules::How::{But, Needless, No, Own, Same, To};
use crate::import::rules::{ON, Rule, Unit, rule};

const NO_PYTHON: &str = "An application of Python is one of gateway-python.so: module = \
                         \"/usr/local/lib/gateway-python.so\", args = \"venv=/srv/venv path=/srv/app \
                         myapp:app\".";
const NO_LANGUAGE: &str =
    "There is no binding for this language: an application is a module (.so).";
const NO_PLUGIN: &str =
    "What uWSGI has as plugins is there, or is a module: module = \"./libapp.so\".";
const NO_MODIFIER: &str = "Modifiers choose plugins, and there are none.";
const NO_TLS: &str = "TLS is not in this version: let nginx, HAProxy or a load balancer end it.";
const NO_PROTOCOL: &str = "This protocol is not spoken: http, uwsgi, fastcgi and scgi are.";
const NO_ROUTER: &str = "There is no router in front of the workers: they speak HTTP themselves.";
const NO_ROUTES: &str = "Requests are not rewritten: mounts are by host and prefix; let the web server \
                         in front do more, or middleware.";
const NO_SCALE: &str = "The number of workers stays what it is: TTIN and TTOU, or `gateway scale`, \
                        change it.";
const NO_EMPEROR: &str =
    "An instance for each application is a unit of systemd (docs/operations.md).";
const NO_QUEUE: &str = "A web server has no queue of jobs: run a program for them.";
const NO_CACHE: &str = "A web server has no cache: use one that is a program of its own.";
const NO_JAIL: &str = "systemd has it: limits, namespaces and capabilities of a unit.";
const NO_HOOK: &str =
    "Hooks are functions of a module (gw_hooks); programs are started by systemd.";
const NO_WATCH: &str = "Files are not watched: HUP, or `gateway reload`, loads a module again.";
const NO_SPACE: &str = "Address space is not measured: memory_soft and memory_hard are about resident \
                        memory.";
const NO_ALARM: &str = "Let a monitor watch metrics_path.";
const NO_GREEN: &str = "Applications run on threads, or answer later (gw_defer).";
const NO_NAME: &str = "Processes keep the name of the program.";
const NO_LOGS: &str = "The log has one form; access_log_format is for requests, in gunicorn's atoms, or \
                       json.";
const NO_ROTATION: &str = "Logs are rotated by logrotate, and opened again by USR1.";
const NO_FILES: &str = "Static files are mounts: below a prefix, and nothing but files.";
const BY_ADDRESS: &str = "Write it behind an address of bind: ?backlog=, nodelay=, defer_accept=, \
                          fastopen=, rcvbuf=, sndbuf=.";
const GONE: &str = "A client that has gone ends its request, and no more.";
const SHARED: &str = "Workers accept from one socket, and the system wakes one of them.";

const COUNT: Unit = Unit::Int(0, 2_147_483_647);

pub(in crate::import) static RULES: [Rule; 275] = [
    // Sockets.
    rule(
        "socket",
        Own(
            "`bind` with `uwsgi://`, or what `protocol` says. An address for other machines is reported: \
             set `?trust=` to those of the web server",
        ),
    ),
    rule("uwsgi-socket", Own("the same, with `uwsgi://`")),
    rule("http-socket", Own("`bind`")),
    rule("http11-socket", Own("`bind`")),
    rule("http", Own("`bind`: there is no router, the workers speak HTTP themselves")),
    rule("fastcgi-socket", Own("the same as `socket`, with `fastcgi://`")),
    rule("scgi-socket", Own("the same as `socket`, with `scgi://`")),
    rule("protocol", Own("the protocol of `socket`")),
    rule("socket-protocol", Own("the protocol of `socket`")),
    rule("chmod-socket", Own("`?mode=` of unix sockets in `bind`; alone, 666")),
    rule("chmod", Own("the same")),
    rule("chown-socket", Own("`?owner=` of unix sockets in `bind`")),
    rule("listen", To("backlog", Unit::Int(1, 65535))),
    rule("reuse-port", Own("`accept_mode = \"reuseport\"`")),
    rule("enable-proxy-protocol", Own("`proxy_protocol = \"auto\"`")),
    rule("http-enable-proxy-protocol", Own("`proxy_protocol = \"auto\"`")),
    rule("http-keepalive", Own("`keepalive`, if it is more than 1, which is on")),
    rule("socket-timeout", Own("`body_timeout` and `write_timeout`")),
    rule("abstract-socket", No("Write unix:@name in bind.")),
    rule("fastcgi-nph-socket", No("FastCGI is answered as CGI has it, with Status.")),
    rule("scgi-nph-socket", No("SCGI is answered as CGI has it, with Status.")),
    rule("raw-socket", No(NO_PROTOCOL)),
    rule("puwsgi-socket", No(NO_PROTOCOL)),
    rule("udp", No(NO_PROTOCOL)),
    rule("multicast*", No(NO_PROTOCOL)),
    rule(
        "shared-socket",
        No("Sockets that others have opened are fd://N and systemd:NAME in bind."),
    ),
    rule(
        "undeferred-shared-socket",
        No("Sockets that others have opened are fd://N and systemd:NAME."),
    ),
    rule("map-socket", No("All workers have all sockets; pools have sockets of their own.")),
    rule("suwsgi-socket", No(NO_TLS)),
    rule("https*", No(NO_TLS)),
    rule("ssl*", No(NO_TLS)),
    rule("sni*", No(NO_TLS)),
    rule("http-*", No(NO_ROUTER)),
    rule("http2*", No("HTTP/2 is not in this version: let the web server in front speak it.")),
    rule("fastrouter*", No(NO_ROUTER)),
    rule("rawrouter*", No(NO_ROUTER)),
    rule("sslrouter*", No(NO_ROUTER)),
    rule("subscri*", No(NO_ROUTER)),
    rule("fastcgi-modifier*", No(NO_MODIFIER)),
    rule("scgi-modifier*", No(NO_MODIFIER)),
    rule("http-socket-modifier*", No(NO_MODIFIER)),
    rule("raw-modifier*", No(NO_MODIFIER)),
    rule("remap-modifier", No(NO_MODIFIER)),
    rule("tcp-nodelay", Same(ON, "It is off where an address says ?nodelay=0.")),
    rule("tcp-fast*", No(BY_ADDRESS)),
    rule("socket-write-timeout", No("Time is limited by body_timeout and write_timeout.")),
    rule("socket-send-timeout", No("Time is limited by body_timeout and write_timeout.")),
    rule("socket-sndbuf", No(BY_ADDRESS)),
    rule("socket-rcvbuf", No(BY_ADDRESS)),
    rule("no-defer-accept", Needless("Nothing is deferred unless an address says defer_accept.")),
    rule(
        "so-keepalive",
        No("Idle connections end by keepalive, header_timeout, body_timeout and \
                             write_timeout."),
    ),
    rule("so-*", No("Time is limited by body_timeout and write_timeout.")),
    rule(
        "freebind",
        No("Let systemd open the socket: FreeBind= of a socket unit, systemd: in bind."),
    ),
    rule("zerg*", No("An upgrade hands sockets over: USR2.")),
    // Workers.
    rule("processes", Own("`workers`; `%k` alone is 0, one for each CPU")),
    rule("workers", Own("`workers`; `%k` alone is 0, one for each CPU")),
    rule("threads", To("threads", Unit::Int(1, 1024))),
    rule("enable-threads", Same(ON, "An application may have threads.")),
    rule("no-threads-wait", Needless("graceful_timeout is for threads, too.")),
    rule("master", Same(ON, "There is an arbiter.")),
    rule(
        "harakiri",
        Own("`request_timeout`; and `heartbeat_timeout`, 30 s more, where that has to be \
                          longer than its preset"),
    ),
    rule("harakiri-verbose", Needless("A worker that is ended has its requests in the log.")),
    rule("max-requests", To("max_requests", COUNT)),
    rule(
        "max-requests-delta",
        But(
            "max_requests_jitter",
            COUNT,
            "It is drawn at random, and not by the \
                                    worker's number.",
        ),
    ),
    rule("max-worker-lifetime", To("max_lifetime", Unit::Seconds)),
    rule(
        "max-worker-lifetime-delta",
        Needless("Up to a tenth of max_lifetime is added at random."),
    ),
    rule(
        "min-worker-lifetime",
        No("A worker that dies soon, twice in a row, is waited for; nothing is \
                                    set."),
    ),
    rule(
        "forkbomb-delay",
        No("A worker that does not boot is tried again after 0.1 s, 0.2 s ... 30 s."),
    ),
    rule("reload-mercy", To("graceful_timeout", Unit::Seconds)),
    rule("worker-reload-mercy", To("graceful_timeout", Unit::Seconds)),
    rule("reload-on-rss", To("memory_soft", Unit::Mebi)),
    rule("evil-reload-on-rss", To("memory_hard", Unit::Mebi)),
    rule("reload-on-as", No(NO_SPACE)),
    rule("evil-reload-on-as", No(NO_SPACE)),
    rule("limit-as", No(NO_SPACE)),
    rule("limit-nproc", No(NO_JAIL)),
    rule("mem-collector-freq", Needless("Memory is looked at each second.")),
    rule("memory-report", Needless("Memory is in the pages of stats_path and metrics_path.")),
    rule("reload-on-exception*", No("An error ends its request, and not its worker.")),
    rule("reload-on-fd", No(NO_WATCH)),
    rule("brutal-reload-on-fd", No(NO_WATCH)),
    rule("cheap", No(NO_SCALE)),
    rule("cheaper*", No(NO_SCALE)),
    rule("idle", No(NO_SCALE)),
    rule("die-on-idle", No("systemd starts a server when it is asked, and does not stop it.")),
    rule("lazy", Own("`preload = false`")),
    rule("lazy-apps", Own("`preload = false`")),
    rule("thunder-lock", Needless(SHARED)),
    rule("lock-engine", Needless(SHARED)),
    rule("cpu-affinity", No("systemd has it: CPUAffinity= of a unit.")),
    rule("prio", No("systemd has it: Nice= of a unit.")),
    rule("no-orphans", Same(ON, "Workers die with their arbiter.")),
    rule("reaper", No("reap_orphans = true is for process 1 of a container.")),
    rule("die-on-term", Same(ON, "TERM stops the server, gracefully; HUP reloads it.")),
    rule("hook-*", No(NO_HOOK)),
    rule("exec-*", No(NO_HOOK)),
    rule("call-*", No(NO_HOOK)),
    rule("after-request-*", No(NO_HOOK)),
    rule("worker-exec*", No(NO_HOOK)),
    rule("attach-*", No(NO_EMPEROR)),
    rule("smart-attach-*", No(NO_EMPEROR)),
    rule("async", No(NO_GREEN)),
    rule("gevent*", No(NO_GREEN)),
    rule("ugreen", No(NO_GREEN)),
    rule("greenlet", No(NO_GREEN)),
    rule("asyncio", No(NO_GREEN)),
    rule("tornado", No(NO_GREEN)),
    rule("loop", No(NO_GREEN)),
    rule("thread-stack*", No("Threads have the system's stacks.")),
    // Requests.
    rule(
        "buffer-size",
        But(
            "limit_request_head",
            Unit::Octets(64, 1 << 30),
            "A larger head is answered \
                             with 431, and not dropped.",
        ),
    ),
    rule(
        "post-buffering",
        But(
            "body_buffer",
            Unit::Octets(0, 1 << 30),
            "Bodies are read before the \
                                application is called, whatever their length: request_buffering.",
        ),
    ),
    rule("post-buffering-bufsize", Needless("Octets are read as they come.")),
    rule("limit-post", To("max_body", Unit::Octets(0, i64::MAX))),
    rule("max-vars", No("limit_request_fields is about header fields.")),
    rule("body-read-warning", No("body_buffer keeps longer bodies out of memory.")),
    rule("chunked-input-*", No("body_timeout and max_body are for chunked bodies, too.")),
    rule(
        "upload-progress",
        No("An application that reads its body as it comes can tell: \
                                request_buffering = false."),
    ),
    rule("ignore-sigpipe", Needless(GONE)),
    rule("ignore-write-errors", Needless(GONE)),
    rule("write-errors-*", Needless(GONE)),
    rule("disable-write-exception", Needless(GONE)),
    rule("disable-sendfile", No("Files go out by sendfile always.")),
    rule("catch-exceptions", No("What failed is in the log, and never in the answer.")),
    rule("add-header", No("The application, or middleware, says the header of its answer.")),
    rule("del-header", No("The application, or middleware, says the header of its answer.")),
    rule("rem-header", No("The application, or middleware, says the header of its answer.")),
    rule("collect-header", No(NO_ROUTES)),
    rule("pull-header", No(NO_ROUTES)),
    rule("response-header*", No("The application, or middleware, says the header of its answer.")),
    rule("route*", No(NO_ROUTES)),
    rule("error-route*", No(NO_ROUTES)),
    rule("response-route*", No(NO_ROUTES)),
    rule("final-route*", No(NO_ROUTES)),
    rule("error-page-*", No("Errors that are not the application's have a short text.")),
    rule("websocket*", No("WebSockets are not in this version.")),
    rule("offload-threads", Needless("Files go out by the loop, which waits for no client.")),
    rule("offload-thread", Needless("Files go out by the loop, which waits for no client.")),
    // Applications and files.
    rule("wsgi*", No(NO_PYTHON)),
    rule("module", No(NO_PYTHON)),
    rule("callable", No(NO_PYTHON)),
    rule("file", No(NO_PYTHON)),
    rule("eval", No(NO_PYTHON)),
    rule("home", No(NO_PYTHON)),
    rule("virtualenv", No(NO_PYTHON)),
    rule("venv", No(NO_PYTHON)),
    rule("py*", No(NO_PYTHON)),
    rule("pp", No(NO_PYTHON)),
    rule("import", No(NO_PYTHON)),
    rule("shared-import", No(NO_PYTHON)),
    rule("paste*", No(NO_PYTHON)),
    rule("ini-paste*", No(NO_PYTHON)),
    rule("web3*", No(NO_PYTHON)),
    rule("pump", No(NO_PYTHON)),
    rule("django*", No(NO_PYTHON)),
    rule("autoreload", No(NO_WATCH)),
    rule("py-autoreload", No(NO_WATCH)),
    rule("python-autoreload", No(NO_WATCH)),
    rule("single-interpreter", Needless("There are no interpreters.")),
    rule("symcall*", No("A function becomes a module: gateway_module of gateway.h.")),
    rule("psgi*", No(NO_LANGUAGE)),
    rule("perl*", No(NO_LANGUAGE)),
    rule("rack*", No(NO_LANGUAGE)),
    rule("ruby*", No(NO_LANGUAGE)),
    rule("rb*", No(NO_LANGUAGE)),
    rule("lua*", No(NO_LANGUAGE)),
    rule("php*", No(NO_LANGUAGE)),
    rule("jvm*", No(NO_LANGUAGE)),
    rule("go-*", No(NO_LANGUAGE)),
    rule("mono*", No(NO_LANGUAGE)),
    rule("plugin*", No(NO_PLUGIN)),
    rule("need-plugin*", No(NO_PLUGIN)),
    rule("dlopen", No(NO_PLUGIN)),
    rule(
        "need-app",
        Same(ON, "A server whose application cannot be loaded ends with exit status 4."),
    ),
    rule("no-default-app", Same(ON, "What matches no mount is answered with 404.")),
    rule("max-apps", Needless("There is no limit.")),
    rule("vhost*", No("Mounts are by host: at = \"example.org/\".")),
    rule("mount", Own("`[[mount]]` of a module, to be completed")),
    rule("manage-script-name", Same(ON, "A mount's prefix becomes the end of SCRIPT_NAME.")),
    rule(
        "ignore-script-name",
        No("SCRIPT_NAME of a front counts, and a mount's prefix behind it."),
    ),
    rule("cgi", Own("`[[mount]]` of the ready-made application cgi")),
    rule(
        "cgi-*",
        No("Scripts are programs below the directory; their time is timeout= of the mount."),
    ),
    rule("static-map", Own("`[[mount]]` of the ready-made application static")),
    rule("static-map2", Own("`[[mount]]` of static, with the prefix behind the directory")),
    rule("static-index", Own("`index=` of static")),
    rule("static-expires", Own("`max_age=` of static, if its pattern is for everything")),
    rule("static-expires-uri", Own("the same")),
    rule("static-expires-path-info", Own("the same")),
    rule("static-*", No("Files have a type, an ETag and max_age; no more can be said of them.")),
    rule("check-static*", No(NO_FILES)),
    rule("static-check", No(NO_FILES)),
    rule("static-safe", No("Nothing outside of the directory is served, by links either.")),
    rule(
        "file-serve-mode",
        No("X-Sendfile and X-Accel-Redirect: [[use]] builtin = \"sendfile\", \
                                args = \"root=/directory\"."),
    ),
    rule("fileserve-mode", No("X-Sendfile and X-Accel-Redirect: [[use]] builtin = \"sendfile\".")),
    rule("honour-range", Same(ON, "Files have ranges.")),
    rule("mime*", No("Types are those of the extensions that everybody knows.")),
    // The process.
    rule("chdir", To("chdir", Unit::Text)),
    rule("chdir2", No("There is one directory, and it is chdir.")),
    rule("env", Own("`[env]`")),
    rule("envdir", No("Write the variables: [env].")),
    rule(
        "unenv",
        No("Let the service manager give the server the environment that it is to have."),
    ),
    rule("uid", To("user", Unit::Name)),
    rule("gid", To("group", Unit::Name)),
    rule("immediate-*", No("Addresses are bound first, and then user and group count.")),
    rule("add-gid", No("Workers have all groups of the user.")),
    rule("no-initgroups", No("Workers have all groups of the user.")),
    rule("umask", To("umask", Unit::Mode)),
    rule("pidfile", To("pidfile", Unit::Text)),
    rule("pidfile2", To("pidfile", Unit::Text)),
    rule("safe-pidfile*", No("A pid file is checked always: write pidfile.")),
    rule("vacuum", Same(ON, "Unix sockets and the pid file are removed at the end.")),
    rule(
        "daemonize*",
        No("A server stays in the foreground: let systemd or supervisord keep it \
                           (docs/operations.md); the log is errorlog and accesslog."),
    ),
    rule("close-on-exec*", Same(ON, "No other program inherits the sockets.")),
    rule("max-fd", No("systemd has it: LimitNOFILE= of a unit.")),
    rule("skip-atexit*", Needless("Workers end without handlers of the host's.")),
    rule("strict", Needless("Options that are not known are errors.")),
    rule("procname*", No(NO_NAME)),
    rule("auto-procname", No(NO_NAME)),
    rule("emperor*", No(NO_EMPEROR)),
    rule("vassal*", No(NO_EMPEROR)),
    rule("master-fifo", No("The same verbs are signals, or `gateway reload`, `stop` and `scale`.")),
    rule("touch-*", No(NO_WATCH)),
    rule("fs-*", No(NO_WATCH)),
    rule("include", No("One file is read: write what the other says.")),
    rule("inherit", No("One file is read: write what the other says.")),
    rule("ini", No("One file is read: write what the other says.")),
    rule("chroot", No(NO_JAIL)),
    rule("cgroup*", No(NO_JAIL)),
    rule("namespace*", No(NO_JAIL)),
    rule("unshare*", No(NO_JAIL)),
    rule("cap", No(NO_JAIL)),
    // What is beside the server.
    rule("spooler*", No(NO_QUEUE)),
    rule("mule*", No(NO_QUEUE)),
    rule("farm", No(NO_QUEUE)),
    rule("queue*", No(NO_QUEUE)),
    rule("cron*", No("cron, or a timer of systemd, does that.")),
    rule("unique-cron", No("cron, or a timer of systemd, does that.")),
    rule("timer", No("cron, or a timer of systemd, does that.")),
    rule("signal*", No("Workers send each other no signals.")),
    rule("cache*", No(NO_CACHE)),
    rule("add-cache-item", No(NO_CACHE)),
    rule("sharedarea", No(NO_CACHE)),
    rule("legion*", No("Who leads is decided elsewhere: keepalived, or the balancer.")),
    rule("rpc-max", No("There are no remote calls.")),
    // What it says of itself.
    rule("stats", Own("`bind` with `?stats_path=/&stats_only=1`")),
    rule("stats-server", Own("the same")),
    rule("stats-http", Same(ON, "The page of stats_path is read by HTTP.")),
    rule("stats-*", Needless("The page has what there is.")),
    rule("enable-metrics", No("metrics_path is the page for Prometheus.")),
    rule("metric*", No("metrics_path is the page for Prometheus.")),
    rule("snmp*", No("metrics_path is the page for Prometheus.")),
    rule("carbon*", No("metrics_path is the page for Prometheus.")),
    rule("alarm*", No(NO_ALARM)),
    rule("log-alarm", No(NO_ALARM)),
    rule("logto", Own("`errorlog`, and `accesslog` unless `disable-logging` is set")),
    rule("logto2", Own("the same")),
    rule("logger", Own("`errorlog`, if it is `file:` or `stdio`")),
    rule("req-logger", Own("`accesslog`, if it is `file:` or `stdio`")),
    rule("disable-logging", Own("no `accesslog`")),
    rule("log-slow", To("slow_request", Unit::Millis)),
    rule(
        "log-x-forwarded-for",
        But(
            "forwarded_for",
            Unit::Bool,
            "It decides REMOTE_ADDR, too, and only \
                                     peers of forwarded_allow_ips count.",
        ),
    ),
    rule("log-format*", No(NO_LOGS)),
    rule("logformat*", No(NO_LOGS)),
    rule("log-date", No(NO_LOGS)),
    rule("logdate", No(NO_LOGS)),
    rule("log-*", No(NO_LOGS)),
    rule("log-master*", Needless("Workers write whole lines.")),
    rule("threaded-logger", Needless("Workers write whole lines.")),
    rule("log-reopen", Same(ON, "USR1 opens the logs again.")),
    rule("log-maxsize", No(NO_ROTATION)),
    rule("log-backupname", No(NO_ROTATION)),
    rule("log-truncate", No(NO_ROTATION)),
    rule("logfile-*", No("Logs that are made belong to the user.")),
    rule("log-syslog", No("A service manager takes standard error to syslog or the journal.")),
    rule("log-socket", No("Logs go to files and descriptors only.")),
    rule("profiler", No("perf, or a profiler of the language, does that.")),
];
