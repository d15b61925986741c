"""WSGI in greenlets: the gevent worker, and servers in a hub of somebody's."""

import os
import selectors
import signal
import socket
import subprocess
import sys

import harness
import pytest

APP = "apps.loops:wsgi"


@pytest.fixture(scope="module")
def site(serve_module):
    return serve_module(APP, worker="gevent")


def many(address, count, path):
    """So many requests at once, each on a connection of its own; how many answers are 200."""
    chosen = selectors.DefaultSelector()
    answers, found = {}, 0
    for _ in range(count):
        sock = socket.create_connection(address, harness.DEADLINE)
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path)
        sock.setblocking(False)
        answers[sock] = b""
        chosen.register(sock, selectors.EVENT_READ)
    while answers:
        ready = chosen.select(harness.DEADLINE)
        assert ready, f"{len(answers)} of {count} without an answer"
        for key, _ in ready:
            octets = key.fileobj.recv(65536)
            answers[key.fileobj] += octets
            if not octets:
                chosen.unregister(key.fileobj)
                key.fileobj.close()
                found += answers.pop(key.fileobj).startswith(b"HTTP/1.1 200 ")
    return found


def test_1000_requests_are_inside_at_once(serve):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    site = serve(APP, worker="gevent", worker_connections=1100, backlog=1024)
    assert many(site.address, 1000, b"/meet?1000") == 1000


def test_workers_are_forked(serve):
    site = serve(APP, worker="gevent", workers=4)
    assert {site.get("/").body for _ in range(20)} == {b"Hello, World!"}
    assert site.get("/flags").text == "(True, True, False)"


def test_the_library_is_patched_before_the_application_is_loaded(site):
    assert site.get("/patched").text == "gevent._socket3"


def test_an_input_that_would_wait_lets_others_run(serve):
    site = serve(APP, worker="gevent", request_buffering=False)
    with site.connect() as first, site.connect() as second:
        for name, wire in ((b"first", first), (b"second", second)):
            wire.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nX-Name: %s\r\nContent-Length: 12\r\n\r\nli" % name)
        # Both are inside, and wait; each in its own time.
        site.expect_log("echo of first")
        site.expect_log("echo of second")
        assert site.get("/").status == 200
        second.send(b"ne\nrest of2")
        assert second.answer().body == b"line\n|rest of"
        first.send(b"ne\nrest of")
        assert first.answer().body == b"line\n|rest of"


def test_wsgi_errors_is_of_its_request(serve):
    site = serve(APP, worker="gevent", request_buffering=False)
    for name in ("one", "two"):
        assert site.post("/echo", b"a\nb", {"X-Name": name}).body == b"a\n|b"
        site.expect_log(f"echo of {name}")
    assert len([line for line in site.log().splitlines() if "echo of" in line]) == 2


@pytest.mark.parametrize("path", ["/stream", "/write"])
def test_a_slow_client_holds_up_its_greenlet_alone(serve, path):
    site = serve(APP, worker="gevent", output_buffer=65536)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(harness.DEADLINE)
        sock.connect(site.address)
        wire = harness.Wire(sock)
        wire.send(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path.encode())
        assert wire.head()[0] == 200
        for _ in range(5):
            assert site.get("/").status == 200
        assert "piece 255" not in site.notes() and "closed stream" not in site.notes()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        body = b"".join(iter(wire.chunk, b""))
    assert body == b"".join(bytes([number]) * 65536 for number in range(256))
    if path == "/stream":
        site.expect_note("closed stream")


def test_a_client_that_leaves_ends_the_iterable_and_write(serve):
    site = serve(APP, worker="gevent")
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.exactly(100_000)
        wire.reset()
    site.expect_note("closed endless")
    with site.connect() as wire:
        wire.send(b"GET /write HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.exactly(100_000)
        wire.reset()
    site.expect_note("write ClientGone")


def test_faults_of_the_application(serve):
    site = serve(APP, worker="gevent")
    assert site.get("/before").status == 500
    site.expect_log("ValueError: before the head")
    with site.connect() as wire, pytest.raises((EOFError, ConnectionResetError)):
        wire.send(b"GET /after HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.answer()
    site.expect_log("ValueError: after the head")
    site.expect_note("closed after")
    assert site.get("/no-start").status == 500
    answer = site.get("/replaced")
    assert (answer.status, answer.body) == (503, b"instead")


def test_a_timeout_of_gevents_while_it_waits_for_the_client(serve):
    site = serve(APP, worker="gevent", request_buffering=False)
    with site.connect() as wire:
        wire.send(b"POST /timeout HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        assert wire.answer().status == 408
    site.expect_note("timed out")


def test_early_hints_and_lines_of_the_log(serve):
    site = serve(APP, worker="gevent")
    with site.connect() as wire:
        wire.send(b"GET /hints HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = wire.answer()
    assert answer.body == b"hinted"
    assert [(hint.status, hint["link"]) for hint in answer.hints] == [(103, "</style.css>; rel=preload")]
    site.expect_log("a line in pieces\n")
    site.expect_log("the end of it\n")


def test_client_gone(serve):
    site = serve(APP, worker="gevent")
    with site.connect() as wire:
        wire.send(b"GET /gone HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("here")
    site.expect_note("gone")


def test_files(site):
    assert site.get("/file").body == (harness.HERE / "apps" / "loops.py").read_bytes()


def test_an_unmodified_flask_application(serve):
    site = serve("apps.greenlets:app", worker="gevent")
    assert many(site.address, 50, b"/meet/50") == 50
    assert (
        site.post("/form", "name=Ada", {"Content-Type": "application/x-www-form-urlencoded"}).text
        == "Hello, Ada"
    )
    assert site.get("/stream").text == "".join(f"line {number}\n" for number in range(10))


def test_a_graceful_stop_waits_for_what_runs(serve):
    site = serve(APP, worker="gevent")
    with site.connect() as wire:
        wire.send(b"GET /running HTTP/1.1\r\nHost: h\r\n\r\n")
        site.expect_note("running")
        site.kill(signal.SIGTERM)
        site.expect_log("Handling signal: term")
        site.notes_path.with_name("notes.go").touch()
        assert wire.answer().body == b"finished"
    assert site.wait() == 0


LIBRARY = """
from gevent import monkey
monkey.patch_all()
import gevent, http.client
from gateway.workers import gevent_
import apps.loops

server = gevent_.server(apps.loops.wsgi, bind="127.0.0.1:0")
server.start()
def get(path):
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request("GET", path)
    return connection.getresponse().read()
jobs = [gevent.spawn(get, "/meet?20") for _ in range(20)]
gevent.joinall(jobs, raise_error=True)
assert [job.value for job in jobs] == [b"met"] * 20
gevent.spawn_later(0.01, server.shutdown)
server.serve_forever()

import gateway
plain = gateway.make_server("127.0.0.1", 0, apps.loops.wsgi)
attached = gevent_.attach(plain)
connection = http.client.HTTPConnection(*plain.server_address)
connection.request("GET", "/")
assert connection.getresponse().read() == b"Hello, World!"
connection.close()
attached.shutdown()
assert attached.join(30)
plain.server_close()
print("all of it")
"""


@pytest.mark.flaky(reruns=0)
def test_a_server_in_somebodys_hub():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(harness.PACKAGE), str(harness.HERE)])}
    env["GATEWAY_TEST_NOTES"] = os.devnull
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "all of it\n", done.stderr


ENDS = """
import threading, time
import gevent, gevent.event, gevent.socket
from gateway.workers import gevent_

class Last:
    # Goes while the interpreter ends: others want it meanwhile.
    def __del__(self, sleep=time.sleep):
        sleep(0.05)

last, ready = Last(), threading.Event()

def log(level, target, message, id):
    if message == "of the second":
        told.set()
        first_is_over.wait()
        ready.set()
        while True:
            time.sleep(0.001)       # gives the interpreter up, and wants it again

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/first":
        first_is_in.set()
        told.wait()
    else:
        environ["wsgi.errors"].write("of the second\\n")
    return [b"hello"]

def ask(server):
    first, second = (gevent.socket.create_connection(server.server_address) for _ in range(2))
    first.sendall(b"GET /first HTTP/1.1\\r\\nHost: here\\r\\nConnection: close\\r\\n\\r\\n")
    first_is_in.wait()
    second.sendall(b"GET /second HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
    while first.recv(4096):
        pass
    first_is_over.set()
    second.recv(1)

def run():
    global first_is_in, told, first_is_over
    first_is_in, told, first_is_over = (gevent.event.Event() for _ in range(3))
    server = gevent_.server(app, bind="127.0.0.1:0", log=log)
    gevent.spawn(ask, server)
    server.serve_forever()

threading.Thread(target=run, daemon=True).start()
ready.wait()
"""


@pytest.mark.flaky(reruns=0)
def test_a_program_may_end_while_greenlets_of_a_thread_have_ended_in_any_order():
    done = subprocess.run(
        [sys.executable, "-c", ENDS], check=False, capture_output=True, text=True, timeout=harness.DEADLINE
    )
    assert (done.returncode, done.stderr) == (0, "")
