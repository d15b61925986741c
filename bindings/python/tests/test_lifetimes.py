"""What goes when a thread of the library's ends, and when a server does."""

import contextlib
import ctypes
import errno
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref

import pytest
from harness import DEADLINE, Client, wait_for

import gateway

# Most find out what happens now and then: once is too often.
pytestmark = pytest.mark.flaky(reruns=0)


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


@contextlib.contextmanager
def served(app, **options):
    """After one request, by a server that is closed behind it."""
    server = gateway.make_server("127.0.0.1", 0, app, **options)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Client(tuple(server.server_address)).get("/").text
    finally:
        stop(server.shutdown, thread)
        server.server_close()


def stop(shutdown, thread):
    """Also where that hangs: the test fails, and the others go on."""
    asks = threading.Thread(target=shutdown, daemon=True)
    asks.start()
    for each in (asks, thread):
        each.join(DEADLINE)
        assert not each.is_alive()


class Connection:
    """To a database, say: an application has one for each thread."""


def test_what_an_application_keeps_for_a_thread_goes_with_that():
    kept, idents, gone = threading.local(), [], []

    def app(environ, start_response):
        kept.connection = Connection()
        weakref.finalize(kept.connection, lambda: gone.append(threading.get_ident()))
        idents.append(threading.get_ident())
        return hello(environ, start_response)

    with served(app, threads=2) as text:
        assert text == "hello"
        assert gone == []
    assert gone == idents


def test_what_a_thread_has_ready_for_its_next_request_goes_with_it():
    kinds = []

    def app(environ, start_response):
        kinds.append(type(start_response))
        return hello(environ, start_response)

    before = None
    for _ in range(2):
        with served(app, threads=2) as text:
            assert text == "hello"
        after = sys.getrefcount(kinds.pop())
        assert before is None or after == before
        before = after


def test_a_thread_that_ends_may_call_what_it_called():
    """What goes with it runs code, which may ask for the interpreter as a library in C does."""
    kept, gone = threading.local(), []
    back = ctypes.CFUNCTYPE(None)(lambda: gone.append(True))

    class Calls:
        def __del__(self):
            back()

    def app(environ, start_response):
        kept.it = Calls()
        return hello(environ, start_response)

    with served(app, threads=2) as text:
        assert text == "hello"
    assert gone == [True]


ENDS = """
import atexit, sys, threading, urllib.request
import gateway

kept = threading.local()

class Kept:
    def __del__(self):
        self.__dict__.clear()

def app(environ, start_response):
    kept.it = Kept()
    start_response("200 OK", [])
    return [b"hello"]

server = gateway.make_server("127.0.0.1", 0, app, threads=3)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(4):
    urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read()
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "atexit.register(server.server_close)",
        # The interpreter ends while that, and what it waits for, want it.
        "threading.Thread(target=server.server_close, daemon=True).start()",
    ],
)
def test_a_program_may_end_around_a_server(end):
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", ENDS + end], check=False, capture_output=True, text=True, timeout=DEADLINE
        )
        assert (done.returncode, done.stderr) == (0, "")


BLOCKS = """
import socket
import gateway

site = {}       # another module, say: what runs there does not keep the server
exec('''
import threading

entered = threading.Event()

def app(environ, start_response):
    entered.set()
    threading.Event().wait()
''', site)
server = gateway.make_server("127.0.0.1", 0, site.pop("app"), threads=2)
client = socket.create_connection(server.server_address)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
while not site["entered"].is_set():
    server.turn()
print("the end")
"""


def test_a_program_may_end_while_a_request_runs():
    """Nothing waits for that: its thread is never given the interpreter again."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS], check=False, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")


TELLS = """
import sys, threading, time
from http.client import HTTPConnection
import gateway

answered = threading.Event()

def look(*unused):
    time.sleep(0.001)       # gives the interpreter up, and wants it again

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def ask():
    while True:
        client = HTTPConnection(*server.server_address)
        client.request("GET", "/")
        client.getresponse().read()
        answered.set()

server = gateway.make_server(
    "127.0.0.1", 0, app, log=look, loglevel="debug", hooks={"pre_request": look, "access": look},
    **MORE,
)
for each in (server.serve_forever, ask, ask):
    threading.Thread(target=each, daemon=True).start()
answered.wait()
"""


@pytest.mark.parametrize("more", [{}, {"threads": 2}])
def test_a_program_may_end_while_something_is_told(more):
    """Of a log record, say: who is told gives the interpreter up, and its thread is never given it again."""
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", TELLS.replace("MORE", repr(more))],
            check=False, capture_output=True, text=True, timeout=DEADLINE,
        )
        assert (done.returncode, done.stderr) == (0, "")


HOOKED = """
import threading, time
import gateway
from gateway.workers import Worker

class Last:
    # Goes while the interpreter ends: others want it meanwhile.
    def __del__(self, sleep=time.sleep):
        sleep(0.05)

last, called = Last(), threading.Event()

def look(*unused):
    called.set()
    while True:
        time.sleep(0.001)

class Loop(Worker):
    name = "loop"

    def run(self, server):
        look()

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def serve():
    gateway.serve(
        app, bind="127.0.0.1:0", workers=1, worker_model="threads", signals=False, loglevel="error", MORE
    )

threading.Thread(target=serve, daemon=True).start()
called.wait()
"""


@pytest.mark.parametrize(
    "more", ['hooks={"on_starting": look}', 'hooks={"post_worker_init": look}', "worker=Loop()"]
)
def test_a_program_may_end_while_a_hook_runs(more):
    """Of the arbiter, or of a worker, in a thread."""
    done = subprocess.run(
        [sys.executable, "-c", HOOKED.replace("MORE", more)],
        check=False, capture_output=True, text=True, timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Site:
    """An application that has its server."""

    def __call__(self, environ, start_response):
        return hello(environ, start_response)

    def look(self, *unused):
        pass


def refuses(address):
    with socket.socket() as sock:
        return sock.connect_ex(tuple(address)) == errno.ECONNREFUSED


@pytest.mark.parametrize("holds", [(), ("hooks",), ("log",), ("hooks", "log")])
@pytest.mark.parametrize("closed", [False, True])
def test_a_server_goes_with_the_application_that_has_it(holds, closed):
    site = Site()
    more = {"hooks": {"pre_request": site.look, "access": site.look}, "log": site.look}
    site.server = gateway.server(site, bind="127.0.0.1:0", **{name: more[name] for name in holds})
    address = site.server.server_address
    site.server.turn()
    if closed:
        site.server.server_close()
    gone = weakref.ref(site)
    more.clear()
    gc.collect()
    assert gone() is site
    del site
    gc.collect()
    assert gone() is None
    assert refuses(address)


def test_a_server_that_runs_is_not_garbage():
    site = Site()
    site.server = gateway.server(site, bind="127.0.0.1:0", threads=2)
    client = Client(site.server.server_address)
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    shutdown, gone = site.server.shutdown, weakref.ref(site)
    del site
    try:
        for _ in range(3):
            gc.collect()
            assert client.get("/").text == "hello"
    finally:
        stop(shutdown, thread)
    del shutdown
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("forks", [False, True])
def test_a_server_goes_in_whichever_thread(forks):
    """In one that has never called the library, also in a child, where nothing is left to close: it is its parent's."""
    site = Site()
    site.server = gateway.server(site, bind="127.0.0.1:0", log=site.look)
    address, gone = site.server.server_address, weakref.ref(site)
    child = os.fork() if forks else 0
    if child == 0:
        went = False
        try:
            del site
            thread = threading.Thread(target=gc.collect, daemon=True)
            thread.start()
            thread.join(DEADLINE)
            went = not thread.is_alive() and gone() is None
        finally:
            if forks:
                os._exit(0 if went else 1)
        assert went
        assert refuses(address)
    else:
        assert os.waitpid(child, 0)[1] == 0
        thread = threading.Thread(target=site.server.serve_forever, daemon=True)
        thread.start()
        try:
            assert Client(address).get("/").text == "hello"
        finally:
            stop(site.server.shutdown, thread)
        site.server.server_close()


def between_turns(servers, act, options):
    """act(servers) in a request to the one that is in there, in a thread of the pool, while nobody turns it."""
    entered, go, done, failed = threading.Event(), threading.Event(), threading.Event(), []

    def app(environ, start_response):
        entered.set()
        try:
            assert go.wait(DEADLINE)
            act(servers)
        except BaseException as failure:
            failed.append(failure)
        done.set()
        return hello(environ, start_response)

    servers.append(gateway.make_server("127.0.0.1", 0, app, threads=2, **options))
    options.clear()
    address = servers[0].server_address
    with socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        while not entered.is_set():
            servers[0].turn()
        go.set()
        assert done.wait(DEADLINE)
    assert failed == []
    return address


def test_a_request_closes_its_server_between_turns():
    servers = []
    address = between_turns(servers, lambda servers: servers[0].server_close(), {})
    assert servers[0].turn() is None
    assert refuses(address)
    with pytest.raises(ValueError, match="closed"):
        servers[0].turn()


@pytest.mark.parametrize("collected", [False, True])
def test_a_request_may_be_the_last_that_has_its_server(collected):
    sites = [Site()]

    def let_go(servers):
        sites.pop().server = servers.pop()
        gc.collect()

    address = between_turns([], let_go, {"hooks": {"access": sites[0].look}} if collected else {})
    wait_for("its end", lambda: refuses(address))
