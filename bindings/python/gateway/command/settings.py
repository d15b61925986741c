"""gunicorn's settings: what each of them is here, in one table."""

from __future__ import annotations

from collections import namedtuple


class Setting(namedtuple("Setting", ("name", "flags", "kind", "default", "how", "what"))):
    """One of gunicorn's settings, or an option of the library's that gunicorn has no name for.

    `kind` is int, octal, bool, off, text, list, dict, addresses, hook or any; `how`: option (the library's), command
    (done here), refused and warned (not there), or needless; `what` the option's name, or a sentence.
    """

    __slots__ = ()

    @property
    def metavar(self) -> str:
        return {"int": "INT", "octal": "INT"}.get(self.kind, "STRING")


TLS = "TLS is not in this version: let nginx, HAProxy or a load balancer end it"
HTTP2 = "HTTP/2 is not in this version: let the web server in front speak it"
DIRTY = "there is no pool of workers without listeners: run a program of its own"
LENIENT = "requests like that are always refused: they are how requests are smuggled"
STATSD = "nothing is sent: metrics_path is a page for Prometheus, stats_path one of JSON"
PASTE = "write a module that says application = paste.deploy.loadapp('config:/path'), and name that"


def _s(name, flags, kind, default, how, what=""):
    return Setting(name, tuple(flags.split()), kind, default, how, what or name)


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        # the command itself
        _s("config", "-c --config", "text", "./gunicorn.conf.py", "command", "the same"),
        _s("wsgi_app", "", "text", None, "command", "the same"),
        _s(
            "check_config", "--check-config", "bool", False, "command", "the same; addresses and options, too"
        ),
        _s("print_config", "--print-config", "bool", False, "command", "the same"),
        _s("chdir", "--chdir", "text", None, "command", "the same"),
        _s("pythonpath", "--pythonpath", "text", None, "command", "the same"),
        _s("raw_env", "-e --env", "list", [], "command", "the same"),
        _s("daemon", "-D --daemon", "bool", False, "command", "the same"),
        _s("proc_name", "-n --name", "text", None, "command", "the same, with the package setproctitle"),
        _s("default_proc_name", "", "text", "gateway", "command", "what proc_name is without a value"),
        _s("reload", "--reload", "bool", False, "command", "the same, without preload_app"),
        _s(
            "reload_engine",
            "--reload-engine",
            "text",
            "auto",
            "command",
            "auto and poll: files are looked at",
        ),
        _s("reload_extra_files", "--reload-extra-file", "list", [], "command", "the same"),
        _s("capture_output", "--capture-output", "bool", False, "command", "the same"),
        _s(
            "enable_stdio_inheritance",
            "-R --enable-stdio-inheritance",
            "bool",
            False,
            "command",
            "the same; output is inherited anyway unless daemon is set",
        ),
        # sockets
        _s(
            "bind",
            "-b --bind",
            "list",
            ["127.0.0.1:8000"],
            "command",
            "bind; unix sockets have mode 777 less umask",
        ),
        _s("backlog", "--backlog", "int", 2048, "option"),
        _s("reuse_port", "--reuse-port", "bool", False, "command", "accept_mode=reuseport"),
        _s("protocol", "--protocol", "text", "http", "command", "http, uwsgi, fastcgi, scgi: of all of bind"),
        _s(
            "uwsgi_allow_ips",
            "--uwsgi-allow-from",
            "addresses",
            "127.0.0.1,::1",
            "command",
            "added to forwarded_allow_ips, with protocol uwsgi",
        ),
        _s(
            "sendfile",
            "--no-sendfile",
            "off",
            None,
            "command",
            "files always go out by sendfile: False is refused",
        ),
        # workers
        _s("workers", "-w --workers", "int", 1, "option"),
        _s(
            "worker_class",
            "-k --worker-class",
            "any",
            "sync",
            "command",
            "sync, gthread, gevent, tornado, asyncio; uvicorn's classes are asyncio",
        ),
        _s(
            "threads",
            "--threads",
            "int",
            1,
            "command",
            "the same: more than 1, or gthread, run beside the loop",
        ),
        _s("worker_connections", "--worker-connections", "int", 1000, "option"),
        _s("max_requests", "--max-requests", "int", 0, "option"),
        _s("max_requests_jitter", "--max-requests-jitter", "int", 0, "option"),
        _s("timeout", "-t --timeout", "int", 30, "option", "heartbeat_timeout"),
        _s("graceful_timeout", "--graceful-timeout", "int", 30, "option"),
        _s("keepalive", "--keep-alive", "int", 2, "option", "keepalive"),
        _s("preload_app", "--preload", "bool", False, "command", "the application is loaded before the fork"),
        _s("worker_tmp_dir", "--worker-tmp-dir", "text", None, "needless", "workers beat in shared memory"),
        _s("tmp_upload_dir", "", "text", None, "option", "spool_dir"),
        _s("pidfile", "-p --pid", "text", None, "option"),
        _s("user", "-u --user", "any", None, "option"),
        _s("group", "-g --group", "any", None, "option"),
        _s("umask", "-m --umask", "octal", 0, "command", "umask, and mode of unix sockets"),
        _s("initgroups", "--initgroups", "bool", False, "needless", "workers have all groups of user"),
        # limits and trust
        _s("limit_request_line", "--limit-request-line", "int", 4094, "command", "the same; 0 is 1g"),
        _s("limit_request_fields", "--limit-request-fields", "int", 100, "option"),
        _s(
            "limit_request_field_size",
            "--limit-request-field_size --limit-request-field-size",
            "int",
            8190,
            "command",
            "the same; 0 is 1g",
        ),
        _s(
            "forwarded_allow_ips",
            "--forwarded-allow-ips",
            "addresses",
            "127.0.0.1,::1",
            "command",
            "the same, and unix sockets as in gunicorn",
        ),
        _s("proxy_protocol", "--proxy-protocol", "any", "off", "command", "off, v1, v2, auto"),
        _s(
            "proxy_allow_ips",
            "--proxy-allow-from",
            "addresses",
            "127.0.0.1,::1",
            "command",
            "the same, and unix sockets as in gunicorn",
        ),
        _s(
            "secure_scheme_headers",
            "",
            "dict",
            {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
            "refused",
            "X-Forwarded-Proto, -Protocol, -Ssl and Forwarded of trusted peers count, and no others",
        ),
        _s(
            "forwarder_headers",
            "--forwarder-headers",
            "addresses",
            "SCRIPT_NAME,PATH_INFO",
            "refused",
            "prefixes come by uwsgi, FastCGI and SCGI, and not from header fields",
        ),
        _s(
            "header_map",
            "--header-map",
            "text",
            "drop",
            "refused",
            "header fields whose names have an underscore are dropped",
        ),
        _s("permit_obsolete_folding", "--permit-obsolete-folding", "bool", False, "refused", LENIENT),
        _s("strip_header_spaces", "--strip-header-spaces", "bool", False, "refused", LENIENT),
        _s(
            "permit_unconventional_http_method",
            "--permit-unconventional-http-method",
            "bool",
            False,
            "needless",
            "methods are tokens, in whatever case",
        ),
        _s(
            "permit_unconventional_http_version",
            "--permit-unconventional-http-version",
            "bool",
            False,
            "refused",
            LENIENT,
        ),
        _s("casefold_http_method", "--casefold-http-method", "bool", False, "refused", LENIENT),
        # logs
        _s("accesslog", "--access-logfile", "text", None, "command", "accesslog"),
        _s(
            "access_log_format",
            "--access-logformat",
            "text",
            '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
            "option",
        ),
        _s("errorlog", "--error-logfile --log-file", "text", "-", "command", "errorlog"),
        _s("loglevel", "--log-level", "text", "info", "command", "loglevel; critical is error"),
        _s(
            "logger_class",
            "--logger-class",
            "any",
            "gunicorn.glogging.Logger",
            "command",
            "a class like gateway.logs.Logger; logs go through Python's logging",
        ),
        _s("logconfig", "--log-config", "text", None, "command", "the same: through Python's logging"),
        _s("logconfig_dict", "", "dict", {}, "command", "the same: through Python's logging"),
        _s(
            "logconfig_json",
            "--log-config-json",
            "text",
            None,
            "command",
            "the same: through Python's logging",
        ),
        _s("syslog", "--log-syslog", "bool", False, "command", "the same: through Python's logging"),
        _s("syslog_addr", "--log-syslog-to", "text", "udp://localhost:514", "command", "the same"),
        _s("syslog_prefix", "--log-syslog-prefix", "text", None, "command", "the same"),
        _s("syslog_facility", "--log-syslog-facility", "text", "user", "command", "the same"),
        _s(
            "disable_redirect_access_to_syslog",
            "--disable-redirect-access-to-syslog",
            "bool",
            False,
            "command",
            "the same",
        ),
        _s("statsd_host", "--statsd-host", "any", None, "warned", STATSD),
        _s("statsd_prefix", "--statsd-prefix", "text", "", "warned", STATSD),
        _s("dogstatsd_tags", "--dogstatsd-tags", "text", "", "warned", STATSD),
        _s(
            "enable_backlog_metric",
            "--enable-backlog-metric",
            "bool",
            False,
            "needless",
            "it is in metrics_path",
        ),
        _s("control_socket", "--control-socket", "text", None, "option"),
        _s(
            "control_socket_mode",
            "--control-socket-mode",
            "octal",
            0o600,
            "warned",
            "the mode is 600, and less if the umask says so",
        ),
        _s(
            "control_socket_disable",
            "--no-control-socket",
            "bool",
            False,
            "needless",
            "there is none unless control_socket names it",
        ),
        # hooks
        *(
            _s(name, "", "hook", None, "command", "the same")
            for name in (
                "on_starting",
                "on_reload",
                "when_ready",
                "pre_fork",
                "post_fork",
                "post_worker_init",
                "worker_int",
                "worker_abort",
                "pre_exec",
                "pre_request",
                "post_request",
                "child_exit",
                "worker_exit",
                "nworkers_changed",
                "on_exit",
            )
        ),
        _s("ssl_context", "", "hook", None, "refused", TLS),
        # what is not there
        *(
            _s(name, flag, kind, default, "refused", TLS)
            for name, flag, kind, default in (
                ("keyfile", "--keyfile", "text", None),
                ("certfile", "--certfile", "text", None),
                ("ca_certs", "--ca-certs", "text", None),
                ("ciphers", "--ciphers", "text", None),
                ("ssl_version", "--ssl-version", "any", None),
                ("cert_reqs", "--cert-reqs", "any", 0),
                ("do_handshake_on_connect", "--do-handshake-on-connect", "bool", False),
            )
        ),
        _s("suppress_ragged_eofs", "--suppress-ragged-eofs", "bool", True, "needless", "it is about TLS"),
        _s("http_protocols", "--http-protocols", "text", "h1", "refused", HTTP2),
        _s("http2_cleartext", "--http2-cleartext", "text", "off", "refused", HTTP2),
        *(
            _s(name, "--" + name.replace("_", "-"), "int", default, "warned", HTTP2)
            for name, default in (
                ("http2_max_concurrent_streams", 100),
                ("http2_initial_window_size", 65535),
                ("http2_max_frame_size", 16384),
                ("http2_max_header_list_size", 65536),
            )
        ),
        _s("paste", "--paste --paster", "text", None, "refused", PASTE),
        _s("raw_paste_global_conf", "--paste-global", "list", [], "refused", PASTE),
        _s("spew", "--spew", "bool", False, "refused", "a debugger or a profiler does that"),
        _s("http_parser", "--http-parser", "text", "auto", "needless", "there is one parser"),
        _s("asgi_loop", "--asgi-loop", "text", "auto", "command", "auto is asyncio, uvloop is uvloop"),
        _s(
            "asgi_lifespan",
            "--asgi-lifespan",
            "text",
            "auto",
            "command",
            "the same, with worker_class asyncio",
        ),
        _s(
            "asgi_disconnect_grace_period",
            "--asgi-disconnect-grace-period",
            "int",
            3,
            "warned",
            "an application is told at once that its client has left",
        ),
        _s(
            "root_path",
            "--root-path",
            "text",
            "",
            "refused",
            "a web server in front says it: SCRIPT_NAME by uwsgi, FastCGI or SCGI",
        ),
        _s(
            "websocket_max_message_size",
            "--websocket-max-message-size",
            "int",
            16777216,
            "warned",
            "WebSockets are not in this version",
        ),
        _s("dirty_apps", "--dirty-app", "list", [], "refused", DIRTY),
        *(
            _s(
                name,
                "--" + name.replace("_", "-"),
                "int",
                default,
                "refused" if name == "dirty_workers" else "warned",
                DIRTY,
            )
            for name, default in (
                ("dirty_workers", 0),
                ("dirty_timeout", 300),
                ("dirty_threads", 1),
                ("dirty_graceful_timeout", 30),
            )
        ),
        *(
            _s(name, "", "hook", None, "warned", DIRTY)
            for name in (
                "on_dirty_starting",
                "dirty_post_fork",
                "dirty_worker_init",
                "dirty_worker_exit",
            )
        ),
    )
}
"""By name, in the order of gateway --help."""


def with_options(options: list[tuple[str, str, str, str]]) -> dict[str, Setting]:
    """The table, and behind it the library's options that gunicorn has no name for."""
    taken = set(SETTINGS) | {each.what for each in SETTINGS.values() if each.how == "option"}
    hidden = {"preload", "signals", "systemd", "worker_model", "accept_mode", "umask"}
    table = dict(SETTINGS)
    for name, kind, preset, _help in options:
        if name not in taken and name not in hidden:
            flag = "--" + name.replace("_", "-")
            table[name] = Setting(name, (flag,), "bool?" if kind == "bool" else "value", None, "option", name)
    return table


def table() -> str:
    """gunicorn's settings and what they are here, for the README."""
    lines = ["| setting | here |", "| --- | --- |"]
    for setting in sorted(SETTINGS.values()):
        how, what = setting.how, setting.what
        text = {
            "option": "the same" if what == setting.name else f"`{what}`",
            "command": what,
            "refused": f"an error: {what}",
            "warned": f"a warning: {what}",
            "needless": f"not needed: {what}",
        }[how]
        flags = " ".join(f"`{flag}`" for flag in setting.flags)
        lines.append(f"| `{setting.name}` {flags}".rstrip() + f" | {text} |")
    return "\n".join(lines) + "\n"
