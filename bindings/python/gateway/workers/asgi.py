"""ASGI 3 over requests that are answered later: http and lifespan, for any asyncio loop.

What differs from other servers, and why:

* `send` waits until the client has taken enough of what was sent, and raises ConnectionResetError
  (an OSError, as spec_version 2.4 has it) once nothing reaches the client any more;
* trailers and `websocket` are not supported: the first is a RuntimeError, the second is answered
  with 501 and never reaches the application;
* `http.response.pathsend` and `http.response.early_hint` are.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import traceback
from typing import Any

from .._gateway import Deferred
from . import Refused

__all__ = ["Application", "is_asgi"]

PIECE = 65536
NO_WEBSOCKET = b"This server does not speak the WebSocket protocol.\n"


def is_asgi(app: Any) -> bool:
    """Whether this is called as ASGI has it: a coroutine function, or an object whose call is one."""
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.isclass(app) or not callable(app):
        return False
    return is_coroutine_function(app) or is_coroutine_function(type(app).__call__)


def is_coroutine_function(function: Any) -> bool:
    """A coroutine function, also one that was only marked as such (asgiref)."""
    marker = getattr(function, "_is_coroutine", None)
    return inspect.iscoroutinefunction(function) or marker is getattr(
        asyncio.coroutines, "_is_coroutine", NotImplemented
    )


class Cycle:
    """One request, and its answer."""

    __slots__ = ("body_ended", "changed", "complete", "cut", "request", "started")

    def __init__(self, request: Any) -> None:
        self.request = request
        self.changed: asyncio.Event | None = None
        self.body_ended = self.started = self.complete = False
        self.cut = False  # send() has said that the client has left

    # -- what the library tells, inside turn() --

    def event(self, what: int) -> None:
        if self.changed is not None:
            self.changed.set()

    async def wait(self) -> None:
        """Until something is told. Readers and writers look again for what they wait for."""
        if self.changed is None:
            self.changed = asyncio.Event()
            self.request.events = self.event
        self.changed.clear()
        await self.changed.wait()

    def piece(self) -> tuple[bytes, bool] | None:
        """What is there of the body, and whether that is the end of it; None: nothing is there."""
        data = self.request.read(PIECE)
        if data is None:
            return None
        if len(data) in (0, PIECE):
            return data, not data
        rest = self.request.read(1)
        return (data + rest, False) if rest else (data, rest is not None)

    # -- what the application calls --

    async def receive(self) -> dict[str, Any]:
        request = self.request
        while not self.body_ended and not request.answered:
            try:
                found = self.piece()
            except OSError:
                self.body_ended = True
                return {"type": "http.disconnect"}
            if found is None:
                await self.wait()
                continue
            data, self.body_ended = found
            return {"type": "http.request", "body": data, "more_body": not self.body_ended}
        while not request.gone and not request.answered:
            await self.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.complete:
            raise RuntimeError(f"{kind!r} was sent, and the response is complete")
        if kind == "http.response.body" and self.started:
            await self.write(message.get("body", b""))
            if not message.get("more_body", False):
                self.end()
        elif kind == "http.response.start" and not self.started:
            if message.get("trailers"):
                raise RuntimeError("trailers are not supported: send the head without them")
            self.request.start(message["status"], list(message.get("headers", ())))
            self.started = True
        elif kind == "http.response.pathsend" and self.started:
            await self.send_path(message["path"])
            self.end()
        elif kind == "http.response.early_hint" and not self.started:
            self.request.start(103, [(b"link", link) for link in message["links"]])
            # The server's turn comes behind ours: what goes out together with the answer is no hint.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            expected = "http.response.body" if self.started else "http.response.start"
            raise RuntimeError(f"{kind!r} was sent, and {expected!r} was expected")

    async def write(self, body: Any) -> None:
        try:
            while not self.request.write(body):
                await self.wait()
        except OSError:
            self.cut = True
            raise

    async def send_path(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not self.request.sendfile(fd):
                await self.wait()
        except ConnectionError:
            self.cut = True
            raise
        finally:
            os.close(fd)

    def end(self) -> None:
        self.complete = True
        self.request.end()
        if self.changed is not None:
            self.changed.set()

    # -- the whole of it --

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        request = self.request
        try:
            result = await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            request.abort()
            raise
        except BaseException as error:
            # That a client leaves is nobody's fault, whatever comes of it.
            if not self.cut:
                text = "an exception of the application:\n" + traceback.format_exc()
                if not request.log(text):
                    report(text)
            request.abort()
            if not isinstance(error, Exception):
                raise
        else:
            if self.complete:
                return
            if result is not None:
                request.log(f"the application returned {result!r}, where ASGI has it return None")
            elif not self.started:
                request.log("the application returned without having sent http.response.start")
            elif not request.gone:
                request.log("the application returned before its response was complete")
            request.abort()


def report(text: str) -> None:
    """About a request that was answered, and so has no line in the error log any more."""
    asyncio.get_running_loop().call_exception_handler({"message": text.rstrip()})


class Application:
    """An ASGI application: `deferred` is what the library is given for it.

    `lifespan` is "auto" (an exception before startup is complete: the application does not do that),
    "on" (it is an error), or "off".
    """

    def __init__(self, app: Any = None, *, lifespan: str = "auto") -> None:
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"lifespan is {lifespan!r}: auto, on, off")
        self.app = app
        self.lifespan = lifespan
        self.state: dict[str, Any] = {}
        self.tasks: dict[asyncio.Task[None], Any] = {}
        self.deferred = Deferred(self.spawn)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._life: Lifespan | None = None

    def spawn(self, request: Any) -> None:
        """A request has come, inside turn()."""
        scope = request.scope()
        if any(name == b"upgrade" and value.lower() == b"websocket" for name, value in scope["headers"]):
            request.start(501, [(b"content-type", b"text/plain")])
            request.write(NO_WEBSOCKET)
            request.end()
            return
        scope["state"] = self.state.copy()
        scope["extensions"] = {"http.response.pathsend": {}, "http.response.early_hint": {}}
        loop = self.loop
        if loop is None:
            loop = self.loop = asyncio.get_running_loop()
        task = loop.create_task(Cycle(request).run(self.app, scope))
        self.tasks[task] = request
        task.add_done_callback(self.tasks.pop)

    async def startup(self) -> None:
        """Once, before the first request; Refused, with the application's own message."""
        self.loop = asyncio.get_running_loop()
        if self.lifespan != "off":
            self._life = Lifespan(self.app, self.state, self.lifespan == "on")
            await self._life.startup()

    async def shutdown(self, timeout: float | None = None) -> None:
        """When the server has stopped. What was not answered by then is cancelled; what goes on behind
        its answer has so many seconds to end."""
        for task, request in list(self.tasks.items()):
            if not request.answered:
                task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=timeout)
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=1)
        if self._life is not None:
            await self._life.shutdown(timeout)
            self._life = None


class Lifespan:
    """The application's lifespan task."""

    def __init__(self, app: Any, state: dict[str, Any], must: bool) -> None:
        self.app = app
        self.state = state
        self.must = must
        self.supported = True
        self.problem: str | None = None
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.events.put_nowait({"type": "lifespan.startup"})
        await self.started.wait()
        if self.problem is not None:
            await asyncio.wait([self.task])
            raise Refused(self.problem)

    async def shutdown(self, timeout: float | None) -> None:
        if self.task is None or not self.supported:
            return
        self.events.put_nowait({"type": "lifespan.shutdown"})
        if not (await asyncio.wait([self.task], timeout=timeout))[0]:
            self.problem = "the application's lifespan has not ended in time"
            self.task.cancel()
        if self.problem is not None:
            asyncio.get_running_loop().call_exception_handler({"message": self.problem})

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self.events.get, self._send)
        except BaseException as error:
            if self.started.is_set():
                self.problem = self.problem or "the application's lifespan failed:\n" + traceback.format_exc()
            elif self.must or self.problem is not None:
                self.problem = self.problem or "the application's startup failed:\n" + traceback.format_exc()
            self.supported = False
            if not isinstance(error, Exception):
                raise
        finally:
            # One that returned early does not listen any more, and is not asked.
            self.supported = self.supported and self.stopped.is_set()
            self.started.set()
            self.stopped.set()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self.started.is_set():
            self.started.set()
        elif kind == "lifespan.startup.failed" and not self.started.is_set():
            self.problem = "the application's startup failed: " + (message.get("message") or "no reason")
            self.started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed") and not self.stopped.is_set():
            if kind.endswith("failed"):
                self.problem = "the application's shutdown failed: " + (message.get("message") or "no reason")
            self.stopped.set()
        else:
            raise RuntimeError(f"{kind!r} was sent, and is not expected now")
