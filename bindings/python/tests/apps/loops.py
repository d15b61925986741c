"""Applications for the tests of event loops."""

import asyncio
import os
import time

import harness

import gateway


async def asgi(scope, receive, send):
    """What a path says; lifespan notes what happens."""
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    handler = PATHS.get(scope["path"], hello)
    await handler(scope, receive, send)


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["loaded"] = os.getpid()
    harness.note("startup")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    harness.note("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def answer(send, body, status=200, headers=()):
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain"), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def read(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("disconnected")
        body += message["body"]
        if not message["more_body"]:
            return body


async def hello(scope, receive, send):
    await answer(send, b"Hello, World!")


async def pid(scope, receive, send):
    await answer(send, b"%d %d" % (os.getpid(), scope["state"]["loaded"]))


async def echo(scope, receive, send):
    await answer(send, await read(receive))


async def duplex(scope, receive, send):
    """Each piece goes back before the next is asked for."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def early(scope, receive, send):
    """An answer while the body is unread."""
    await answer(send, b"no, thank you", 413)


async def disconnect(scope, receive, send):
    harness.note("inside")
    await read(receive)
    message = await receive()
    harness.note(message["type"])


async def endless(scope, receive, send):
    """Until the client has left; send() says so."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    sent = 0
    try:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536
    except OSError as error:
        harness.note(f"sent {type(error).__name__}")


async def slow_client(scope, receive, send):
    """16 MiB: how many pieces were taken when the client has read nothing is noted every time."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"16777216")]})
    for number in range(256):
        await send({"type": "http.response.body", "body": bytes([number]) * 65536, "more_body": number < 255})
        harness.note(f"piece {number}")


async def before_head(scope, receive, send):
    raise ValueError("before the head")


async def after_head(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
    raise ValueError("after the head")


async def nothing(scope, receive, send):
    pass


async def half(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})


async def trailers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})


async def wrong_order(scope, receive, send):
    await send({"type": "http.response.body", "body": b"x"})


async def wrong_type(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [("x-name", b"value")]})


async def hop(scope, receive, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"transfer-encoding", b"chunked")]}
    )


async def late(scope, receive, send):
    await answer(send, b"done")
    try:
        await send({"type": "http.response.body", "body": b"more"})
    except RuntimeError:
        harness.note("late send refused")
    harness.note((await receive())["type"] + " after the answer")


async def hint(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await answer(send, b"hinted")


async def path_send(scope, receive, send):
    assert "http.response.pathsend" in scope["extensions"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": __file__})


events, numbers = {}, {}


async def meet(scope, receive, send):
    """Answers when so many requests are inside as the query says."""
    count = int(scope["query_string"])
    event = events.setdefault(count, asyncio.Event())
    numbers[count] = numbers.get(count, 0) + 1
    if numbers[count] == count:
        event.set()
    await event.wait()
    await answer(send, b"met")


async def stuck(scope, receive, send):
    """Is cancelled when the server stops."""
    harness.note("stuck")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        harness.note("cancelled")
        raise


async def block(scope, receive, send):
    """Holds up the loop."""
    time.sleep(600)  # noqa: ASYNC251


async def overdue(scope, receive, send):
    """Learns that it was answered for."""
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                harness.note("disconnected")
                break
        await answer(send, b"too late")
    except OSError as error:
        harness.note(type(error).__name__)


async def stuck_thread(scope, receive, send):
    harness.note("stuck")
    try:
        await asyncio.to_thread(time.sleep, 600)
    except asyncio.CancelledError:
        harness.note("cancelled")
        raise


async def running(scope, receive, send):
    """Ends when the test has made a file."""
    harness.note("running")
    while not os.path.exists(os.environ["GATEWAY_TEST_NOTES"] + ".go"):
        await asyncio.sleep(0.01)
    await answer(send, b"finished")


PATHS = {
    "/pid": pid,
    "/echo": echo,
    "/duplex": duplex,
    "/early": early,
    "/disconnect": disconnect,
    "/endless": endless,
    "/slow": slow_client,
    "/before": before_head,
    "/after": after_head,
    "/nothing": nothing,
    "/half": half,
    "/trailers": trailers,
    "/order": wrong_order,
    "/type": wrong_type,
    "/hop": hop,
    "/late": late,
    "/hint": hint,
    "/path": path_send,
    "/meet": meet,
    "/stuck": stuck,
    "/thread": stuck_thread,
    "/block": block,
    "/overdue": overdue,
    "/running": running,
}


async def no_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"no lifespan")


async def returns_early(scope, receive, send):
    if scope["type"] == "http":
        await answer(send, b"returned early")


async def startup_fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is not there"})


async def startup_raises(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    raise LookupError("no such table")


async def shutdown_hangs(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(600)


async def shutdown_fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "the database does not answer"})


class Callable:
    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)


instance = Callable()


# ---- WSGI, in greenlets and loops ----


def wsgi(environ, start_response):
    return WSGI_PATHS.get(environ["PATH_INFO"], wsgi_hello)(environ, start_response)


def wsgi_hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, World!"]


def wsgi_pid(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


met = [0, None]


def wsgi_meet(environ, start_response):
    """With gevent's own event: as the application of somebody who knows gevent."""
    import gevent.event

    if met[1] is None:
        met[1] = gevent.event.Event()
    met[0] += 1
    if met[0] == int(environ["QUERY_STRING"]):
        met[1].set()
    assert met[1].wait(harness.DEADLINE)
    time.sleep(0.1)  # is gevent's, once it is patched
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"met"]


def wsgi_echo(environ, start_response):
    environ["wsgi.errors"].write(f"echo of {environ['HTTP_X_NAME']}\n")
    line = environ["wsgi.input"].readline()
    rest = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [line, b"|", rest]


class Body:
    """Pieces, and a note when it is closed."""

    def __init__(self, pieces, name):
        self.pieces, self.name = iter(pieces), name

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        harness.note(f"closed {self.name}")


def wsgi_stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        for number in range(256):
            harness.note(f"piece {number}")
            yield bytes([number]) * 65536

    return Body(pieces(), "stream")


def wsgi_endless(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        while True:
            yield b"x" * 65536

    return Body(pieces(), "endless")


def wsgi_write(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        for number in range(256):
            write(bytes([number]) * 65536)
    except OSError as error:
        harness.note(f"write {type(error).__name__}")
        raise
    return []


def wsgi_before(environ, start_response):
    raise ValueError("before the head")


def wsgi_after(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        yield b"x" * 10
        raise ValueError("after the head")

    return Body(pieces(), "after")


def wsgi_replaced(environ, start_response):
    import sys

    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise KeyError("replaced")
    except KeyError:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"instead"]


def wsgi_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def wsgi_no_start(environ, start_response):
    return [b"no head"]


def wsgi_hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    print("a", "line", "in", "pieces", file=environ["wsgi.errors"])
    environ["wsgi.errors"].write("the end of it")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hinted"]


def wsgi_gone(environ, start_response):
    harness.note("here")
    while not gateway.client_gone(environ):
        time.sleep(0.005)
    harness.note("gone")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"nobody reads this"]


def wsgi_running(environ, start_response):
    harness.note("running")
    while not os.path.exists(os.environ["GATEWAY_TEST_NOTES"] + ".go"):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"finished"]


def wsgi_timeout(environ, start_response):
    """gevent's own: raised while this waits for the client."""
    import gevent

    try:
        with gevent.Timeout(0.05):
            environ["wsgi.input"].read()
    except gevent.Timeout:
        harness.note("timed out")
        start_response("408 Request Timeout", [("Content-Type", "text/plain")])
        return [b"too slow"]


def wsgi_patched(environ, start_response):
    import socket
    import threading

    import gevent.monkey
    import gevent.threading

    assert gevent.monkey.is_module_patched("socket") and threading.get_ident is gevent.threading.get_ident
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [socket.socket.__module__.encode()]


def wsgi_flags(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [
        repr((environ["wsgi.multithread"], environ["wsgi.multiprocess"], environ["wsgi.run_once"])).encode()
    ]


WSGI_PATHS = {
    "/pid": wsgi_pid,
    "/meet": wsgi_meet,
    "/echo": wsgi_echo,
    "/stream": wsgi_stream,
    "/endless": wsgi_endless,
    "/write": wsgi_write,
    "/before": wsgi_before,
    "/after": wsgi_after,
    "/replaced": wsgi_replaced,
    "/file": wsgi_file,
    "/no-start": wsgi_no_start,
    "/hints": wsgi_hints,
    "/gone": wsgi_gone,
    "/running": wsgi_running,
    "/timeout": wsgi_timeout,
    "/patched": wsgi_patched,
    "/flags": wsgi_flags,
}
