//! What becomes of the members of Unit's configuration (1.34), by their paths; a star stands for a name
//! or an index.

use crate::import::rules::How::{But, Needless, No, Own, Same, To};
use crate::import::rules::{ON, Rule, Unit, rule};

const NO_TLS: &str = "TLS is not in this version: let nginx, HAProxy or a load balancer end it. The address \
                      is not listened on without it.";
const NO_SCALE: &str = "The number of workers stays what it is: TTIN and TTOU, or `gateway scale`, change \
                        it.";
const NO_JAIL: &str = "systemd has it: limits, namespaces and directories of a unit.";
const NO_MATCH: &str =
    "Requests are matched by host and by a prefix of their path, and by nothing else.";
const NO_REWRITE: &str =
    "Requests are not rewritten: let the web server in front do it, or middleware.";
const SEE_TYPE: &str = "It is about the language of the application: see its type.";
pub(super) const FORWARD: &str = "forward has a thread and a connection for each request, 60 s for an answer \
                                  (timeout=), and X-Forwarded-* and Forwarded of its own; below a prefix the \
                                  path is encoded anew. Where there is much to pass on, nginx or HAProxy in \
                                  front does it better.";
pub(super) const MATCHES: [&str; 2] = ["host", "uri"];

pub(in crate::import) static RULES: [Rule; 92] = [
    rule(
        "listeners.*",
        Own("`bind`; where listeners pass to different things, a `[[pool]]` for each"),
    ),
    rule("listeners.*.pass", Own("what is mounted")),
    rule("listeners.*.application", Own("the same")),
    rule("listeners.*.tls", No(NO_TLS)),
    rule("listeners.*.backlog", Own("`?backlog=` of the address")),
    rule(
        "listeners.*.forwarded",
        Own("`?trust=` and `forwarded_for=1` of the address, if its field is \
                                       X-Forwarded-For and its source a list of networks; without \
                                       `protocol` it is reported, as trusted peers say the scheme, too"),
    ),
    rule("listeners.*.client_ip", Own("the same")),
    rule(
        "routes",
        Own("`[[mount]]`, if the order of steps can be that of mounts: the longest match"),
    ),
    rule("routes.*.match", Own("`at` of the mount")),
    rule("routes.*.match.host", Own("the host of `at`: example.org, \\*.example.org")),
    rule("routes.*.match.uri", Own("the prefix of `at`: /prefix/\\*, which is for /prefix, too")),
    rule("routes.*.match.method", No(NO_MATCH)),
    rule("routes.*.match.scheme", No(NO_MATCH)),
    rule("routes.*.match.query", No(NO_MATCH)),
    rule("routes.*.match.arguments", No(NO_MATCH)),
    rule("routes.*.match.headers", No(NO_MATCH)),
    rule("routes.*.match.cookies", No(NO_MATCH)),
    rule("routes.*.match.destination", No(NO_MATCH)),
    rule(
        "routes.*.match.source",
        No("Who may ask is said by middleware: [[mount.use]] builtin = \"access\", \
                                      args = \"allow=10.0.0.0/8\"."),
    ),
    rule("routes.*.match.if", No(NO_MATCH)),
    rule("routes.*.action.pass", Own("the application that is mounted, or further routes")),
    rule("routes.*.action.share", Own("the ready-made application static, `root=`")),
    rule("routes.*.action.index", Own("`index=` of static")),
    rule("routes.*.action.fallback", No("static asks nobody for what it has not: that is a 404.")),
    rule("routes.*.action.types", No("Files are served whatever their type.")),
    rule("routes.*.action.chroot", Needless("Nothing outside of the directory is served.")),
    rule("routes.*.action.follow_symlinks", No("Links within the directory are followed.")),
    rule("routes.*.action.traverse_mounts", No("Mount points within the directory are passed.")),
    rule("routes.*.action.return", Own("the ready-made application redirect, if it is one")),
    rule("routes.*.action.location", Own("`to=` of redirect")),
    rule(
        "routes.*.action.proxy",
        Own("the ready-made application forward, `to=`, if it is no unix socket"),
    ),
    rule("routes.*.action.rewrite", No(NO_REWRITE)),
    rule(
        "routes.*.action.response_headers",
        No("The application, or middleware, says the header of its \
                                                 answer."),
    ),
    rule("upstreams", Own("`to=` of forward, with commas, if all of one have the same weight")),
    rule(
        "applications.*.type",
        No("There is no binding for this language in this version, so the \
                                    application has to be a module: module = \"./libapp.so\". An \
                                    external one, made with libunit, becomes one (gateway_module)."),
    ),
    rule("applications.*.processes", Own("`workers`, of a pool if there are several")),
    rule("applications.*.processes.max", Own("`workers`")),
    rule("applications.*.processes.spare", No(NO_SCALE)),
    rule("applications.*.processes.idle_timeout", No(NO_SCALE)),
    rule("applications.*.threads", Own("`threads`")),
    rule("applications.*.thread_stack_size", No("Threads have the system's stacks.")),
    rule(
        "applications.*.limits.timeout",
        Own("`request_timeout`; and `heartbeat_timeout`, 30 s more, where \
                                               that has to be longer than its preset"),
    ),
    rule("applications.*.limits.requests", Own("`max_requests`")),
    rule("applications.*.limits.shm", Needless("There is no shared memory for requests.")),
    rule("applications.*.limits.reschedule_timeout", Needless("A request stays with its worker.")),
    rule(
        "applications.*.user",
        Own(
            "`user`; where there is none, that is reported: Unit's default is an unprivileged user, and \
             here it is the one who starts the server",
        ),
    ),
    rule("applications.*.group", Own("`group`")),
    rule("applications.*.environment", Own("`[env]`, if there is one application")),
    rule("applications.*.working_directory", Own("`chdir`, if there is one application")),
    rule("applications.*.stdout", No("Standard output and error stay what they are.")),
    rule("applications.*.stderr", No("Standard output and error stay what they are.")),
    rule("applications.*.isolation", No(NO_JAIL)),
    rule("applications.*.targets", No(SEE_TYPE)),
    rule("applications.*.module", No(SEE_TYPE)),
    rule("applications.*.callable", No(SEE_TYPE)),
    rule("applications.*.factory", No(SEE_TYPE)),
    rule("applications.*.prefix", No(SEE_TYPE)),
    rule("applications.*.path", No(SEE_TYPE)),
    rule("applications.*.home", No(SEE_TYPE)),
    rule("applications.*.protocol", No(SEE_TYPE)),
    rule("applications.*.executable", No(SEE_TYPE)),
    rule("applications.*.arguments", No(SEE_TYPE)),
    rule("applications.*.root", No(SEE_TYPE)),
    rule("applications.*.script", No(SEE_TYPE)),
    rule("applications.*.index", No(SEE_TYPE)),
    rule("applications.*.options", No(SEE_TYPE)),
    rule("applications.*.hooks", No(SEE_TYPE)),
    rule("applications.*.webapp", No(SEE_TYPE)),
    rule("applications.*.classpath", No(SEE_TYPE)),
    rule("applications.*.unit_jars", No(SEE_TYPE)),
    rule("applications.*.component", No(SEE_TYPE)),
    rule("applications.*.access", No(SEE_TYPE)),
    rule("settings.http.header_read_timeout", To("header_timeout", Unit::Seconds)),
    rule("settings.http.body_read_timeout", To("body_timeout", Unit::Seconds)),
    rule("settings.http.send_timeout", To("write_timeout", Unit::Seconds)),
    rule("settings.http.idle_timeout", To("keepalive", Unit::Seconds)),
    rule("settings.http.max_body_size", To("max_body", Unit::Octets(0, i64::MAX))),
    rule("settings.http.body_buffer_size", To("body_buffer", Unit::Octets(0, 1 << 30))),
    rule("settings.http.body_temp_path", To("spool_dir", Unit::Text)),
    rule(
        "settings.http.discard_unsafe_fields",
        Same(
            ON,
            "A header field whose name has an underscore is no \
                                                          variable.",
        ),
    ),
    rule("settings.http.chunked_transform", Same(ON, "Chunked bodies are read as others are.")),
    rule(
        "settings.http.server_version",
        Needless("An answer has the Server field that its application says."),
    ),
    rule(
        "settings.http.log_route",
        No("loglevel = \"debug\" says more of requests, and nothing of routes."),
    ),
    rule("settings.http.websocket", No("WebSockets are not in this version.")),
    rule("settings.http.static", No("Types are those of the extensions that everybody knows.")),
    rule("settings.listen_threads", Needless("Each worker has a loop of its own.")),
    rule("settings.js_module", No("There is no JavaScript.")),
    rule(
        "settings.telemetry",
        No("Spans are the host's: trace ids are in the environ and in the log."),
    ),
    rule("access_log", But("accesslog", Unit::Text, "Its lines are those of access_log_format.")),
    rule("access_log.path", To("accesslog", Unit::Text)),
    rule("access_log.format", No("access_log_format has gunicorn's atoms, or is json.")),
    rule("access_log.if", No("All requests are logged.")),
];
