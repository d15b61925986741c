"""The library's log through Python's logging, with gunicorn's loggers: gunicorn.error, gunicorn.access.

Only where that is asked for: the library writes its logs itself, faster.
"""

from __future__ import annotations

import base64
import logging
import logging.config
import logging.handlers
import os
import sys
import time
from datetime import timedelta
from typing import Any

LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
"""Of the library's levels."""

NAMES = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


class Logger:
    """gunicorn.glogging.Logger: records of the library go to `error_log`, requests to `access_log`."""

    error_fmt = r"%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = r"[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"

    def __init__(self, cfg: Any):
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = False
        self.access_log = logging.getLogger("gunicorn.access")
        self.access_log.propagate = False
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Handlers as the settings have them."""
        self.error_log.setLevel(NAMES.get(str(cfg.loglevel).lower(), logging.INFO))
        self.access_log.setLevel(logging.INFO)
        self._set_handler(self.error_log, cfg.errorlog, logging.Formatter(self.error_fmt, self.datefmt))
        if cfg.accesslog is not None:
            self._set_handler(self.access_log, cfg.accesslog, logging.Formatter(self.access_fmt), sys.stdout)
        if cfg.syslog:
            self._set_syslog(cfg, self.error_log, "error")
            if not cfg.disable_redirect_access_to_syslog:
                self._set_syslog(cfg, self.access_log, "access")
        if cfg.logconfig_dict:
            logging.config.dictConfig({**self._defaults(), **cfg.logconfig_dict})
        elif cfg.logconfig_json:
            import json

            with open(cfg.logconfig_json, encoding="utf-8") as file:
                logging.config.dictConfig({**self._defaults(), **json.load(file)})
        elif cfg.logconfig:
            if not os.path.exists(cfg.logconfig):
                raise RuntimeError(f"log config '{cfg.logconfig}' not found")
            logging.config.fileConfig(
                cfg.logconfig,
                defaults={"__file__": cfg.logconfig, "here": os.path.dirname(cfg.logconfig)},
                disable_existing_loggers=False,
            )

    def _defaults(self) -> dict[str, Any]:
        """gunicorn's, to which a dictionary adds."""
        handler = {"class": "logging.StreamHandler", "formatter": "generic"}
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "root": {"level": "INFO", "handlers": ["console"]},
            "loggers": {
                "gunicorn.error": {
                    "level": "INFO",
                    "handlers": ["error_console"],
                    "propagate": True,
                    "qualname": "gunicorn.error",
                },
                "gunicorn.access": {
                    "level": "INFO",
                    "handlers": ["console"],
                    "propagate": True,
                    "qualname": "gunicorn.access",
                },
            },
            "handlers": {
                "console": {**handler, "stream": "ext://sys.stdout"},
                "error_console": {**handler, "stream": "ext://sys.stderr"},
            },
            "formatters": {
                "generic": {"format": self.error_fmt, "datefmt": self.datefmt, "class": "logging.Formatter"}
            },
        }

    def _set_handler(
        self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream=None
    ) -> None:
        for old in [old for old in log.handlers if getattr(old, "_gunicorn", False)]:
            log.removeHandler(old)
        if output is None:
            return
        if output == "-":
            handler: logging.Handler = logging.StreamHandler(stream or sys.stderr)
        else:
            handler = logging.handlers.WatchedFileHandler(output)
        handler.setFormatter(fmt)
        handler._gunicorn = True  # type: ignore[attr-defined]
        log.addHandler(handler)

    def _set_syslog(self, cfg: Any, log: logging.Logger, name: str) -> None:
        prefix = cfg.syslog_prefix or (cfg.proc_name or "gateway").replace(":", ".")
        kind, _, rest = cfg.syslog_addr.partition("://")
        if kind == "unix":
            path, _, way = rest.partition("#")
            import socket

            types = {"dgram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
            handler = logging.handlers.SysLogHandler(path, _facility(cfg), types.get(way))
        elif kind in ("udp", "tcp"):
            import socket

            host, _, port = rest.rpartition(":") if ":" in rest else (rest, "", "514")
            socktype = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
            handler = logging.handlers.SysLogHandler((host.strip("[]"), int(port)), _facility(cfg), socktype)
        else:
            raise ValueError(
                f"log_syslog_to {cfg.syslog_addr!r}: it is unix://PATH#dgram, udp://HOST:PORT or tcp://..."
            )
        handler.setFormatter(logging.Formatter(f"gunicorn.{prefix}.{name} {self.syslog_fmt}"))
        handler._gunicorn = False  # type: ignore[attr-defined]
        log.addHandler(handler)

    def critical(self, msg, *args, **kwargs) -> None:
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg, *args, **kwargs) -> None:
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg, *args, **kwargs) -> None:
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg, *args, **kwargs) -> None:
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg, *args, **kwargs) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg, *args, **kwargs) -> None:
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl, msg, *args, **kwargs) -> None:
        if isinstance(lvl, str):
            lvl = NAMES.get(lvl.lower(), logging.INFO)
        self.error_log.log(lvl, msg, *args, **kwargs)

    def reopen_files(self) -> None:
        """Nothing: a file that was moved away is noticed."""

    def close_on_exec(self) -> None:
        """Nothing: Python's descriptors are not inherited."""

    def now(self) -> str:
        """[17/May/2026:12:00:00 +0000]"""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def atoms(self, resp, req, environ, request_time: timedelta) -> dict[str, Any]:
        """What an access log line is made of: gunicorn's."""
        query = environ.get("QUERY_STRING", "")
        atoms = {
            "h": environ.get("REMOTE_ADDR") or "-",
            "l": "-",
            "u": _user(environ) or "-",
            "t": self.now(),
            "r": f"{environ['REQUEST_METHOD']} {environ.get('REQUEST_URI', '')} {environ['SERVER_PROTOCOL']}",
            "s": str(resp.status_code),
            "m": environ["REQUEST_METHOD"],
            "U": environ.get("PATH_INFO", ""),
            "q": query,
            "H": environ["SERVER_PROTOCOL"],
            "b": str(resp.sent) if resp.sent else "-",
            "B": resp.sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": int(request_time.total_seconds()),
            "D": int(request_time.total_seconds() * 1_000_000),
            "M": int(request_time.total_seconds() * 1000),
            "L": f"{request_time.total_seconds():f}",
            "p": f"<{os.getpid()}>",
        }
        atoms.update({f"{{{name.lower()}}}i": value for name, value in req.headers})
        atoms.update({f"{{{name.lower()}}}o": value for name, value in resp.headers})
        atoms.update({f"{{{name.lower()}}}e": value for name, value in environ.items()})
        return atoms

    def access(self, resp, req, environ, request_time: timedelta) -> None:
        """A line of the access log."""
        try:
            atoms = Atoms(
                {name: _safe(value) for name, value in self.atoms(resp, req, environ, request_time).items()}
            )
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:  # noqa: BLE001 - a line of the log is no reason to end
            self.exception("Error while logging a request")


class Atoms(dict):
    """What is missing is "-"."""

    def __missing__(self, name: str) -> str:
        return self.get(name.lower(), "-")


def _safe(value: Any) -> Any:
    """No line of the log is somebody else's."""
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        value = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in value)
    return value.replace('"', '\\"')


def _user(environ: dict[str, Any]) -> str | None:
    kind, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip()).decode("utf-8").partition(":")[0]
    except ValueError:
        return None


def _facility(cfg: Any) -> int:
    name = str(cfg.syslog_facility).lower().removeprefix("log_")
    if name not in logging.handlers.SysLogHandler.facility_names:
        raise ValueError(f"log_syslog_facility: there is no {cfg.syslog_facility!r}")
    return logging.handlers.SysLogHandler.facility_names[name]


def to_library(logger: Any):
    """What serve(log=) takes, for a Logger or a logging.Logger."""

    def record(level: int, target: str, message: str, id: str) -> None:
        logger.log(LEVELS[level], "%s", f"{message} [{id}]" if id else message)

    return record


def access_of(logger: Any):
    """What Hooks(access=) takes."""

    def access(resp, req, environ, took: float) -> None:
        logger.access(resp, req, environ, timedelta(seconds=took))

    return access


def level(log: logging.Logger) -> str:
    least = log.getEffectiveLevel()
    if least >= logging.ERROR:
        return "error"
    return "warning" if least >= logging.WARNING else "info" if least >= logging.INFO else "debug"
