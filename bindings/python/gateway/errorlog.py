"""Lines of the error log from Python, as the library writes its own."""

from __future__ import annotations

import os

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "critical": 50}


def descriptor(target: str | int | None) -> int | None:
    """A descriptor of a log: "-" is standard error, None nowhere, else a file or "fd:N"."""
    if target is None or target == "":
        return None
    if isinstance(target, int):
        return target
    if target == "-":
        return 2
    if target.startswith("fd:"):
        return int(target[3:])
    return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


class ErrorLog:
    """What hooks have as `server.log` and `worker.log` where logs do not go through Python's logging."""

    def __init__(self, target: str | int | None, level: str = "info"):
        self.target = target
        self.level = LEVELS.get(level, 20)

    def log(self, level: str | int, msg: object, *args: object, exc_info: object = None) -> None:
        """A line, or several; args are for `%`, as in logging. `level` is a name, or logging's number."""
        import time

        number = LEVELS.get(level.lower(), 20) if isinstance(level, str) else level
        if number < self.level:
            return
        name = next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")
        text = str(msg) % args if args else str(msg)
        if exc_info:
            import traceback

            text += "\n" + traceback.format_exc().rstrip()
        stamp = time.strftime("[%Y-%m-%d %H:%M:%S %z]")
        fd = descriptor(self.target)
        if fd is None:
            return
        try:
            os.write(
                fd, f"{stamp} [{os.getpid()}] [{name.upper()}] {text}\n".encode("utf-8", "backslashreplace")
            )
        finally:
            if fd > 2 and isinstance(self.target, str) and not self.target.startswith("fd:"):
                os.close(fd)

    def debug(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("debug", msg, *args, **kwargs)

    def info(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("info", msg, *args, **kwargs)

    def warning(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("warning", msg, *args, **kwargs)

    def error(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("error", msg, *args, **kwargs)

    def critical(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("critical", msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: object) -> None:
        self.log("error", msg, *args, exc_info=True, **kwargs)
