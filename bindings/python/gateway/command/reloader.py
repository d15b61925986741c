"""Workers that leave when their code changes, in development: those that replace them load it anew."""

from __future__ import annotations

import glob
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable

EVERY = 0.5
"""Seconds between two looks."""


def files_of(extra: Iterable[str] = ()) -> set[str]:
    """The sources of all modules, and what the patterns match."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path:
            found.add(path[:-1] if path.endswith((".pyc", ".pyo")) else path)
    for pattern in extra:
        found.update(glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else [pattern])
    return found


def files_in(error: BaseException) -> set[str]:
    """The sources that an exception came through: their modules may not be there."""
    found, trace = set(), error.__traceback__
    while trace is not None:
        found.add(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        found.add(error.filename)
    return {path for path in found if os.path.exists(path)}


class Reloader(threading.Thread):
    """Looks at files, and ends its process gracefully when one of them changes."""

    def __init__(self, extra: Iterable[str], say: Callable[[str], None]):
        super().__init__(name="gateway-reloader", daemon=True)
        self.extra = list(extra)
        self.say = say
        self.also: set[str] = set()
        self.since = time.time_ns()
        self.over = threading.Event()
        self.times: dict[str, int | None] = {path: _time(path) for path in files_of(self.extra)}

    def run(self) -> None:
        while not self.over.wait(EVERY):
            changed = self.changed()
            if changed:
                self.say(f"Worker reloading: {changed} modified")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def changed(self) -> str | None:
        """A file that is not as it was, or that a pattern had not found."""
        magic = {
            path
            for each in self.extra
            for path in (glob.glob(each, recursive=True) if glob.has_magic(each) else [])
        }
        for path in files_of(self.extra) | self.also | set(self.times):
            now = _time(path)
            if path not in self.times:
                self.times[path] = now
                # Written since this began: what was imported may be what was there before.
                if path in magic or (now is not None and self.since < now <= time.time_ns()):
                    return path
            elif now != self.times[path]:
                return path
        return None


def _time(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
