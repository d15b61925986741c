"""asyncio: a server in somebody's running loop, and the asyncio worker.

In a loop of your own:

    async with await gateway.workers.asyncio_.start(app, bind="127.0.0.1:8000") as running:
        await running.wait_closed()

or `await serve(app, ...)`, which is that. `attach(server)` drives a gateway.Server that was made by
other means, whatever it serves.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, final

from .. import _gateway
from .._gateway import FLUSH, Deferred
from . import Worker
from .asgi import Application, is_asgi

__all__ = ["Asyncio", "Attached", "Running", "attach", "serve", "start"]


class Attached:
    """A server that is driven by an asyncio loop, until it has stopped or this is detached."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._closed: asyncio.Future[None] = loop.create_future()
        self._fd = server.fileno()
        loop.add_reader(self._fd, self._turn)
        self._soon = loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        try:
            wait = self.server.turn()
        except BaseException as error:
            self.detach(error)
            if not isinstance(error, Exception):
                raise
            return
        if wait is None:
            self.detach()
        elif wait == 0:
            self._soon = self._loop.call_soon(self._turn)
        elif wait > 0:
            # One that is due before is left: it turns once too often, and is set again then.
            due = self._loop.time() + wait
            if self._timer is None or self._timer.when() > due:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        self._turn()

    def detach(self, error: BaseException | None = None) -> None:
        """Drive it no more; `wait_closed` ends. The server is not closed."""
        if self._closed.done():
            return
        self._loop.remove_reader(self._fd)
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None
        if error is None:
            self._closed.set_result(None)
        else:
            self._closed.set_exception(error)

    def shutdown(self) -> None:
        """Let it answer what has come, and stop; from any thread."""
        if not self._closed.done():
            self.server.shutdown()

    async def wait_closed(self) -> None:
        """Until it has stopped. Cancelling this does not stop it."""
        await asyncio.shield(self._closed)


def attach(server: Any, loop: asyncio.AbstractEventLoop | None = None) -> Attached:
    """Drive a gateway.Server, or whatever has its turn() and fileno(), by this loop: the running one
    where none is given. Call it in the loop's thread."""
    return Attached(server, loop or asyncio.get_running_loop())


@final
class Running:
    """What `start` returns: a server that serves, in this loop. Ends with its `async with`."""

    def __init__(self, server: Any, application: Application | Threaded, graceful_timeout: float) -> None:
        self.server = server
        self._application = application
        self._graceful_timeout = graceful_timeout
        self._attached = attach(server)

    @property
    def server_address(self) -> Any:
        """(host, port), or the path of a unix socket."""
        return self.server.server_address

    def shutdown(self) -> None:
        """Let it answer what has come, and stop; from any thread."""
        self._attached.shutdown()

    async def wait_closed(self) -> None:
        """Until somebody has called shutdown(), and everything was answered."""
        await self._attached.wait_closed()

    async def aclose(self) -> None:
        """Stop gracefully, tell the application, close."""
        self.shutdown()
        try:
            await self.wait_closed()
            await self._application.shutdown(self._graceful_timeout)
        finally:
            self._attached.detach()
            self.server.server_close()

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


class Threaded:
    """A WSGI application in threads: `deferred` is what the library is given for it."""

    def __init__(self, app: Any, threads: int) -> None:
        self.app = app
        self.deferred = Deferred(self.spawn)
        self._futures: dict[Future[None], Any] = {}
        self._pool = ThreadPoolExecutor(threads, "wsgi")

    def spawn(self, request: Any) -> None:
        """A request has come, inside turn()."""
        told = threading.Event()

        def wait(what: int) -> None:
            # What is told before somebody waits counts as well: then it is looked at once more.
            if what != FLUSH:
                told.wait()
                told.clear()

        request.events = lambda what: told.set()
        future = self._pool.submit(request.wsgi, self.app, wait)
        self._futures[future] = request
        future.add_done_callback(self._futures.pop)

    async def startup(self) -> None:
        pass

    async def shutdown(self, timeout: float | None = None) -> None:
        """When the server has stopped: what goes on behind its answer has so many seconds to end. A
        thread that does not is left to itself."""
        running = [
            asyncio.wrap_future(each) for each, request in list(self._futures.items()) if request.answered
        ]
        if running:
            await asyncio.wait(running, timeout=timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)


def kind_of(app: Any, interface: str) -> bool:
    """Whether it is ASGI: as `interface` says, or as it looks."""
    if interface not in ("auto", "asgi", "wsgi"):
        raise ValueError(f"interface is {interface!r}: auto, asgi, wsgi")
    return interface == "asgi" or (interface == "auto" and is_asgi(app))


async def start(
    app: Any,
    *,
    interface: str = "auto",
    lifespan: str = "auto",
    threads: int = 8,
    graceful_timeout: float = 30.0,
    **options: Any,
) -> Running:
    """Serve an ASGI application in the running loop, or a WSGI one in `threads`. Returns when the
    application has started and clients are listened to. `interface` is "auto", "asgi" or "wsgi";
    `lifespan` "auto", "on" or "off"; further options are the library's."""
    is_asgi = kind_of(app, interface)
    application = Application(app, lifespan=lifespan) if is_asgi else Threaded(app, threads)
    await application.startup()
    options = {**Asyncio.options, **options, "graceful_timeout": graceful_timeout}
    try:
        server = _gateway.server(application.deferred, **options)
    except BaseException:
        await application.shutdown(0)
        raise
    return Running(server, application, graceful_timeout)


async def serve(app: Any, **options: Any) -> None:
    """`start`, until the task is cancelled: then what has come is answered first."""
    async with await start(app, **options) as running:
        await running.wait_closed()


class Asyncio(Worker):
    """The asyncio worker: ASGI 3, or WSGI in `threads`."""

    name = "asyncio"
    #: Bodies of requests come to the application while the client sends them.
    options = MappingProxyType({"request_buffering": False})

    def __init__(
        self,
        *,
        interface: str = "auto",
        lifespan: str = "auto",
        threads: int = 8,
        graceful_timeout: float = 30.0,
        uvloop: bool = False,
    ) -> None:
        kind_of(None, interface)
        if uvloop:
            import uvloop as _  # noqa: F401 - what is missing is said at once
        self._interface = interface
        self._uvloop = uvloop
        self._graceful_timeout = graceful_timeout
        self._threads = threads
        self._application: Application | Threaded = Application(lifespan=lifespan)
        self.loop: Any = None

    def setup(self) -> None:
        if self._uvloop:
            import uvloop

            self.loop = uvloop.new_event_loop()
        else:
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def application(self, app: Any) -> Any:
        if app is None or kind_of(app, self._interface):
            self._application.app = app
        else:
            self._application = Threaded(app, self._threads)
        return self._application.deferred

    def start(self) -> None:
        if self.loop is None:
            self.setup()
        self.loop.run_until_complete(self._application.startup())

    def run(self, server: Any) -> None:
        loop = self.loop
        try:
            loop.run_until_complete(self._run(server))
        finally:
            # Threads of its executor are not waited for: the process ends.
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    async def _run(self, server: Any) -> None:
        await attach(server).wait_closed()
        await self._application.shutdown(self._graceful_timeout)
