#!/usr/bin/env python3
"""Speed of libgateway beside the limit (limit.c) and, where installed, nginx's `return`.

All servers run at once, each with one worker on the same core; wrk, on another core, takes them
in turn, round after round, so that what disturbs the machine disturbs all of them.  Measured is
the CPU time (user and system) of a server's process tree per request: it does not depend on how
fast the client is.  `ratio` is limit / server: 1.00 would be as good as the limit.

System calls per request come from strace, instructions per request (user space) from callgrind:
two runs with N and 2N requests, and the difference, so that the start cancels out.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
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


class Scenario:
    """One way to ask: for wrk, and as octets for the counting runs."""

    def __init__(self, about, octets, *, batch=1, path="/", header=None, lua=None, rivals=True):
        self.about = about
        self.octets = octets.encode()
        self.batch = batch
        self.path = path
        self.header = header
        self.lua = lua
        self.rivals = rivals
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
    ),
    "post": Scenario(
        "POST of 1 KiB",
        f"POST / HTTP/1.1\r\n{PLAIN}Content-Length: 1024\r\n\r\n" + "x" * 1024,
        lua=POST,
    ),
    "big": Scenario(
        "answer of 100 KiB", f"GET /big HTTP/1.1\r\n{PLAIN}\r\n", path="/big", rivals=False
    ),
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stat_fields(pid):
    """The fields of /proc/PID/stat after the name, or None."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(root):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(entry) if entry.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_ns(pid):
    """User and system time that a process has used."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads)
    except (OSError, ValueError):
        fields = stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) * TICK_NS if fields else 0


class Server:
    """A server process, pinned, and ended with the `with` block."""

    def __init__(self, name, command, port, core=None, **popen):
        self.name = name
        self.port = port
        pin = ["taskset", "-c", str(core)] if core is not None else []
        self.process = subprocess.Popen(pin + command, **popen)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                one_answer(self.port, SCENARIOS["hello"])
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    sys.exit(f"{self.name} does not answer on port {self.port}")
                time.sleep(0.05)

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                for pid in tree(self.process.pid):
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()

    def cpu(self):
        return sum(cpu_ns(pid) for pid in tree(self.process.pid))

    def worker(self):
        """The process that serves: the one that has used most time."""
        return max(tree(self.process.pid), key=cpu_ns)


def nginx_command(nginx, port, where):
    conf = where / "nginx.conf"
    conf.write_text(f"""
        daemon off; master_process off; pid {where}/pid; error_log stderr crit;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; default_type text/plain; server_tokens off;
            keepalive_requests 1000000000; keepalive_timeout 300s;
            client_body_temp_path {where}/a; proxy_temp_path {where}/b;
            fastcgi_temp_path {where}/c; uwsgi_temp_path {where}/d; scgi_temp_path {where}/e;
            server {{
                listen 127.0.0.1:{port} reuseport backlog=2048;
                location / {{ return 200 "hello, world\\n"; }}
            }}
        }}
    """)
    return [nginx, "-p", str(where), "-c", str(conf)]


def commands(programs, where):
    """The rivals: name, command for a port; the limit first."""
    rivals = {
        "limit": lambda port: [str(programs / "limit"), str(port)],
        "gateway": lambda port: [str(programs / "bench"), f"127.0.0.1:{port}", "1"],
    }
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if nginx:
        rivals["nginx"] = lambda port: nginx_command(nginx, port, where)
    return rivals


# ---- a client that counts: the same number of requests each time ----


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


def one_answer(port, scenario):
    """The length of one answer, which must be a 200 with a Content-Length."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(scenario.octets)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(sock, 1)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
        if not head.startswith(b"HTTP/1.1 200 ") or not length:
            sys.exit(f"port {port} answered {scenario.about}: {head!r}")
        receive(sock, int(length[1]))
        return len(head) + int(length[1])


def ask(port, scenario, requests, connections=64):
    """So many requests: one batch on every connection, then all the answers, and again."""
    answer = one_answer(port, scenario)
    todo = requests
    socks = []
    while todo > 0:
        if scenario.closes or not socks:
            socks = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(connections)]
        asked = []
        for sock in socks:
            n = min(scenario.batch, todo)
            if n:
                sock.sendall(scenario.octets * n)
                asked.append((sock, n))
                todo -= n
        for sock, n in asked:
            receive(sock, n * answer)
        if scenario.closes:
            for sock in socks:
                sock.close()
    for sock in socks:
        sock.close()


def syscalls(server, scenario, requests):
    """System calls per request of the serving process: total and by name; None without strace."""
    if not shutil.which("strace"):
        return None
    ask(server.port, scenario, 128)
    with tempfile.NamedTemporaryFile("r") as out:
        command = ["strace", "-f", "-c", "-o", out.name, "-p", str(server.worker())]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = strace.stderr.readline()
        if "attached" not in line:
            strace.wait()
            return None
        ask(server.port, scenario, requests)
        strace.send_signal(signal.SIGINT)
        strace.wait()
        table = {}
        for row in out:
            fields = row.split()
            if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                table[fields[-1]] = int(fields[3]) / (requests + 1)
    return sum(table.values()), table


def instructions(name, make, scenario, requests):
    """User-space instructions per request; None without valgrind."""
    if not shutil.which("valgrind"):
        return None
    counts = []
    for n in (requests, 2 * requests):
        with tempfile.TemporaryDirectory() as where:
            port = free_port()
            command = [
                "valgrind",
                "--tool=callgrind",
                "-q",
                f"--callgrind-out-file={where}/out.%p",
                *make(port),
            ]
            with Server(name, command, port, stderr=subprocess.DEVNULL):
                ask(port, scenario, n)
            texts = [path.read_text() for path in Path(where).glob("out.*")]
            totals = [int(total[1]) for total in map(TOTALS.search, texts) if total]
            if not totals:  # It did not end by itself.
                return None
            counts.append(max(totals))
    return (counts[1] - counts[0]) / requests


# ---- the clock ----


def wrk(port, scenario, seconds, connections, core, script):
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    if scenario.header:
        command += ["-H", scenario.header]
    if scenario.lua:
        script.write_text(scenario.lua)
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{scenario.path}")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        sys.exit(f"port {port}: wrk met errors\n{text}")
    return int(re.search(r"(\d+) requests in", text)[1])


def measure(servers, scenario, args, script):
    """CPU time per request, in ns: for each server, one number per round."""
    times = {server.name: [] for server in servers}
    for _ in range(args.rounds):
        for server in servers:
            before = server.cpu()
            requests = wrk(
                server.port, scenario, args.seconds, args.connections, args.client_core, script
            )
            times[server.name].append((server.cpu() - before) / requests)
    return times


def report(name, times, limit, calls, count):
    ratios = [a / b for a, b in zip(limit, times, strict=True)]
    row = f"  {name:8}  {statistics.median(times) / 1000:7.2f} us"
    row += f"   ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})"
    if calls:
        names = sorted(calls[1].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{call} {n:.2f}" for call, n in names if n >= 0.005)
        row += f"   {calls[0]:5.2f} calls ({shown})"
    if count is not None:
        row += f"   {count:8,.0f} instructions"
    print(row, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"), help="limit and bench")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a result")
    parser.add_argument("--seconds", type=int, default=2, help="of wrk per server and round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1 if (os.cpu_count() or 1) > 1 else 0)
    parser.add_argument("--requests", type=int, default=4096, help="of the counting runs")
    parser.add_argument("--no-counts", action="store_true", help="the clock only")
    parser.add_argument("--no-clock", action="store_true", help="the counts only")
    return parser.parse_args()


def main():
    args = arguments()
    if args.client_core == args.server_core:
        print("one core only: client and server disturb each other")
    with tempfile.TemporaryDirectory() as where:
        rivals = commands(args.programs, Path(where))
        if "nginx" not in rivals:
            print("nginx is not installed: measured without it")
        for key in args.scenario or SCENARIOS:
            scenario = SCENARIOS[key]
            names = [n for n in rivals if scenario.rivals or n != "nginx"]
            run(scenario, {name: rivals[name] for name in names}, args, Path(where) / "wrk.lua")


def run(scenario, rivals, args, script):
    print(f"{scenario.about}:")
    servers = []
    try:
        for name, make in rivals.items():
            port = free_port()
            server = Server(name, make(port), port, args.server_core)
            servers.append(server)
            server.__enter__()
            one_answer(port, scenario)
        times = {s.name: [1.0] for s in servers}
        if not args.no_clock:
            times = measure(servers, scenario, args, script)
        calls = {s.name: None for s in servers}
        if not args.no_counts:
            calls = {s.name: syscalls(s, scenario, args.requests) for s in servers}
    finally:
        for server in servers:
            server.__exit__()
    for name, make in rivals.items():
        count = None
        if not args.no_counts:
            count = instructions(name, make, scenario, args.requests)
        report(name, times[name], times["limit"], calls[name], count)


if __name__ == "__main__":
    main()
