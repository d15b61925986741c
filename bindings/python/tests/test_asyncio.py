"""Servers in an asyncio loop of somebody's: attach, start, serve; and WSGI on the asyncio worker."""

import asyncio
import http.client
import signal
import threading

import apps.loops
import pytest

import gateway
from gateway.workers import Refused, asyncio_, get
from gateway.workers.asgi import is_asgi


def fetch(address, path="/", method="GET", body=None):
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def run(main):
    async def limited():
        return await asyncio.wait_for(main(), 60)

    return asyncio.run(limited())


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("GATEWAY_TEST_NOTES", str(path))
    apps.loops.events.clear()
    apps.loops.numbers.clear()
    return lambda: path.read_text().split("\n")[:-1]


def test_start(notes):
    async def main():
        async with await asyncio_.start(apps.loops.asgi, bind="127.0.0.1:0") as running:
            jobs = [asyncio.to_thread(fetch, running.server_address, "/meet?3") for _ in range(3)]
            assert await asyncio.gather(*jobs) == [(200, b"met")] * 3
            assert notes() == ["startup"]
            return running.server_address

    address = run(main)
    assert notes() == ["startup", "shutdown"]
    with pytest.raises(ConnectionRefusedError):
        fetch(address)


def test_serve_ends_when_it_is_cancelled(notes):
    async def main():
        task = asyncio.ensure_future(asyncio_.serve(apps.loops.asgi, bind="127.0.0.1:0"))
        while "startup" not in notes():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert notes() == ["startup", "shutdown"]


def test_what_cannot_start():
    async def refused():
        with pytest.raises(Refused, match="the database is not there"):
            await asyncio_.start(apps.loops.startup_fails, bind="127.0.0.1:0")
        with pytest.raises(Refused, match="no such table"):
            await asyncio_.start(apps.loops.startup_raises, bind="127.0.0.1:0", lifespan="on")
        with pytest.raises(ValueError, match="bind"):
            await asyncio_.start(apps.loops.asgi, bind="not an address")
        with pytest.raises(ValueError, match="interface"):
            await asyncio_.start(apps.loops.asgi, interface="cgi")

    run(refused)


def test_two_servers_and_wsgi_in_one_loop():
    async def main():
        first = gateway.make_server("127.0.0.1", 0, apps.loops.wsgi_hello)
        attached = asyncio_.attach(first)
        async with await asyncio_.start(apps.loops.wsgi, bind="127.0.0.1:0") as second:
            got = [asyncio.to_thread(fetch, each.server_address) for each in (first, second)]
            assert await asyncio.gather(*got) == [(200, b"Hello, World!")] * 2
        attached.shutdown()
        await attached.wait_closed()
        first.server_close()

    run(main)


def test_a_server_that_is_detached_can_be_attached_again():
    async def main():
        server = gateway.make_server("127.0.0.1", 0, apps.loops.wsgi)
        asyncio_.attach(server).detach()
        attached = asyncio_.attach(server)
        assert (await asyncio.to_thread(fetch, server.server_address))[0] == 200
        attached.detach()
        await attached.wait_closed()
        server.server_close()

    run(main)


def test_turn_that_fails_is_told():
    class Broken:
        def fileno(self):
            return self.pipe[0]

        def turn(self):
            raise OSError("broken")

    async def main():
        import os

        broken = Broken()
        broken.pipe = os.pipe()
        with pytest.raises(OSError, match="broken"):
            await asyncio_.attach(broken).wait_closed()
        for fd in broken.pipe:
            os.close(fd)

    run(main)


def test_a_task_that_is_forgotten_is_answered():
    """Whoever drops a Request without an answer has answered it, with a 500."""

    async def main():
        server = gateway.server(gateway._gateway.Deferred(lambda request: None), bind="127.0.0.1:0")
        attached = asyncio_.attach(server)
        assert (await asyncio.to_thread(fetch, server.server_address))[0] == 500
        attached.shutdown()
        await attached.wait_closed()
        server.server_close()

    run(main)


def test_requests_outlive_their_server():
    kept = []

    async def main():
        server = gateway.server(gateway._gateway.Deferred(kept.append), bind="127.0.0.1:0")
        attached = asyncio_.attach(server)
        job = asyncio.ensure_future(asyncio.to_thread(fetch, server.server_address))
        while not kept:
            await asyncio.sleep(0.001)
        attached.detach()
        server.server_close()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await job

    run(main)
    request = kept.pop()
    assert request.gone and request.scope()["path"] == "/"
    request.start(200, [])
    with pytest.raises(ConnectionResetError):
        request.write(b"x")
    request.end()
    for method in (request.read, request.end, request.scope):
        with pytest.raises(RuntimeError, match="was answered"):
            method()


def test_uvloop(serve):
    async def main():
        async with await asyncio_.start(apps.loops.asgi, bind="127.0.0.1:0") as running:
            assert type(asyncio.get_running_loop()).__module__ == "uvloop"
            got = await asyncio.to_thread(fetch, running.server_address, "/echo", "POST", b"x" * 300_000)
            assert got == (200, b"x" * 300_000)

    import uvloop

    uvloop.run(main())


def test_wsgi_on_the_asyncio_worker_runs_in_threads(serve):
    site = serve("apps.loops:wsgi", worker="asyncio", workers=2)
    assert site.get("/").body == b"Hello, World!"
    assert site.post("/echo", b"a\nb", {"X-Name": "me"}).body == b"a\n|b"
    assert site.get("/flags").text == "(True, True, False)"
    assert site.get("/file").status == 200
    with site.connect() as wire, pytest.raises((EOFError, ConnectionResetError)):
        wire.send(b"GET /after HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.answer()
    site.expect_log("ValueError: after the head")
    site.expect_note("closed after")
    assert site.stop(signal.SIGTERM) == 0


def test_wsgi_in_threads_waits_for_its_clients(serve):
    site = serve("apps.loops:wsgi", worker="asyncio", output_buffer=65536)
    with site.connect() as up, site.connect() as down:
        up.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nX-Name: up\r\nContent-Length: 12\r\n\r\nli")
        site.expect_log("echo of up")
        down.send(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        assert down.head()[0] == 200
        # One reads and one writes, and both wait; others do not.
        assert site.get("/").status == 200
        up.send(b"ne\nrest of")
        assert up.answer().body == b"line\n|rest of"
        body = b"".join(iter(down.chunk, b""))
        assert body == b"".join(bytes([number]) * 65536 for number in range(256))
        down.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        assert down.head()[0] == 200
        down.reset()
    site.expect_note("closed endless")


def test_a_graceful_stop_waits_for_threads(serve):
    site = serve("apps.loops:wsgi", worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /running HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("running")
        site.kill(signal.SIGTERM)
        site.expect_log("Handling signal: term")
        site.notes_path.with_name("notes.go").touch()
        assert wire.answer().body == b"finished"
    assert site.wait() == 0


def test_wsgi_in_threads_of_a_loop():
    async def main():
        async with await asyncio_.start(barrier_app(4), bind="127.0.0.1:0", threads=4) as running:
            jobs = [asyncio.to_thread(fetch, running.server_address) for _ in range(4)]
            assert await asyncio.gather(*jobs) == [(200, b"met")] * 4

    run(main)


def barrier_app(count):
    barrier = threading.Barrier(count)

    def app(environ, start_response):
        barrier.wait(60)
        start_response("200 OK", [])
        return [b"met"]

    return app


def test_threads_are_not_the_librarys():
    with pytest.raises(ValueError, match="threads: a worker of the kind 'asyncio'"):
        gateway.serve(apps.loops.asgi, worker="asyncio", threads=4)


def test_is_asgi():
    import functools

    async def function(scope, receive, send):
        pass

    class Both:
        async def __call__(self, scope, receive, send):
            pass

    assert is_asgi(function) and is_asgi(functools.partial(function)) and is_asgi(Both())
    assert not is_asgi(Both) and not is_asgi(apps.loops.wsgi) and not is_asgi(None)


def test_kinds():
    with pytest.raises(ValueError, match="there is no worker 'eventlet': sync, gthread, asyncio"):
        get("eventlet")
    with pytest.raises(TypeError, match="the sync worker has no setting lifespan"):
        get("sync", lifespan="on")
    assert get("sync").run is None and get("gthread").options == {"threads": 4}
