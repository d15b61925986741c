"""WSGI, and Tornado's own handlers in the loop of the Tornado worker: loaded when that is current."""

import asyncio

import harness
import tornado.httpserver
import tornado.netutil
import tornado.web
from tornado.ioloop import IOLoop

ticks = 0


class Wait(tornado.web.RequestHandler):
    """Waits, in the loop, until WSGI was asked for /release."""

    async def get(self):
        harness.note("native waits")
        await released.wait()
        self.write("native")


released = asyncio.Event()
sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
native = tornado.httpserver.HTTPServer(tornado.web.Application([("/wait", Wait)]))
native.add_sockets(sockets)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/port":
        return [b"%d" % sockets[0].getsockname()[1]]
    if environ["PATH_INFO"] == "/release":
        IOLoop.current().add_callback(released.set)
    return [b"wsgi"]


not_wsgi = tornado.web.Application([])
