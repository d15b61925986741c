"""Two demos (examples/demo.c, and that of a binding) are asked the same, and must answer the same.

    python3 tests/demo.py --reference 'target/c/demo {address} {file}' -- lua demo.lua {address} {file}

{address} is where a program is to listen, {file} what it has at /file.  Answers are compared octet by octet,
but for the value of Date, and for how the stream of /count is cut into chunks.  It ends with 1 where they
differ, where an answer has another status than it should, or where a server does not end well.
"""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 60  # seconds, for a server to start, to answer, to end
LARGE = b"".join(b"line %d of a large body\n" % n for n in range(20_000))


def ask(line, *headers, body=b""):
    return "\r\n".join([line, "Host: demo.test", *headers, "", ""]).encode("latin-1") + body


def chunked(*pieces, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def exchanges():
    """Connections: what each is called, and its steps: what is sent, and then the status of each answer.

    A status is negative where the answer has no body, since HEAD was asked.  Unless the last answer says
    "Connection: close" by itself, the last request asks for it.
    """
    close = "Connection: close"
    paths = {
        "/": 200,
        "/environ": 200,
        "/environ?a=1&b=%20c+d&&=": 200,
        "/environ?": 200,
        "/%65nvir%6Fn?%C3%A4": 200,
        "/echo": 200,
        "/count": 200,
        "/later": 200,
        "/headers": 204,
        "/file": 200,
        "/fail": 500,
        "/nothing": 404,
        "/environ/": 404,
        "/%C3%A4%20%2F": 404,
    }
    for path, status in paths.items():
        for version, *headers in [
            ("HTTP/1.1", close),
            ("HTTP/1.0",),
            ("HTTP/1.0", "Connection: keep-alive", close),
        ]:
            yield f"GET {path} {version}", [(ask(f"GET {path} {version}", *headers), [status])]
            yield f"HEAD {path} {version}", [(ask(f"HEAD {path} {version}", *headers), [-status])]
        yield (
            f"POST {path}",
            [(ask(f"POST {path} HTTP/1.1", close, "Content-Length: 4", body=b"some"), [status])],
        )

    kept = [path for path in paths if path != "/fail"]
    gets = [ask(f"GET {path} HTTP/1.1", *[close] * (path == kept[-1])) for path in kept]
    yield "keep-alive", [(get, [paths[path]]) for get, path in zip(gets, kept, strict=True)]
    yield "pipelined", [(b"".join(gets), [paths[path] for path in kept])]
    head = ask("HEAD /count HTTP/1.1")
    post = ask("POST /echo HTTP/1.1", "Content-Type: text/x-demo", "Content-Length: 9", body=b"pipelined")
    more = ask("POST /echo HTTP/1.1", "Transfer-Encoding: chunked", body=chunked(b"in ", b"chunks"))
    unread = ask("POST / HTTP/1.1", "Content-Length: 6", body=b"unread")
    last = ask("GET / HTTP/1.1", close)
    yield "methods, pipelined", [(head + post + more + unread + last, [-200, 200, 200, 200, 200])]
    old = ask("GET / HTTP/1.0", "Connection: keep-alive")
    yield "HTTP/1.0, kept", [(old, [200]), (old, [200]), (ask("GET / HTTP/1.0"), [200])]
    yield "in pieces", [(last[:9], []), (last[9:30], []), (last[30:], [200])]
    yield "failed, pipelined", [(ask("GET /fail HTTP/1.1", close) + last, [500])]

    for name, headers, body in [
        ("nothing", ["Content-Length: 0"], b""),
        ("a type", ["Content-Length: 5", "Content-Type: text/plain; charset=utf-8"], b"octet"),
        ("octets", ["Content-Length: 256"], bytes(range(256))),
        ("much", [f"Content-Length: {len(LARGE)}"], LARGE),
        ("chunks", ["Transfer-Encoding: chunked", "Content-Type: a/b"], chunked(b"a", b"bc", b"d" * 5000)),
        ("no chunks", ["Transfer-Encoding: chunked"], chunked()),
        ("many chunks", ["Transfer-Encoding: chunked"], chunked(*[LARGE[:999]] * 300)),
        ("a trailer", ["Transfer-Encoding: chunked"], chunked(b"body", end=b"0;x=y\r\nX-Sum: 1\r\n\r\n")),
    ]:
        for method in ["POST", "PUT"]:
            yield (
                f"{method} /echo, {name}",
                [(ask(f"{method} /echo HTTP/1.1", close, *headers, body=body), [200])],
            )
        yield f"POST /environ, {name}", [(ask("POST /environ HTTP/1.1", close, *headers, body=body), [200])]
    expect = ask("POST /echo HTTP/1.1", close, "Expect: 100-continue", "Content-Length: 8")
    yield "Expect: 100-continue", [(expect, [100]), (b"expected", [200])]

    for name, headers in [
        ("a header", ["X-Demo: one"]),
        ("a header twice", ["X-Demo: one", "x-dEMO: two"]),
        ("a header without a value", ["X-Demo:"]),
        ("octets in a header", ["X-Demo: \xe4\xff\x80 \t."]),
        ("an underscore", ["X_Demo: not this one"]),
    ]:
        yield name, [(ask("GET /environ HTTP/1.1", close, *headers), [200])]
    yield "DELETE", [(ask("DELETE /environ HTTP/1.1", close), [200])]
    yield "a method of our own", [(ask("DEMO /environ HTTP/1.1", close), [200])]
    yield "a whole URL", [(ask("GET http://demo.test/environ?a HTTP/1.1", close), [200])]

    for name, octets in [
        ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", ask("GET / HTTP/1.1", "Host: other")),
        ("a space in a name", ask("GET / HTTP/1.1", "Bad Name: x")),
        ("a NUL", ask("GET / HTTP/1.1", "X-Demo: \0")),
        ("two lengths", ask("POST /echo HTTP/1.1", "Content-Length: 1", "Content-Length: 2", body=b"ab")),
        ("length and chunks", ask("POST /echo HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked")),
        ("no length", ask("POST /echo HTTP/1.1", "Content-Length: x")),
        ("no chunk", ask("POST /echo HTTP/1.1", "Transfer-Encoding: chunked", body=b"zz\r\n")),
        ("no request", b"this is none\r\n\r\n"),
    ]:
        yield f"malformed: {name}", [(octets, [400])]


class Client:
    """One connection, on which answers are read as they are framed."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.buffer = b""

    def send(self, octets):
        with contextlib.suppress(ConnectionError):  # an answer may come before all was sent
            self.socket.sendall(octets)

    def more(self):
        try:
            octets = self.socket.recv(65536)
        except ConnectionResetError:
            octets = b""
        self.buffer += octets
        return len(octets) > 0

    def until(self, is_there):
        while not is_there():
            if not self.more():
                return False
        return True

    def take(self, count):
        if count is None:
            self.until(lambda: False)
            count = len(self.buffer)
        self.until(lambda: len(self.buffer) >= count)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def line(self):
        self.until(lambda: b"\n" in self.buffer)
        return self.take(self.buffer.find(b"\n") + 1)

    def chunks(self):
        """The body, and what follows the last chunk."""
        body = b""
        while True:
            size = self.line()
            try:
                length = int(size, 16)
            except ValueError:
                return body + b"<no chunk: " + size + b">"
            if length == 0:
                return body + b"<end>" + self.line()
            body += self.take(length)
            if self.take(2) != b"\r\n":
                return body + b"<cut>"

    def answer(self, has_body):
        """Its status, and all of it; 0 if there is none."""
        if not self.until(lambda: b"\r\n\r\n" in self.buffer):
            return 0, self.take(None)
        head = self.take(self.buffer.index(b"\r\n\r\n") + 4)
        status = int(re.match(rb"HTTP/1\.1 (\d{3}) |", head)[1] or 0)
        date = rb"(?mi)^(date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r$"
        head = re.sub(date, rb"\1(some date)\r", head)
        if not has_body or status < 200 or status in (204, 304):
            return status, head
        if re.search(rb"(?mi)^transfer-encoding: chunked\r$", head):
            return status, head + self.chunks()
        length = re.search(rb"(?mi)^content-length: (\d+)\r$", head)
        return status, head + self.take(int(length[1]) if length else None)


def converse(address, steps):
    """What came for each step, and that the connection was closed in the end."""
    client = Client(address)
    with contextlib.closing(client.socket):
        for octets, statuses in steps:
            client.send(octets)
            for status in statuses:
                yield abs(status), *client.answer(status > 0)
        rest = client.take(None)
        if rest:
            yield 0, 0, b"<after the last answer> " + rest


class Server:
    """A demo on a port of its own, until the end of `with`."""

    def __init__(self, name, command, file):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.name = name
        self.command = [
            word.replace("{address}", self.address).replace("{file}", str(file)) for word in command
        ]
        self.log = file.with_name(f"{name}.log")
        self.failed = False

    def __enter__(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                _, status, _ = next(converse(self.address, [(ask("GET / HTTP/1.0"), [200])]))
                if status:
                    return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end(f"does not serve on {self.address}")
                sys.exit(1)
            time.sleep(0.05)

    def end(self, why=None):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            why = why or f"does not end within {PATIENCE} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what is left of the session that it leads
        status = self.process.wait()
        why = why or (f"ends with {status}" if status else None)
        if why:
            self.failed = True
            print(f"{self.name}: {shlex.join(self.command)}: {why}; its standard error:")
            print(self.log.read_text(errors="replace"))

    def __exit__(self, *_):
        self.end()


def readable(octets):
    return [ascii(line.decode("latin-1"))[1:-1] for line in octets.splitlines(keepends=True)]


def compare(reference, other):
    """How many answers are the same; and the differences."""
    same, told = 0, []
    for name, steps in exchanges():
        ours, theirs = (list(converse(server.address, steps)) for server in (reference, other))
        for wanted, got, answer in ours:
            if wanted != got:
                told.append(
                    f"{name}: {reference.name} answers with {got}, not {wanted}: {readable(answer)[:3]}"
                )
        for index, (mine, its) in enumerate(zip(ours, theirs, strict=False)):
            same += mine == its
            if mine != its:
                lines = [readable(answer[2]) for answer in (mine, its)]
                diff = difflib.unified_diff(*lines, reference.name, other.name, n=2, lineterm="")
                told.append("\n".join([f"{name}: answer {index + 1} differs:", *list(diff)[:40]]))
        if len(ours) != len(theirs):
            told.append(f"{name}: {len(ours)} answers of {reference.name}, {len(theirs)} of {other.name}")
    return same, told


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", default="target/c/demo {address} {file}", help="a command")
    parser.add_argument("command", nargs="+", help="the program that is compared with it")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "file"
        file.write_bytes(LARGE)
        reference = Server("reference", shlex.split(args.reference), file)
        other = Server("other", args.command, file)
        with reference, other:
            same, told = compare(reference, other)
    print(*told, sep="\n\n", end="\n" if told else "")
    print(f"{same} answers are the same, {len(told)} differences")
    return 1 if told or reference.failed or other.failed else 0


if __name__ == "__main__":
    sys.exit(main())
