"""Django's own tests on libgateway: python django_live.py RUNTESTS LABEL...

Where they start a live server it is one of the same shape, whose requests are answered by threads of libgateway's.
Where they use django.test.Client, which calls the handler without any server, each request goes through a server of
libgateway's in the same thread: its environ is what Django sees, and what comes back over the wire has to be the
response that the test is given.
"""

import atexit
import os
import runpy
import select
import socket
import sys
import urllib.parse

from django.core.servers import basehttp
from django.db import connections
from django.test import testcases
from django.test.client import ClientHandler, FakePayload
from harness import Wire

import gateway


class Closing:
    """An iterable, and what is to be done behind it."""

    def __init__(self, iterable, then):
        self.iterable, self.then = iterable, then

    def __iter__(self):
        return iter(self.iterable)

    def close(self):
        try:
            if hasattr(self.iterable, "close"):
                self.iterable.close()
        finally:
            self.then()


class WSGIServer:
    """django.core.servers.basehttp.WSGIServer."""

    options = {}

    def __init__(self, address, handler_class=None, ipv6=False, allow_reuse_address=True):
        self.server = gateway.make_server(*address, self.answer, **self.options)
        self.server_address = self.server.server_address
        self.app = None

    def set_app(self, app):
        self.app = app

    def answer(self, environ, start_response):
        return self.app(environ, start_response)

    def serve_forever(self):
        self.server.serve_forever()

    def shutdown(self):
        self.server.shutdown()

    def server_close(self):
        self.server.server_close()


class ThreadedWSGIServer(WSGIServer):
    """django.core.servers.basehttp.ThreadedWSGIServer: the threads have the connections of the tests."""

    options = {"threads": 4}

    def __init__(self, *args, connections_override=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.connections_override = connections_override or {}

    def answer(self, environ, start_response):
        for alias, connection in self.connections_override.items():
            connections[alias] = connection
        try:
            return Closing(super().answer(environ, start_response), self._close_connections)
        except BaseException:
            self._close_connections()
            raise

    def _close_connections(self):
        connections.close_all()


# ---- django.test.Client ----


class ByWire:
    """The handler of a Client, behind a server."""

    def __init__(self, direct):
        self.direct, self.server, self.job = direct, None, None
        self.counts = {"by wire": 0, "without": 0}

    def __call__(self, handler, environ):
        request = self.job is None and self.wire_form(environ)
        if not request:
            # In a view that asks another; or no request that HTTP knows.
            self.counts["without"] += 1
            return self.direct(handler, environ)
        self.counts["by wire"] += 1
        if self.server is None:
            self.server = gateway.make_server(
                "127.0.0.1", 0, self.answer, forwarded_allow_ips="", keepalive=0
            )
        self.job = [handler, environ, None, None]
        try:
            answer = self.exchange(environ["REQUEST_METHOD"], request)
            _, _, response, error = self.job
        finally:
            self.job = None
        if error is not None:
            raise error
        assert response is not None, f"refused by the server: {request[:500]!r}: {answer}"
        assert answer.status == response.status_code, answer
        ours = {("Date", answer["date"]), ("Connection", "close"), ("Transfer-Encoding", "chunked")}
        sent = [(name, value.strip(" \t")) for name, value in self.headers(response)]
        got = [pair for pair in answer.headers if pair not in ours or pair in sent]
        assert self.but_length(got) == self.but_length(sent), (answer, sent)
        if not response.streaming:
            no_body = environ["REQUEST_METHOD"] == "HEAD" or answer.status in (204, 304)
            assert answer.body == (b"" if no_body else response.content), answer
        return response

    @staticmethod
    def but_length(headers):
        """Without Content-Length: the server adds it, places it, and leaves it out of a 204."""
        return [(name, value) for name, value in headers if name.lower() != "content-length"]

    @staticmethod
    def headers(response):
        return [
            *response.items(),
            *(("Set-Cookie", each.OutputString()) for each in response.cookies.values()),
        ]

    @staticmethod
    def wire_form(environ):
        """The octets of the request; None where it has no form on the wire."""
        path, body = environ["PATH_INFO"], b""
        if not path.startswith("/") or type(environ["wsgi.input"]) is not FakePayload:
            return None
        lines = [("Host", "testserver")] if "HTTP_HOST" not in environ else []
        for key, value in environ.items():
            if key.startswith("HTTP_") and value != "":
                lines.append((key[5:].replace("_", "-").title(), value))
        if "CONTENT_TYPE" in environ:
            lines.append(("Content-Type", environ["CONTENT_TYPE"]))
        if str(environ.get("CONTENT_LENGTH") or 0) != "0":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            lines.append(("Content-Length", str(len(body))))
        target = urllib.parse.quote(path.encode("latin-1"))
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
        try:
            head = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
            return (
                f"{environ['REQUEST_METHOD']} {target} HTTP/1.1\r\n".encode("ascii") + head + b"\r\n" + body
            )
        except UnicodeEncodeError:
            environ["wsgi.input"] = FakePayload(body)
            return None

    def exchange(self, method, request):
        """Client and server in one thread: whoever can, does."""
        sock = socket.create_connection(self.server.server_address)
        sock.setblocking(False)
        got, open_ = b"", True
        with sock:
            while open_:
                wait = self.server.turn()
                can = [sock] if request else []
                timeout = 0 if wait == 0 else 5
                reading, writing, _ = select.select([sock, self.server], can, [], timeout)
                if writing:
                    request = request[sock.send(request) :]
                if sock in reading:
                    octets = sock.recv(65536)
                    got, open_ = got + octets, bool(octets)
        wire = Wire(None)
        wire.buffer, wire.more = got, lambda: False
        return wire.answer(method)

    def answer(self, ours, start_response):
        handler, environ = self.job[:2]
        if "HTTP_HOST" not in environ:
            del ours["HTTP_HOST"]
        for key, value in environ.items():
            # What a server knows of itself, and what a test has made up.
            if (
                key
                in (
                    "SERVER_NAME",
                    "SERVER_PORT",
                    "REMOTE_ADDR",
                    "SCRIPT_NAME",
                    "wsgi.url_scheme",
                    "wsgi.errors",
                )
                or key not in ours
                and not key.startswith("HTTP_")
            ):
                ours[key] = value
        ours.pop("wsgi.file_wrapper")  # which Client has not, either
        try:
            response = self.job[2] = self.direct(handler, ours)
        except BaseException as error:
            self.job[3] = error
            start_response("500 Internal Server Error", [])
            return []
        headers = self.headers(response)
        if response.streaming:
            # The test itself takes the body, and may look at when it is closed.
            headers = self.but_length(headers)
        start_response(f"{response.status_code} {response.reason_phrase}", headers)
        return [] if response.streaming else [response.content]


by_wire = ByWire(ClientHandler.__call__)
ClientHandler.__call__ = lambda self, environ: by_wire(self, environ)

basehttp.WSGIServer = WSGIServer
basehttp.ThreadedWSGIServer = ThreadedWSGIServer
testcases.ThreadedWSGIServer = ThreadedWSGIServer
testcases.LiveServerThread.server_class = ThreadedWSGIServer

if __name__ == "__main__":
    atexit.register(lambda: print(f"requests of Client: {by_wire.counts}", file=sys.stderr, flush=True))
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(sys.argv[0]))
    os.chdir(os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
