"""ASGI 3 on the asyncio worker, in workers that an arbiter has forked."""

import asyncio
import os
import signal
import socket
import threading

import apps.loops
import harness
import pytest

APP = "apps.loops:asgi"


@pytest.fixture(scope="module")
def site(serve_module):
    return serve_module(APP, worker="asyncio")


def in_threads(count, function):
    """What the function returned, so many times at once."""
    results = [None] * count

    def run(number):
        results[number] = function()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(harness.DEADLINE)
    return results


def test_an_answer_has_its_length(site):
    answer = site.get("/")
    assert (answer.status, answer.body, answer["content-length"]) == (200, b"Hello, World!", "13")
    assert site.head("/")["content-length"] == "13"


def test_an_instance_whose_call_is_a_coroutine_function_is_asgi(serve):
    assert serve("apps.loops:instance", worker="asyncio").get("/").body == b"Hello, World!"


def test_requests_are_inside_at_once(site):
    answers = in_threads(50, lambda: site.get("/meet?50"))
    assert [answer.body for answer in answers] == [b"met"] * 50


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000])
def test_bodies_come_whole(site, size):
    body = bytes(range(256)) * (size // 256 + 1)
    assert site.post("/echo", body[:size]).body == body[:size]
    assert site.post("/echo", iter([body[:size]])).body == body[:size]


def test_both_directions_at_once(site):
    with site.connect() as wire:
        wire.send(b"POST /duplex HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"first", b"second", b"third"):
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if piece == b"first":
                assert wire.head()[0] == 200
            assert wire.chunk() == piece
        wire.send(b"0\r\n\r\n")
        assert wire.chunk() == b""


def test_expect_continue_is_answered_when_the_application_reads(site):
    with site.connect() as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.head()[0] == 100
        wire.send(b"body")
        assert wire.answer().body == b"body"


def test_an_answer_before_the_body_is_read(site):
    with site.connect() as wire:
        wire.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
        answer = wire.answer()
        assert (answer.status, answer.body) == (413, b"no, thank you")


def test_a_slow_client_stops_the_application(serve):
    site = serve(APP, worker="asyncio", output_buffer=65536)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(harness.DEADLINE)
        sock.connect(site.address)
        wire = harness.Wire(sock)
        wire.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("piece 0")
        # Others are served while it waits, and it has not gone to its end.
        for _ in range(5):
            assert site.get("/").status == 200
        assert "piece 255" not in site.notes()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        body = wire.answer().body
    assert body == b"".join(bytes([number]) * 65536 for number in range(256))
    site.expect_note("piece 255")


def test_send_says_that_the_client_has_left(serve):
    site = serve(APP, worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.exactly(100_000)
        wire.reset()
    site.expect_note("sent ClientGone")


def test_receive_says_that_the_client_has_left(serve):
    site = serve(APP, worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /disconnect HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("inside")
    site.expect_note("http.disconnect")


def test_a_body_that_is_cut_is_a_disconnect(serve):
    site = serve(APP, worker="asyncio")
    with site.connect() as wire:
        wire.send(b"POST /disconnect HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        site.expect_note("inside")
    site.expect_log("RuntimeError: disconnected")


@pytest.mark.parametrize(
    ("path", "status", "log"),
    [
        ("/before", 500, "ValueError: before the head"),
        ("/nothing", 500, "without having sent http.response.start"),
        ("/half", 500, "before its response was complete"),
        ("/trailers", 500, "trailers are not supported"),
        ("/order", 500, "'http.response.start' was expected"),
        ("/type", 500, "header 0: the name must be bytes, not str"),
        ("/hop", 500, "start: header 0, 'transfer-encoding': hop-by-hop"),
    ],
)
def test_faults_of_the_application(serve, path, status, log):
    site = serve(APP, worker="asyncio")
    assert site.get(path).status == status
    site.expect_log(log)
    assert site.get("/").status == 200


def test_an_exception_behind_the_head_cuts_the_answer(serve):
    site = serve(APP, worker="asyncio")
    with site.connect() as wire, pytest.raises((EOFError, ConnectionResetError)):
        wire.send(b"GET /after HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.answer()
    site.expect_log("ValueError: after the head")


def test_behind_the_answer(serve):
    site = serve(APP, worker="asyncio")
    assert site.get("/late").body == b"done"
    site.expect_note("late send refused")
    site.expect_note("http.disconnect after the answer")


def test_early_hints_and_files(site):
    with site.connect() as wire:
        wire.send(b"GET /hint HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = wire.answer()
        assert answer.body == b"hinted"
        assert [(hint.status, hint["link"]) for hint in answer.hints] == [(103, "</style.css>; rel=preload")]
    assert site.get("/path").body == (harness.HERE / "apps" / "loops.py").read_bytes()


def test_websocket_is_refused(site):
    got = site.get(
        "/",
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "eA==",
        },
    )
    assert got.status == 501 and b"WebSocket" in got.body


def test_lifespan_and_its_state_are_of_each_worker(serve):
    site = serve(APP, worker="asyncio", workers=4)
    site.expect_note("startup", 4)
    pids = {site.get("/pid").text for _ in range(20)}
    assert all(served == loaded for served, loaded in (each.split() for each in pids))
    assert site.stop() == 0
    assert site.notes().count("shutdown") == 4


@pytest.mark.parametrize("app", ["no_lifespan", "returns_early"])
def test_an_application_without_lifespan(serve, app):
    site = serve(f"apps.loops:{app}", worker="asyncio")
    assert site.get("/").status == 200
    assert site.stop() == 0


def test_a_startup_that_fails_refuses_the_worker(serve):
    site = serve("apps.loops:startup_fails", worker="asyncio")
    assert site.wait() == 3
    site.expect_log("the application's startup failed: the database is not there")


@pytest.mark.parametrize(
    ("app", "log"),
    [
        ("shutdown_hangs", "lifespan has not ended in time"),
        ("shutdown_fails", "the database does not answer"),
    ],
)
def test_a_shutdown_that_fails_is_told(app, log):
    from gateway.workers.asgi import Application

    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: told.append(context["message"])
        )
        application = Application(getattr(apps.loops, app))
        await application.startup()
        await application.shutdown(0.05)
        return told

    (told,) = asyncio.run(main())
    assert log in told


def test_a_graceful_stop_waits_for_what_runs(serve):
    site = serve(APP, worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /running HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("running")
        site.kill(signal.SIGTERM)
        site.expect_log("Handling signal: term")
        site.notes_path.with_name("notes.go").touch()
        assert wire.answer().body == b"finished"
    assert site.wait() == 0
    assert site.notes()[-1] == "shutdown"


@pytest.mark.parametrize("path", [b"/stuck", b"/thread"])
@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGQUIT])
def test_what_does_not_end_is_cancelled(serve, signo, path):
    site = serve(APP, worker="asyncio", graceful_timeout=1)
    with site.connect() as wire:
        wire.send(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
        site.expect_note("stuck")
        site.stop(signo)
    site.expect_note("cancelled")


def test_a_worker_that_is_killed_is_replaced(serve):
    site = serve(APP, worker="asyncio", workers=1)
    first = site.get("/pid").text.split()[0]
    os.kill(int(first), signal.SIGKILL)
    site.expect_note("startup", 2)
    assert site.get("/pid").text.split()[0] != first


def test_a_reload_has_new_workers_and_ends_the_lifespan_of_the_old(serve):
    site = serve(APP, worker="asyncio", workers=2)
    site.expect_note("startup", 2)
    before = site.get("/pid").text
    site.kill(signal.SIGHUP)
    site.expect_note("startup", 4)
    site.expect_note("shutdown", 2)
    assert site.get("/pid").text != before


def test_a_loop_that_is_held_up_is_killed(serve):
    site = serve(APP, worker="asyncio", heartbeat_timeout=2)
    site.expected.append("Fatal Python error")  # that is how it shows where it is
    with site.connect() as wire, pytest.raises((EOFError, ConnectionResetError)):
        wire.send(b"GET /block HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.answer()
    site.expect_note("startup", 2)
    assert "gave no sign of life" in site.log() and "loops.py" in site.log()
    assert site.get("/").status == 200


def test_a_request_that_takes_too_long(serve):
    site = serve(APP, worker="asyncio", request_timeout=0.2)
    assert site.get("/overdue").status == 504
    site.expect_note("disconnected")
