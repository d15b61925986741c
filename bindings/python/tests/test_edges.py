"""What applications do at the edges of a request, and of a server: each ended a process once."""

import os
import threading

import pytest
from harness import DEADLINE, Client, wait_for

import gateway
from gateway import _gateway


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def running(app, **options):
    """A server that a thread turns, and a client for it."""
    server = gateway.make_server("127.0.0.1", 0, app, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    return server, thread, Client(tuple(server.server_address))


def stop(server, thread):
    server.shutdown()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    server.server_close()


def test_a_thread_of_an_application_writes_to_the_log():
    said = []

    def app(environ, start_response):
        writer = threading.Thread(target=environ["wsgi.errors"].write, args=("from a thread\n",))
        writer.start()
        writer.join()
        return hello(environ, start_response)

    server = _gateway.server(app, bind="127.0.0.1:0", log=lambda *record: said.append(record[2]), loglevel="error")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert Client(tuple(server.server_address)).get("/").text == "hello"
    stop(server, thread)


def test_a_read_ends_before_its_request():
    """The thread that reads outlives the call; what it gets is the body, or an error, and never less."""
    found = []

    def app(environ, start_response):
        def read():
            try:
                found.append(environ["wsgi.input"].read())
            except (OSError, ValueError) as error:
                found.append(error)

        app.reader = threading.Thread(target=read)
        app.reader.start()
        return hello(environ, start_response)

    server, thread, client = running(app, threads=2, request_buffering=False, body_timeout="1s")
    with client.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert wire.rest(may_reset=True)
    app.reader.join(DEADLINE)
    assert len(found) == 1 and isinstance(found[0], (OSError, ValueError)), found
    stop(server, thread)


def test_hints_after_a_server_in_a_server():
    inner = gateway.make_server("127.0.0.1", 0, hello)

    def app(environ, start_response):
        asks = threading.Thread(target=lambda: Client(tuple(inner.server_address)).get("/"))
        asks.start()
        inner.handle_request()
        asks.join()
        environ["wsgi.early_hints"]([("Link", "</a>")])
        return hello(environ, start_response)

    server, thread, client = running(app)
    with client.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = wire.answer()
    assert [hint.status for hint in answer.hints] == [103]
    assert answer.text == "hello"
    stop(server, thread)
    inner.server_close()


def test_a_server_that_is_closed_by_its_application():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        servers = []

        def app(environ, start_response):
            servers[0].server_close()
            return hello(environ, start_response)

        server, thread, client = running(app)
        servers.append(server)
        client.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        thread.join(DEADLINE)
        assert not thread.is_alive()
    wait_for("all descriptors to be closed", lambda: len(os.listdir("/proc/self/fd")) == before)


def test_a_child_closes_the_server_of_its_parent():
    server, thread, client = running(hello)
    child = os.fork()
    if child == 0:
        try:
            server.server_close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert client.get("/").text == "hello"
    stop(server, thread)


@pytest.mark.parametrize(
    "args, options", [((None,), {}), ((hello,), {"bind": ["127.0.0.1:0", ["127.0.0.1:0"]]}), ((5,), {})]
)
def test_what_is_no_server(args, options):
    with pytest.raises(TypeError):
        gateway.server(*args, **options)
