"""The program `gateway`: gunicorn's command line for libgateway.

config.py has where settings come from, settings.py what they are, application.py how an application is
found, kinds.py what drives a worker, reloader.py what --reload does.
"""

from __future__ import annotations

import os
import sys

from .. import _gateway
from ..errorlog import ErrorLog, descriptor
from ..hooks import ARGUMENTS
from ..serving import program
from . import kinds
from .application import AppError, explain, failing, import_app
from .config import Config, ConfigError, load
from .settings import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

CONFIG_ERROR, LOAD_ERROR = 1, 4
INTERRUPTED = 130

UPGRADE = "GATEWAY_UPGRADE"
"""In the environment of a program that the library has started again, for an upgrade."""
STARTED_IN = "GATEWAY_STARTED_IN"
"""There, too: where the first one was started."""


def run(argv: list[str]) -> int:
    """The status to exit with: 1 a configuration that is wrong, 3 a worker that does not boot, 4 an
    application that cannot be loaded."""
    try:
        return _run(argv)
    except ConfigError as error:
        print(f"gateway: error: {error}", file=sys.stderr)
        return CONFIG_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    upgrades = UPGRADE in os.environ
    home = os.environ.pop(STARTED_IN, None) if upgrades else None
    if home:
        os.chdir(home)
    home = os.getcwd()
    before = os.environ.copy()
    cfg = load(argv)
    service = Service(cfg)
    service.options()
    for text in cfg.warnings:
        print(f"gateway: warning: {text}", file=sys.stderr)
    if cfg.print_config:
        print(cfg)
    if cfg.print_config or cfg.check_config:
        return service.check()
    if cfg.daemon and not upgrades:
        daemonize(cfg.enable_stdio_inheritance)
    enter_environment(before, cfg, home)
    set_title(cfg)
    if cfg.capture_output and cfg.errorlog != "-" and (fd := descriptor(cfg.errorlog)) is not None:
        sys.stdout.flush()
        os.dup2(fd, 1)
        os.dup2(fd, 2)

    def reload() -> dict[str, Any]:
        """HUP: the configuration again, and the code too unless it was loaded here."""
        enter_environment(before, None, home)
        os.chdir(home)
        try:
            again = Service(load(argv), service.app)
            options = again.options()
            enter_environment(before, again.cfg, home)
            for text in again.cfg.warnings:
                again.say("warning", text)
            return again.program(options)
        except ConfigError as error:
            enter_environment(before, cfg, home)
            os.chdir(cfg.chdir)
            service.say("error", f"The configuration is as it was: {error}")
            raise SystemExit(CONFIG_ERROR) from None

    try:
        _gateway.serve(**service.program(service.options()), reload=reload)
    except _gateway.Failure as failure:
        message, status = failure.args
        service.say("error", message)
        return status
    except (TypeError, ValueError) as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise ConfigError(str(error)) from None
        raise
    return 0


class Service:
    """A configuration, and what is made of it."""

    def __init__(self, cfg: Config, app: Callable | None = None):
        self.cfg = cfg
        if not cfg.wsgi_app:
            raise ConfigError("no application: gateway module:app, or wsgi_app in gunicorn.conf.py")
        self.uri = cfg.wsgi_app
        if cfg.proc_name is None:
            cfg.values["proc_name"] = self.uri
        self.app = app
        self._logger: Any = None
        self._program: dict[str, Any] = {}

    # ---- options ----

    def options(self) -> dict[str, Any]:
        """The library's; ConfigError for what cannot be."""
        cfg, given = self.cfg, {}
        for name, setting in cfg.settings.items():
            value = cfg.values[name]
            if name not in cfg.said or value == setting.default:
                if setting.how == "option" and name in SETTINGS and value is not None:
                    given[setting.what] = value
                continue
            if setting.how == "option" and value is not None:
                given[setting.what] = value
            elif setting.how == "refused":
                raise ConfigError(f"{cfg.said[name]}: {name} is not there: {setting.what}")
            elif setting.how == "warned":
                self._warn(f"{cfg.said[name]}: {name} does nothing: {setting.what}")
            elif setting.how == "needless":
                self._warn(f"{cfg.said[name]}: {name} is not needed: {setting.what}")
        given |= {"signals": 1, "systemd": 1, "errorlog": cfg.errorlog or ""}
        given |= self._addresses() | self._trust() | self._logs() | kinds.options_of(cfg)
        for name in ("limit_request_line", "limit_request_field_size"):
            given[name] = cfg.values[name] or "1g"
        if given["limit_request_fields"] == 0:
            given["limit_request_fields"] = 32768
        if cfg.sendfile is False:
            self._warn(
                f"{cfg.said['sendfile']}: sendfile = False does nothing: files always go out by sendfile"
            )
        if cfg.reload_engine not in ("auto", "poll"):
            self._warn(
                f"{cfg.said['reload_engine']}: reload_engine {cfg.reload_engine!r} is not there: poll is used"
            )
        if cfg.reload and cfg.preload_app:
            self._warn("reload: preload_app is left out, or new workers would have the old code")
            cfg.values["preload_app"] = False
        if "umask" in cfg.said:
            given["umask"] = f"{cfg.umask:o}"
        if cfg.reuse_port:
            given["accept_mode"] = "reuseport"
        return given

    def _warn(self, text: str) -> None:
        if text not in self.cfg.warnings:
            self.cfg.warnings.append(text)

    def _addresses(self) -> dict[str, Any]:
        cfg = self.cfg
        if "bind" not in cfg.said and os.environ.get("LISTEN_PID") == str(os.getpid()):
            return {}  # systemd has bound them
        protocol = str(cfg.protocol).lower()
        if protocol not in ("http", "uwsgi", "fastcgi", "scgi"):
            raise ConfigError(
                f"{cfg.said['protocol']}: protocol {protocol!r}: it must be http, uwsgi, fastcgi or scgi"
            )
        return {"bind": [self._address(each, protocol) for each in cfg.bind]}

    def _address(self, address: str, protocol: str) -> str:
        if address.startswith("unix:") and "?" not in address and not address.startswith("unix:@"):
            address += f"?mode={0o777 & ~self.cfg.umask:o}"
        elif address.isdigit():
            address = f":{address}"  # gunicorn's: a port alone
        elif ":" not in address.rpartition("]")[2] and "/" not in address:
            address += ":8000"
        if address.startswith("0:"):
            address = "0.0.0.0" + address[1:]
        return (
            address
            if protocol == "http" or "://" in address
            else f"{protocol}://{address}".replace("://unix:", "+unix:")
        )

    def _trust(self) -> dict[str, Any]:
        cfg = self.cfg
        fronts = cfg.forwarded_allow_ips or ""
        if str(cfg.protocol).lower() == "uwsgi" and "uwsgi_allow_ips" in cfg.said:
            fronts = ",".join(filter(None, (fronts, cfg.uwsgi_allow_ips)))
        proxy = cfg.proxy_protocol
        proxy = {True: "auto", False: "off", "True": "auto", "False": "off", None: "off"}.get(proxy, proxy)
        return {
            "forwarded_allow_ips": _trusted(fronts),
            "proxy_allow_ips": _trusted(cfg.proxy_allow_ips or ""),
            "proxy_protocol": str(proxy).lower(),
        }

    def _logs(self) -> dict[str, Any]:
        cfg = self.cfg
        level = str(cfg.loglevel).lower()
        given = {"loglevel": {"critical": "error", "warning": "warn"}.get(level, level)}
        if level not in ("critical", "error", "warning", "warn", "info", "debug"):
            raise ConfigError(
                f"{cfg.said['loglevel']}: loglevel {level!r}: it must be debug, info, warning or error"
            )
        if self.through_logging:
            given["accesslog"] = ""
        elif cfg.accesslog:
            given["accesslog"] = cfg.accesslog
        return given

    @property
    def through_logging(self) -> bool:
        """Whether logs go through Python's logging: where that is asked for."""
        cfg = self.cfg
        names = ("logconfig", "logconfig_dict", "logconfig_json", "syslog")
        return any(cfg.values[name] for name in names) or "logger_class" in cfg.said

    @property
    def logger(self) -> Any:
        """An object of logger_class; None: the library writes its logs."""
        if self._logger is None and self.through_logging:
            from .. import logs

            kind = self.cfg.logger_class
            if isinstance(kind, str):
                kind = kind.replace(":", ".")
                try:
                    kind = logs.Logger if kind == SETTINGS["logger_class"].default else _class(kind)
                except AppError as error:
                    raise ConfigError(f"{self.cfg.said['logger_class']}: logger_class: {error}") from error
            try:
                self._logger = kind(self.cfg)
            except (RuntimeError, ValueError, KeyError, OSError) as error:
                raise ConfigError(f"logging: {error}") from error
        return self._logger

    # ---- what is served ----

    def program(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the extension serves."""
        cfg, logger = self.cfg, self.logger
        has_access = logger is not None and (
            cfg.accesslog is not None
            or cfg.logconfig
            or cfg.logconfig_dict
            or cfg.logconfig_json
            or cfg.syslog
            or "logger_class" in cfg.said
        )
        if has_access:
            from ..logs import access_of
        if cfg.preload_app and self.app is None:
            self.app = self.load_here()
        return program(
            self.app if cfg.preload_app else None,
            load=None if cfg.preload_app else self.load_in_worker,
            hooks={name: cfg.values[name] for name in ARGUMENTS},
            log=logger,
            access=access_of(logger) if has_access else None,
            cfg=cfg,
            **options,
        )

    def load_here(self) -> Callable:
        """The application, or the end of the program."""
        try:
            return self.fitting(import_app(self.uri))
        except Exception as error:  # noqa: BLE001 - whatever a module raises
            self.say("error", explain(self.uri, error))
            raise SystemExit(LOAD_ERROR) from None

    def fitting(self, app: Callable) -> Callable:
        """The same, or AppError: an ASGI application needs a loop."""
        if (is_coroutine(app) or is_coroutine(type(app).__call__)) and kinds.kind_of(self.cfg) != "asyncio":
            raise AppError(f"{self.uri} is an ASGI application: it needs --worker-class asyncio")
        return app

    def load_in_worker(self) -> Callable:
        """The application; SystemExit, which the arbiter is to hear, without one."""
        if not self.cfg.reload:
            return self.load_here()
        from .reloader import Reloader, files_in

        watcher = Reloader(self.cfg.reload_extra_files, lambda text: self.say("info", text))
        try:
            app = self.fitting(import_app(self.uri))
        except Exception as error:  # noqa: BLE001 - whatever a module raises
            text = explain(self.uri, error)
            self.say("error", text)
            cause = error.__cause__ or error
            watcher.also |= files_in(error) | files_in(cause)
            app = failing(text)
        watcher.start()
        return app

    def check(self) -> int:
        """Whether it could be served."""
        given = self.program(self.options())
        load = given.pop("load", None)
        if load is not None:
            given["app"] = self.load_here()
        # Another server may have these at present.
        for name in ("pidfile", "control_socket"):
            given.pop(name, None)
        _checked(given)
        given["bind"] = "127.0.0.1:0"
        problems = _checked(given)
        for problem in problems:
            print(f"gateway: error: {problem}", file=sys.stderr)
        return CONFIG_ERROR if problems else 0

    def say(self, level: str, text: str) -> None:
        """Lines of the error log, from Python."""
        getattr(self.logger or ErrorLog(self.cfg.errorlog), level)("%s", text)


def is_coroutine(function: Any) -> bool:
    """Whether it was written `async def`; inspect knows, too, and takes a megabyte."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x80)


def _checked(given: dict[str, Any]) -> list[str]:
    try:
        return _gateway.check(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _trusted(addresses: str) -> str:
    """gunicorn trusts whoever can reach a unix socket."""
    if "*" in addresses:
        return "*"
    return ",".join(filter(None, (addresses, "unix")))


def _class(name: str) -> Any:
    from .application import find

    module, _, attribute = name.rpartition(".")
    return find(module, attribute)


def enter_environment(before: Mapping[str, str], cfg: Config | None, home: str) -> None:
    """The environment as it was, with what the settings add."""
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
    if cfg is not None:
        os.environ.update(cfg.env)
    if os.getcwd() != home:
        os.environ[STARTED_IN] = home


def set_title(cfg: Config) -> None:
    """The name of the processes, where somebody wants one."""
    if "proc_name" not in cfg.said:
        return
    try:
        from setproctitle import setproctitle
    except ImportError:
        print("gateway: warning: proc_name: it needs the package setproctitle", file=sys.stderr)
        return
    setproctitle(f"gateway: {cfg.proc_name}")


def daemonize(keep_output: bool) -> None:
    """This program, behind whoever started it."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0,) if keep_output else (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
