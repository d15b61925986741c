"""WSGI in a Tornado loop, beside Tornado's own handlers: the worker, and a server of somebody's."""

import asyncio
import signal
import threading

import apps.loops
import harness
import tornado.httpclient
import tornado.httpserver
import tornado.netutil
import tornado.web
from tornado.ioloop import IOLoop

import gateway
from gateway.workers import tornado_


def test_the_worker(serve):
    site = serve("apps.loops:wsgi", worker="tornado", workers=4)
    pids = {site.get("/pid").text for _ in range(20)}
    assert pids and site.post("/echo", b"a\nb", {"X-Name": "me"}).body == b"a\n|b"
    assert site.get("/file").status == 200
    assert site.get("/before").status == 500
    site.expect_log("ValueError: before the head")
    assert site.stop(signal.SIGTERM) == 0


def test_native_handlers_in_the_workers_loop(serve):
    site = serve("apps.tornado_beside:app", worker="tornado", preload=False, load=True)
    native = harness.Client(("127.0.0.1", int(site.get("/port").text)))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(native.get("/wait").text))
    thread.start()
    site.expect_note("native waits")
    # The native one waits, and WSGI is served: in one loop.
    assert site.get("/").text == "wsgi" and not answers
    assert site.get("/release").text == "wsgi"
    thread.join(harness.DEADLINE)
    assert answers == ["native"]


def test_what_is_no_wsgi_application(serve):
    site = serve("apps.tornado_beside:not_wsgi", worker="tornado", load=True)
    assert site.wait() != 0
    site.expect_log("is no WSGI application: give a tornado.web.Application an HTTPServer of")


def test_attach():
    class Native(tornado.web.RequestHandler):
        def get(self):
            self.write("native")

    async def main():
        server = gateway.make_server("127.0.0.1", 0, apps.loops.wsgi)
        attached = tornado_.attach(server)
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        native = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Native)]))
        native.add_sockets(sockets)
        client = tornado.httpclient.AsyncHTTPClient()
        ports = (server.server_port, sockets[0].getsockname()[1])
        answers = await asyncio.gather(*(client.fetch(f"http://127.0.0.1:{port}/") for port in ports * 5))
        assert [answer.body for answer in answers] == [b"Hello, World!", b"native"] * 5
        client.close()
        native.stop()
        attached.shutdown()
        await attached.wait_closed()
        server.server_close()

    IOLoop(make_current=False).run_sync(main, timeout=60)
