"""What the tests share: servers in processes of their own, and clients for them.

A server is given a socket that listens already, so that a client can connect at once and no port
is lost to anybody else.  `python harness.py KIND MODULE:NAME OPTIONS` is what is started.
"""

from __future__ import annotations

import http.client
import importlib
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
DEADLINE = float(os.environ.get("GATEWAY_TEST_DEADLINE", "30"))
"""Seconds that anything may take: plenty on a machine that is busy, and the end of what hangs."""


def wait_for(what, condition, deadline=DEADLINE):
    """The first true value of condition(); AssertionError with `what` when time is up."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:.0f} s for {what}")
        time.sleep(0.005)


def listener(family=socket.AF_INET, address=("127.0.0.1", 0)):
    """A socket that listens: on a free loopback port, unless an address is given."""
    sock = socket.socket(family)
    sock.bind(address)
    sock.listen(128)
    return sock


_ports = itertools.count(os.getpid() * 101)


def free_port():
    """For a program that is told a number, and not given a socket: one that the system gives to nobody who asks
    for any, nor another process of these tests, most likely."""
    while True:
        port = 10_000 + next(_ports) % 20_000
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                return port


def listens(path):
    """Whether somebody does, at the unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


class Afterwards(AssertionError):
    """What a fixture finds when its tests are over: of any of them, so that none is run again (--rerun-except)."""


CRASHES = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE]


class Process:
    """A program that is being tested: its log, its notes, its end.

    The log is what it wrote to stdout and stderr.  An application writes a note with note(); it is
    in a file, so that it arrives also from a process that is killed right behind it.
    """

    def __init__(self, argv, *, env=None, cwd=None, pass_fds=(), path=()):
        self.directory = tempfile.TemporaryDirectory(prefix="gateway-test-")
        self.log_path = Path(self.directory.name, "log")
        self.notes_path = Path(self.directory.name, "notes")
        self.notes_path.touch()
        self.expected = []
        self.checked = False
        search = [str(PACKAGE), str(HERE), *map(str, path), os.environ.get("PYTHONPATH", "")]
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, search)),
            "PYTHONUNBUFFERED": "1",
            "GATEWAY_TEST_NOTES": str(self.notes_path),
            **(env or {}),
        }
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                argv,
                env=environ,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )
        self.pid = self.process.pid

    # ---- what it says ----

    def log(self):
        """The log so far, as text."""
        return self.log_path.read_text("utf-8", "backslashreplace")

    def expect_log(self, text, deadline=DEADLINE):
        """Wait for `text` in the log; a traceback that has it is then no surprise."""
        self.expected.append(text)
        try:
            wait_for(f"{text!r} in the log", lambda: text in self.log(), deadline)
        except AssertionError as late:
            raise AssertionError(f"{late}; the log:\n{self.log()}") from None

    def notes(self):
        """Every note so far."""
        return self.notes_path.read_text("utf-8").splitlines()

    def expect_note(self, text, count=1, deadline=DEADLINE):
        """Wait until the note has come so many times; more are an error."""
        wait_for(
            f"{count} notes {text!r} in {self.notes()}", lambda: self.notes().count(text) >= count, deadline
        )
        assert self.notes().count(text) == count, self.notes()

    def tracebacks(self):
        """The tracebacks in the log, one text each, with those that they came from."""
        found, lines, chained = [], None, False
        for line in self.log().splitlines():
            if "Traceback (most recent call last)" in line and not chained:
                lines = []
                found.append(lines)
            if lines is not None and line.strip():
                lines.append(line)
                chained = "above exception" in line
        return ["\n".join(each) for each in found]

    def check(self):
        """AssertionError when there is a traceback in the log that no test has expected, or a panic."""
        self.checked = True
        log = self.log()
        for each in self.tracebacks():
            if not any(text in each for text in self.expected):
                raise AssertionError(f"an unexpected traceback in the log of the server:\n{log}")
        if -(self.process.poll() or 0) in CRASHES:
            raise AssertionError(f"crashed, {self.process.returncode}; the log of the server:\n{log}")
        for word in ("panicked at", "Fatal Python error", "was sent SIGSEGV"):
            if word in log and word not in self.expected:
                raise AssertionError(f"{word!r} in the log of the server:\n{log}")

    # ---- how it ends ----

    def alive(self):
        return self.process.poll() is None

    def kill(self, signo):
        self.process.send_signal(signo)

    def wait(self, deadline=DEADLINE):
        """Its exit status, when it has ended."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"waited {deadline:.0f} s for its end; the log:\n{self.log()}") from None

    def stop(self, signo=signal.SIGTERM, deadline=DEADLINE):
        """End it as an administrator does, and look at its log; its exit status."""
        if self.alive():
            self.kill(signo)
        try:
            status = self.wait(deadline)
        except AssertionError as late:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end by signal {signo}: {late}") from None
        self.check()
        return status

    def discard(self):
        """Leave nothing behind, whatever has happened."""
        if self.alive():
            self.process.kill()
            self.process.wait()
        self.directory.cleanup()


class Answer:
    """An answer: `status`, `reason`, `headers` (pairs, in order), `body`; `hints`: those of 1xx before."""

    def __init__(self, status, reason, headers, body, hints=()):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body
        self.hints = list(hints)

    def __getitem__(self, name):
        """The value of the header, or None; several joined."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.headers} {self.body[:200]!r}>"


class Wire:
    """A connection: octets out, answers in."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.sock.close()

    def send(self, octets):
        self.sock.sendall(octets)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Go away so that the other side gets a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def more(self):
        """What comes next is in the buffer; False at the end."""
        octets = self.sock.recv(65536)
        self.buffer += octets
        return bool(octets)

    def until(self, end):
        """Everything up to `end`, with it."""
        while end not in self.buffer:
            if not self.more():
                raise EOFError(f"the connection ended before {end!r}: {self.buffer[:500]!r}")
        at = self.buffer.index(end) + len(end)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self.more():
                raise EOFError(f"the connection ended {size - len(self.buffer)} octets early")
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def rest(self, may_reset=False):
        """Everything up to the end of the connection; may_reset: also a RST, as of an answer that is cut."""
        try:
            while self.more():
                pass
        except ConnectionResetError:
            if not may_reset:
                raise
        taken, self.buffer = self.buffer, b""
        return taken

    def head(self):
        """(status, reason, headers) of the next answer."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, reason = (lines[0] + " ").split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), lines
        pairs = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        return int(status), reason.strip(), pairs

    def chunk(self):
        """The next chunk of a chunked body; b"" is the last."""
        size = int(self.until(b"\r\n"), 16)
        octets = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return octets

    def answer(self, method="GET"):
        """The next answer, whole: by its length, its chunks, or the end of the connection."""
        hints = []
        while True:
            status, reason, headers = self.head()
            if status >= 200 or status == 101:
                break
            hints.append(Answer(status, reason, headers, b""))
        found = Answer(status, reason, headers, b"", hints)
        if method == "HEAD" or status in (204, 304):
            pass
        elif found["transfer-encoding"] == "chunked":
            found.body = b"".join(iter(self.chunk, b""))
        elif found["content-length"] is not None:
            found.body = self.exactly(int(found["content-length"]))
        else:
            found.body = self.rest()
        return found


class Client:
    """Requests to (host, port), or to the path of a unix socket."""

    def __init__(self, address):
        self.address = address

    def connect(self):
        """A connection of its own; use it in a `with`."""
        sock = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        sock.settimeout(DEADLINE)
        sock.connect(self.address)
        return Wire(sock)

    def raw(self, octets):
        """Send, and read up to the end of the connection."""
        with self.connect() as wire:
            wire.send(octets)
            return wire.rest()

    def request(self, method, path, body=None, headers=()):
        """An Answer, on a connection of its own; an iterable body is sent in chunks."""
        if isinstance(self.address, str):
            connection = http.client.HTTPConnection("localhost")
            connection.sock = self.connect().sock
        else:
            connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            got = connection.getresponse()
            return Answer(got.status, got.reason, got.getheaders(), got.read())
        finally:
            connection.close()

    def get(self, path, headers=()):
        return self.request("GET", path, headers=headers)

    def post(self, path, body=b"", headers=()):
        return self.request("POST", path, body, headers)

    def head(self, path, headers=()):
        return self.request("HEAD", path, headers=headers)


class Site(Process, Client):
    """An application under a server: kind is "serve" (gateway.serve), "make_server" (gateway.make_server),
    "wsgiref", "gunicorn", or "uvicorn"; options are the server's.  load=True: workers load it."""

    def __init__(self, app, kind="serve", *, env=None, cwd=None, path=(), python=sys.executable, **options):
        with listener() as sock:
            self.port = sock.getsockname()[1]
            Client.__init__(self, ("127.0.0.1", self.port))
            options.setdefault("workers", 1)
            argv = [python, str(HERE / "harness.py"), kind, app, str(sock.fileno()), json.dumps(options)]
            Process.__init__(self, argv, env=env, cwd=cwd, path=path, pass_fds=[sock.fileno()])

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        try:
            if kind is None and not self.checked:
                self.stop()
        finally:
            self.discard()


def note(text):
    """In an application: tell the test."""
    fd = os.open(os.environ["GATEWAY_TEST_NOTES"], os.O_WRONLY | os.O_APPEND)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


# ---- the process that serves ----


def load(name):
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    for part in (attribute or "application").split("."):
        found = getattr(found, part)
    return found


def main(kind, name, fd, options):
    fd, options = int(fd), json.loads(options)
    if options.pop("load", False):
        # Workers load it.
        app, options["load"] = None, lambda: load(name)
    else:
        app = load(name)
    if kind == "serve":
        import gateway

        if ":" in options.get("worker", ""):
            options["worker"] = load(options["worker"])()
        try:
            bind = options.pop("bind", "fd://{fd}").format(fd=fd)
            gateway.serve(app, bind=bind, **options)
        except gateway.Failure as failure:
            print(failure.args[0], file=sys.stderr)
            sys.exit(failure.args[1])
    elif kind == "make_server":
        import gateway

        options.pop("workers", None)
        server = gateway.server(app, bind=f"fd://{fd}", **options)
        signal.signal(signal.SIGTERM, lambda *unused: server.shutdown())
        server.serve_forever()
        server.server_close()
    elif kind == "wsgiref":
        from wsgiref import simple_server

        server = simple_server.WSGIServer(("127.0.0.1", 0), simple_server.WSGIRequestHandler, False)
        server.socket.close()
        server.socket = socket.socket(fileno=fd)
        server.server_address = server.socket.getsockname()
        server.server_name, server.server_port = server.server_address
        server.setup_environ()
        server.set_app(app)
        signal.signal(signal.SIGTERM, lambda *unused: os._exit(0))
        server.serve_forever()
    elif kind == "uvicorn":
        import uvicorn

        options.pop("workers", None)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
        server.run(sockets=[socket.socket(fileno=fd)])
    elif kind == "gunicorn":
        from gunicorn.app.base import BaseApplication

        class Application(BaseApplication):
            def load_config(self):
                self.cfg.set("bind", f"fd://{fd}")
                for key, value in options.items():
                    self.cfg.set(key, value)

            def load(self):
                return app

        sys.argv = ["gunicorn"]
        Application().run()
    else:
        raise SystemExit(f"no such kind: {kind}")


if __name__ == "__main__":
    # Under its own name, so that an application that imports it has the same module.
    sys.modules["harness"] = sys.modules["__main__"]
    main(*sys.argv[1:])
