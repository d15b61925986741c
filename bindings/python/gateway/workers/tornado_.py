"""Tornado: WSGI in an IOLoop, beside Tornado's own handlers.

    server = gateway.make_server("127.0.0.1", 8000, wsgi_app)
    gateway.workers.tornado_.attach(server)
    tornado.web.Application([...]).listen(8001)
    tornado.ioloop.IOLoop.current().start()

As with tornado.wsgi.WSGIContainer a WSGI application is called in the loop, and stops it for as long
as it runs.
"""

from __future__ import annotations

from typing import Any, cast

from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop

from . import Worker
from .asyncio_ import Attached
from .asyncio_ import attach as attach_to_asyncio

__all__ = ["Tornado", "attach"]


def attach(server: Any, loop: IOLoop | None = None) -> Attached:
    """Drive a gateway.Server by this IOLoop: the current one where none is given. An IOLoop is an
    asyncio loop, and what is returned is asyncio_.attach's."""
    return attach_to_asyncio(server, cast(BaseAsyncIOLoop, loop or IOLoop.current()).asyncio_loop)


class Tornado(Worker):
    """The Tornado worker: an IOLoop that is current when the application is loaded, so that it can
    start handlers, callbacks and clients of its own there."""

    name = "tornado"

    def __init__(self) -> None:
        self.loop: Any = None

    def setup(self) -> None:
        self.loop = IOLoop(make_current=True)

    def application(self, app: Any) -> Any:
        if app is not None and not callable(app) or hasattr(app, "find_handler"):
            raise TypeError(
                f"{app!r} is no WSGI application: give a tornado.web.Application an HTTPServer of "
                "Tornado's, which may run in the same loop (gateway.workers.tornado_.attach)"
            )
        return app

    def start(self) -> None:
        if self.loop is None:
            self.setup()

    def run(self, server: Any) -> None:
        attached = attach(server, self.loop)
        self.loop.run_sync(attached.wait_closed)
        self.loop.close()
