"""What goes when a thread of the library's ends, and when a server does."""

import ctypes
import subprocess
import sys
import threading
import weakref

import pytest
from harness import DEADLINE, Client

import gateway


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def served(app, **options):
    """After one request, by a server that is closed behind it."""
    server = gateway.make_server("127.0.0.1", 0, app, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Client(tuple(server.server_address)).get("/").text
    server.shutdown()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    server.server_close()


class Connection:
    """To a database, say: an application has one for each thread."""


def test_what_an_application_keeps_for_a_thread_goes_with_that():
    kept, idents, gone = threading.local(), [], []

    def app(environ, start_response):
        kept.connection = Connection()
        weakref.finalize(kept.connection, lambda: gone.append(threading.get_ident()))
        idents.append(threading.get_ident())
        return hello(environ, start_response)

    for text in served(app, threads=2):
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
        for text in served(app, threads=2):
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

    for text in served(app, threads=2):
        assert text == "hello"
    assert gone == [True]


ENDS = """
import atexit, sys, threading, urllib.request
import gateway

kept = threading.local()

class Kept:
    def __del__(self):
        self.seen = threading.current_thread()

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
