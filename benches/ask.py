"""How servers are asked: the scenarios, a client that counts, and wrk."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys

PLAIN = "Host: 127.0.0.1\r\n"
PIPELINE = """
init = function(args)
    local r = {}
    for i = 1, 16 do r[i] = wrk.format(nil, "/") end
    all = table.concat(r)
end
request = function() return all end
"""
POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n'
UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}


class Scenario:
    """One way to ask: for wrk, and as octets for the counting runs."""

    def __init__(self, about, octets, *, batch=1, path="/", header=None, lua=None, requests=4096):
        self.about = about
        self.octets = octets.encode()
        self.batch = batch
        self.path = path
        self.header = header
        self.lua = lua
        self.requests = requests  # of a counting run: whole rounds of 64 connections
        self.closes = header == "Connection: close"


SCENARIOS = {
    "hello": Scenario("hello, keep-alive", f"GET / HTTP/1.1\r\n{PLAIN}\r\n"),
    "pipeline": Scenario(
        "hello, pipelined by 16", f"GET / HTTP/1.1\r\n{PLAIN}\r\n", batch=16, lua=PIPELINE
    ),
    "close": Scenario(
        "hello, a connection each",
        f"GET / HTTP/1.1\r\n{PLAIN}Connection: close\r\n\r\n",
        header="Connection: close",
        requests=2048,
    ),
    "post": Scenario(
        "POST of 1 KiB",
        f"POST /post HTTP/1.1\r\n{PLAIN}Content-Length: 1024\r\n\r\n" + "x" * 1024,
        path="/post",
        lua=POST,
    ),
    "big": Scenario(
        "answer of 100 KiB", f"GET /big HTTP/1.1\r\n{PLAIN}\r\n", path="/big", requests=1024
    ),
}


def open_files():
    """Raise the soft limit of open files to the hard one; servers inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- a client that counts: the same requests each time ----


def connect(port):
    """A connection that takes a big answer whole, before it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.settimeout(60)
    try:
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def receive(sock, octets):
    """Exactly so many octets."""
    parts = []
    while octets > 0:
        part = sock.recv(min(octets, 1 << 20))
        if not part:
            raise OSError("the server closed the connection early")
        parts.append(part)
        octets -= len(part)
    return b"".join(parts)


def exchange(sock, scenario):
    """Asks once; the length of the answer, which must be a 200 with a Content-Length."""
    sock.sendall(scenario.octets)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(sock, 1)
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
    if not head.startswith(b"HTTP/1.1 200 ") or not length:
        sys.exit(f"port {sock.getpeername()[1]} answered {scenario.about}: {head!r}")
    receive(sock, int(length[1]))
    return len(head) + int(length[1])


def one_answer(port, scenario):
    with connect(port) as sock:
        return exchange(sock, scenario)


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Clients:
    """Connections that ask in rounds: one batch on each of them, then all the answers.

    The worker is stopped while a round is sent, so that it always finds all of it.  What it does
    then depends on no clock and no scheduler.
    """

    def __init__(self, port, scenario, worker, connections=64):
        self.port = port
        self.scenario = scenario
        self.worker = worker
        self.connections = connections
        self.answer = one_answer(port, scenario)
        self.socks = []

    def __enter__(self):
        self.ask(self.connections * self.scenario.batch)
        return self

    def __exit__(self, *exc):
        self.leave()

    def ask(self, requests):
        scenario, todo = self.scenario, requests
        while todo > 0:
            asked = []
            with stopped(self.worker):
                while len(self.socks) < self.connections:
                    self.socks.append(connect(self.port))
                for sock in self.socks:
                    n = min(scenario.batch, todo)
                    if n:
                        sock.sendall(scenario.octets * n)
                        asked.append((sock, n))
                        todo -= n
            for sock, n in asked:
                receive(sock, n * self.answer)
            if scenario.closes:
                self.leave()

    def leave(self):
        for sock in self.socks:
            sock.close()
        self.socks = []


# ---- wrk, for what takes time ----


class Load:
    """What one run of wrk saw: requests, seconds, the 50th and 99th percentile in us, errors."""

    def __init__(self, text):
        done = re.search(r"(\d+) requests in ([\d.]+)(\w+)", text)
        self.requests = int(done[1])
        self.seconds = float(done[2]) * UNITS[done[3]] / 1e6
        at = dict(re.findall(r"^ +(\d+)% +([\d.]+\w+)$", text, re.MULTILINE))
        at = at if self.requests else {}
        self.p50, self.p99 = (in_us(at[p]) if p in at else None for p in ("50", "99"))
        errors = re.search(r"Socket errors: (.+)", text)
        self.errors = sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0


def in_us(text):
    value, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()
    return float(value) * UNITS[unit]


def wrk(port, scenario, seconds, connections, core, script, latency=False):
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if latency:
        command += ["--latency", "--timeout", "10s"]
    if scenario.header:
        command += ["-H", scenario.header]
    if scenario.lua:
        script.write_text(scenario.lua)
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{scenario.path}")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        sys.exit(f"port {port}: wrk met errors\n{text}")
    return Load(text)
