"""gevent: a greenlet for each request of a WSGI application.

    server = gateway.workers.gevent_.server(app, bind="127.0.0.1:8000")
    server.serve_forever()

What waits for the client - reading a body, write(), a long iterable - lets other greenlets run, and
so does everything of the standard library's when gevent.monkey has patched it: the worker does that
before it loads the application, a program that calls `server` has to do it itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event

from .. import _gateway
from .._gateway import FLUSH, Deferred
from . import Worker

__all__ = ["Application", "Attached", "Gevent", "Server", "attach", "server"]


class Application:
    """A WSGI application in greenlets: `deferred` is what the library is given for it."""

    def __init__(self, app: Any = None) -> None:
        self.app = app
        self.deferred = Deferred(self.spawn)
        #: What has the server do what it can.
        self.turn: Callable[[], None] = lambda: None
        self.greenlets: dict[gevent.Greenlet, Any] = {}

    def spawn(self, request: Any) -> None:
        """A request has come, inside turn()."""
        greenlet = gevent.Greenlet(self._answer, request)
        self.greenlets[greenlet] = request
        greenlet.start()

    def _answer(self, request: Any) -> None:
        told: gevent.event.Event | None = None

        def wait(what: int) -> None:
            nonlocal told
            if what == FLUSH:
                self.turn()
                gevent.sleep(0)
                return
            if told is None:
                told = gevent.event.Event()
                request.events = lambda what: told.set()
            told.clear()
            told.wait()

        try:
            request.wsgi(self.app, wait)
        finally:
            # What was raised - a gevent.Timeout that the application did not catch - the hub reports.
            self.greenlets.pop(gevent.getcurrent(), None)

    def shutdown(self, timeout: float | None = None) -> None:
        """When the server has stopped. What was not answered by then is killed; what goes on behind its
        answer has so many seconds to end."""
        gevent.killall([each for each, request in self.greenlets.items() if not request.answered], timeout=1)
        gevent.joinall(list(self.greenlets), timeout=timeout)
        gevent.killall(list(self.greenlets), timeout=1)


class Attached:
    """A server that is driven by this thread's hub, until it has stopped or this is detached."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._error: Exception | None = None
        self._closed = gevent.event.Event()
        self._loop = gevent.get_hub().loop
        self._io: Any = self._loop.io(server.fileno(), 1)
        self._timer: Any = None
        self._due = 0.0
        self._soon: Any = None
        self._io.start(self.turn)
        self._soon = self._loop.run_callback(self.turn)

    def turn(self) -> None:
        """Have the server do what it can: when it is due, and whenever else somebody likes. Not inside
        what the server calls."""
        if self._soon is not None:
            self._soon.stop()
            self._soon = None
        if self._closed.is_set():
            return
        try:
            wait = self.server.turn()
        except Exception as error:  # noqa: BLE001 - it is raised where somebody joins
            self._error = error
            self.detach()
            return
        if wait is None:
            self.detach()
        elif wait == 0:
            self._soon = self._loop.run_callback(self.turn)
        elif wait > 0:
            # One that is due before is left: it turns once too often, and is set again then.
            self._loop.update_now()
            due = self._loop.now() + wait
            if self._timer is None or self._due > due:
                self._stop_timer()
                self._due = due
                self._timer = self._loop.timer(wait)
                self._timer.start(self._time)

    def _time(self) -> None:
        self._stop_timer()
        self.turn()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def detach(self) -> None:
        """Drive it no more; `join` ends. The server is not closed."""
        if self._io is None:
            return
        self._io.stop()
        self._io.close()
        self._io = None
        self._stop_timer()
        if self._soon is not None:
            self._soon.stop()
            self._soon = None
        self._closed.set()

    def shutdown(self) -> None:
        """Let it answer what has come, and stop; from any thread."""
        if not self._closed.is_set():
            self.server.shutdown()

    def join(self, timeout: float | None = None) -> bool:
        """Until it has stopped, or that many seconds: whether it has."""
        done = self._closed.wait(timeout)
        if self._error is not None:
            raise self._error
        return bool(done)


def attach(server: Any) -> Attached:
    """Drive a gateway.Server, or whatever has its turn() and fileno(), by this thread's hub. What the
    server was given as application is called as it is: `server` makes one that uses greenlets."""
    return Attached(server)


class Server:
    """What `server` returns: as gevent.pywsgi.WSGIServer, as far as they are the same."""

    def __init__(self, app: Any, **options: Any) -> None:
        self._timeout = float(options.get("graceful_timeout", 30.0))
        self.application = app
        self._app = Application(app)
        self.server = _gateway.server(self._app.deferred, **options)
        self._attached: Attached | None = None

    @property
    def server_address(self) -> Any:
        """(host, port), or the path of a unix socket."""
        return self.server.server_address

    def start(self) -> None:
        """Serve, in this thread's hub."""
        if self._attached is None:
            self._attached = attach(self.server)
            self._app.turn = self._attached.turn

    def shutdown(self) -> None:
        """Let it answer what has come, and stop; from any thread."""
        if self._attached is not None:
            self._attached.shutdown()

    def stop(self) -> None:
        """Stop gracefully, and close."""
        if self._attached is not None:
            self._attached.shutdown()
            self._attached.join()
            self._attached = None
        self._app.shutdown(self._timeout)
        self.server.server_close()

    def serve_forever(self) -> None:
        """Serve until shutdown() is called."""
        self.start()
        try:
            if self._attached is not None:
                self._attached.join()
        finally:
            self.stop()


def server(app: Any, **options: Any) -> Server:
    """A server for this thread's hub, with a greenlet for each request; options are the library's."""
    return Server(app, **options)


class Gevent(Worker):
    """The gevent worker. The standard library is patched before the application is loaded."""

    name = "gevent"

    def __init__(self, *, graceful_timeout: float = 30.0, worker_connections: int = 1000) -> None:
        self._graceful_timeout = graceful_timeout
        self._app = Application()
        #: A connection has one greenlet at a time.
        self.options = {"worker_connections": worker_connections}

    def setup(self) -> None:
        from gevent import monkey

        gevent.reinit()
        monkey.patch_all()

    def application(self, app: Any) -> Any:
        self._app.app = app
        return self._app.deferred

    def run(self, server: Any) -> None:
        attached = attach(server)
        self._app.turn = attached.turn
        attached.join()
        self._app.turn = lambda: None
        self._app.shutdown(self._graceful_timeout)
