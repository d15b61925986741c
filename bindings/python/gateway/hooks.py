"""gunicorn's hooks, of the library's: what they are given has gunicorn's names.

Those that are not set are not registered, and cost nothing.
"""

from __future__ import annotations

import os
import sys

from .errorlog import ErrorLog, descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes half a megabyte, and an application may do without
    from collections.abc import Callable, Mapping
    from typing import Any

ARGUMENTS = {
    "on_starting": 1,
    "on_reload": 1,
    "when_ready": 1,
    "pre_fork": 2,
    "post_fork": 2,
    "post_worker_init": 1,
    "worker_int": 1,
    "worker_abort": 1,
    "pre_exec": 1,
    "pre_request": 2,
    "post_request": 4,
    "child_exit": 2,
    "worker_exit": 2,
    "nworkers_changed": 3,
    "on_exit": 1,
}
"""gunicorn's hooks, and how many arguments each takes."""


class Worker:
    """A worker, as hooks see it: `pid`, `ppid`, `age` (1 is the first), `slot` (its place, reused),
    `generation` (counts reloads), `cfg`, `log`; `exit_status` (as waitpid's) and `cause` in child_exit."""

    def __init__(self, server: Server, age: int, slot: int, generation: int):
        self.server = server
        self.age, self.slot, self.generation = age, slot, generation
        self.pid: int | str = "[booting]"
        self.ppid = server.pid
        self.cfg = server.cfg
        self.app: Any = None
        self.booted = self.aborted = False
        self.alive = True
        self.exit_status: int | None = None
        self.cause = 0

    @property
    def log(self) -> Any:
        return self.server.log

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"

    __str__ = __repr__


class Server:
    """The arbiter, as hooks see it: `pid`, `cfg`, `log`, `num_workers`, `WORKERS` (by pid), `address`."""

    def __init__(self, cfg: Any, log: Any, workers: int, address: Any = None):
        self.pid = os.getpid()
        self.cfg, self.log = cfg, log
        self.app: Any = None
        self.num_workers = workers
        self.worker_age = 0
        self.address = address
        self.WORKERS: dict[int, Worker] = {}

    def __repr__(self) -> str:
        return f"<Server {self.pid}>"


class Request:
    """A request, as pre_request and post_request see it: `method`, `path`, `query`, `uri`, `version`,
    `scheme`, `headers` (pairs, names in capitals), `remote_addr`; `environ` has all of it."""

    def __init__(self, environ: dict[str, Any]):
        self.environ = environ
        self.method = environ.get("REQUEST_METHOD", "")
        self.uri = environ.get("REQUEST_URI", "")
        self.path, _, self.query = self.uri.partition("?")
        self.scheme = environ.get("wsgi.url_scheme", "http")
        protocol = environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2]
        self.version = tuple(int(part) for part in protocol.split(".") if part.isdigit())
        self.remote_addr = environ.get("REMOTE_ADDR", "")
        self.headers = [
            (name[5:].replace("_", "-"), value) for name, value in environ.items() if name[:5] == "HTTP_"
        ]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(name):
                self.headers.append((name.replace("_", "-"), environ[name]))


class Response:
    """An answer that has ended: `status` ("200 OK"), `status_code`, `headers`, `sent` (octets of the body),
    `request_time` (seconds)."""

    def __init__(self, status: int, headers: list[tuple[str, str]], sent: int, request_time: float):
        from http.client import responses

        self.status_code = status
        self.status = f"{status} {responses.get(status, '')}".rstrip()
        self.headers, self.sent, self.request_time = headers, sent, request_time
        self.response_length = sent
        self.headers_sent = True


class Hooks:
    """What is done at which moment: `of_library` is for the extension."""

    def __init__(
        self,
        hooks: Mapping[str, Callable] | None = None,
        *,
        cfg: Any = None,
        log: Any = None,
        workers: int = 1,
        address: Any = None,
        traceback: str | int | None = None,
        level: str = "info",
        access: Callable | None = None,
    ):
        self.user = {name: hook for name, hook in (hooks or {}).items() if hook is not None}
        for name, hook in self.user.items():
            if name not in ARGUMENTS:
                raise TypeError(f"there is no hook {name!r}{suggestion(name, ARGUMENTS)}")
            if not callable(hook):
                raise TypeError(f"the hook {name!r} is {type(hook).__name__}, which cannot be called")
        self.server = Server(cfg, log or ErrorLog(traceback, level), workers, address)
        self.worker: Worker | None = None  # in its own process; before, the one that is about to be forked
        self.traceback = traceback
        self.access = access

    def of_library(self) -> dict[str, Callable]:
        """The hooks of the library that are needed for these."""
        found: dict[str, Callable] = {"post_fork": self.post_fork, "worker_exit": self.worker_exit}
        user = self.user
        for name in ("on_starting", "when_ready", "on_reload", "on_exit", "pre_exec"):
            if name in user:
                found[name] = lambda hook=user[name]: hook(self.server)
        if any(name in user for name in ARGUMENTS if name not in ("on_starting", "on_exit")):
            found |= {"pre_fork": self.pre_fork, "spawned": self.spawned, "child_exit": self.child_exit}
            found |= {"nworkers_changed": self.nworkers_changed}
        if "worker_int" in user:
            found["worker_int"] = lambda *_: user["worker_int"](self.worker)
        if "pre_request" in user:
            found["pre_request"] = lambda environ: user["pre_request"](self.worker, Request(environ))
        if "post_request" in user or self.access is not None:
            found["access"] = self.ended
        return found

    # ---- in the arbiter ----

    def pre_fork(self, slot: int, generation: int) -> None:
        self.server.worker_age += 1
        self.worker = Worker(self.server, self.server.worker_age, slot, generation)
        self.call("pre_fork", self.server, self.worker)

    def spawned(self, pid: int, slot: int, generation: int) -> None:
        if self.worker is not None:
            self.worker.pid = pid
            self.server.WORKERS[pid] = self.worker

    def child_exit(self, pid: int, slot: int, generation: int, status: int, cause: int) -> None:
        worker = self.server.WORKERS.pop(pid, None)
        if worker is not None:
            worker.exit_status, worker.cause, worker.alive = status, cause, False
            self.call("child_exit", self.server, worker)

    def nworkers_changed(self, now: int, before: int) -> None:
        self.server.num_workers = now
        self.call("nworkers_changed", self.server, now, before)

    # ---- in workers ----

    def post_fork(self, pid: int, slot: int, generation: int) -> None:
        import atexit

        if self.worker is None:
            self.worker = Worker(self.server, self.server.worker_age, slot, generation)
        self.worker.pid = pid
        atexit._clear()  # those of the arbiter are for its own end
        self.watch_faults()
        self.call("post_fork", self.server, self.worker)

    def loaded(self, app: Any) -> None:
        """The worker has its application."""
        if self.worker is not None:
            self.worker.app, self.worker.booted = app, True
        self.call("post_worker_init", self.worker)

    def worker_exit(self, pid: int, slot: int, generation: int) -> None:
        import atexit

        if self.worker is not None:
            self.worker.alive = False
        self.call("worker_exit", self.server, self.worker)
        if pid:
            atexit._run_exitfuncs()
            for output in (sys.stdout, sys.stderr):
                if output is not None:
                    output.flush()

    def ended(self, environ, status, headers, sent, received, start, took) -> None:
        request, response = Request(environ), Response(status, headers, sent, took)
        if self.access is not None:
            environ.setdefault("RAW_URI", request.uri)  # gunicorn's name, which its loggers want
            self.access(response, request, environ, took)
        hook = self.user.get("post_request")
        if hook is not None:
            hook(*(self.worker, request, environ, response)[: arity(hook, 4)])

    def call(self, name: str, *args: Any) -> None:
        hook = self.user.get(name)
        if hook is not None:
            hook(*args)

    # ---- a worker that hangs, or crashes ----

    def watch_faults(self) -> None:
        """Whatever kills this process tells where its threads were: one that hangs is sent ABRT."""
        import faulthandler

        enabled = faulthandler.is_enabled()
        if "worker_abort" in self.user:
            faulthandler.disable()  # it puts back what was there before
            self.watch_abort()
        elif enabled:
            return  # the program has said where to
        fd = descriptor(self.traceback)
        if fd is not None:
            faulthandler.enable(file=fd, all_threads=True)

    def watch_abort(self) -> None:
        """worker_abort, in a thread of its own: the others may be in what hangs."""
        import signal
        import threading

        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.signal(signal.SIGABRT, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def wait() -> None:
            while signal.SIGABRT not in os.read(reader, 64):
                pass
            try:
                if self.worker is not None:
                    self.worker.aborted, self.worker.alive = True, False
                self.call("worker_abort", self.worker)
            finally:
                os._exit(1)

        threading.Thread(target=wait, name="gateway-abort", daemon=True).start()


def arity(function: Callable, most: int) -> int:
    """How many arguments it takes, up to so many."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return most
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return most
    return min(
        most, sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters)
    )


def suggestion(name: str, among: Any) -> str:
    """': did you mean this?', or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(among), 1, 0.6)
    return f": did you mean {close[0]!r}?" if close else ""
