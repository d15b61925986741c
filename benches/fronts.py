#!/usr/bin/env python3
"""Speed behind nginx: uwsgi, FastCGI and SCGI over a unix socket, beside the limit of that path.

Each row is an nginx of its own and what it passes requests to; wrk and all of them are on one core,
so that nobody waits for another.  What counts is the CPU time of nginx and backend per request:
`ratio` is that of the limit (nginx to upstream.c, which only answers) by theirs, of the same round, and
1.00 would be as good.  Beside it, the backend's part alone.
"""

import argparse
import contextlib
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ask import SCENARIOS, free_port, one_answer, wrk
from servers import cpu_ns, tree

from run import Others

# {main}: beside http; {http}: beside its server.
NGINX = """
{main}
daemon off; pid {where}/{port}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type text/plain; server_tokens off;
    keepalive_requests 1000000000; keepalive_timeout 300s;
    client_body_buffer_size 128k; client_body_temp_path {where}/a; proxy_temp_path {where}/b;
    fastcgi_temp_path {where}/c; uwsgi_temp_path {where}/d; scgi_temp_path {where}/e;
    {http}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=2048;
        location / {{ {location} }}
    }}
}}
"""
SINGLE = "master_process off;"

# nginx's own lists (uwsgi_params, scgi_params, fastcgi_params).
PARAMS = """
QUERY_STRING $query_string; REQUEST_METHOD $request_method; CONTENT_TYPE $content_type;
CONTENT_LENGTH $content_length; REQUEST_URI $request_uri; PATH_INFO $document_uri;
DOCUMENT_ROOT $document_root; SERVER_PROTOCOL $server_protocol; REQUEST_SCHEME $scheme;
HTTPS $https if_not_empty; REMOTE_ADDR $remote_addr; REMOTE_PORT $remote_port;
SERVER_PORT $server_port; SERVER_NAME $server_name;
"""

KEEP = ("keepalive 64;", "fastcgi_keep_conn on;")

WSGI = """
def application(environ, start_response):
    if environ.get('CONTENT_LENGTH'):
        environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '13')])
    return [b'hello, world\\n']
"""


@dataclass
class Place:
    """What an nginx does with a request: its configuration, and the command of its backend."""

    location: str
    http: str = ""
    main: str = SINGLE
    backend: list[str] | None = None

    def command(self, nginx, where, port):
        """That of nginx, whose configuration it writes."""
        conf = where / f"{port}.conf"
        values = {"location": self.location, "http": self.http, "main": self.main}
        conf.write_text(NGINX.format(where=where, port=port, **values))
        return [nginx, "-p", str(where), "-c", str(conf)]


def passing(where, protocol, command, kept=False):
    """A place that passes requests to the server that `command` starts for a socket's path."""
    path = str(where / f"{secrets.token_hex(4)}.sock")
    keep, keep_conn = KEEP if kept else ("", "")
    params = " ".join(f"{protocol}_param {it.strip()};" for it in PARAMS.split(";") if it.strip())
    if protocol == "scgi":
        # nginx says the length itself, and a name must not come twice.
        params = params.replace(" scgi_param CONTENT_LENGTH $content_length;", "")
        params += " scgi_param SCGI 1;"
    return Place(
        location=f"{protocol}_pass backend; {params} {keep_conn}",
        http=f"upstream backend {{ server unix:{path}; {keep} }}",
        backend=command(path),
    )


def rows(programs, where):
    """{(path, server): place}"""
    bench, upstream = str(programs / "bench"), str(programs / "upstream")
    found = {}
    for protocol, kept in (("uwsgi", False), ("scgi", False), ("fastcgi", False), ("fastcgi", True)):
        title = "fastcgi, kept" if kept else protocol
        limit, ours = ruler(upstream, protocol), gateway(bench, protocol)
        found[title, "limit"] = passing(where, protocol, limit, kept)
        found[title, "libgateway"] = passing(where, protocol, ours, kept)
    libfcgi = programs / "libfcgi"
    if libfcgi.exists():
        found["fastcgi", "libfcgi"] = passing(where, "fastcgi", lambda path: [str(libfcgi), path])
    if uwsgi := uwsgi_python(where):
        found["uwsgi", "uWSGI, Python"] = passing(where, "uwsgi", uwsgi)
    return found


def ruler(upstream, protocol):
    return lambda path: [upstream, protocol, path]


def gateway(bench, protocol, *options):
    return lambda path: [bench, f"{protocol}+unix:{path}", "worker_model=inline", *options]


def uwsgi_python(where):
    """The command of uWSGI for a socket's path, or nothing."""
    uwsgi = shutil.which("uwsgi-core") or shutil.which("uwsgi")
    if not uwsgi:
        return None
    (where / "hello.py").write_text(WSGI)
    return lambda path: [
        uwsgi, "--plugin", "python3", "--uwsgi-socket", path, "--wsgi-file",
        str(where / "hello.py"), "--disable-logging", "--listen", "128", "--single-interpreter",
    ]  # fmt: skip


def find_nginx(peers):
    path = f"/usr/sbin:/usr/bin:{peers}/usr/sbin"
    return shutil.which("nginx") or shutil.which("nginx", path=path)


class Pair:
    """An nginx and its backend, if it has one, on one core."""

    def __init__(self, name, place, nginx, where, core):
        self.name, self.port = name, free_port()
        commands = [place.command(nginx, where, self.port)]
        if place.backend:
            commands.append(place.backend)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        pin = ["taskset", "-c", str(core)]
        self.processes = [subprocess.Popen([*pin, *command], **quiet) for command in commands]
        deadline = time.monotonic() + 30
        while True:
            try:
                # A web server whose backend is not there yet answers, but not with 200.
                one_answer(self.port, SCENARIOS["hello"])
                return
            except (OSError, SystemExit):
                pass
            if time.monotonic() > deadline:
                self.end()
                sys.exit(f"{name} does not answer")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def cpu(self):
        """Of nginx, and of its backend."""
        return [sum(map(cpu_ns, tree(one.pid))) for one in self.processes]

    def end(self):
        for one in self.processes:
            # What uWSGI ends at once by is INT.
            one.send_signal(signal.SIGINT)
        for one in self.processes:
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def measure(pairs, scenario, args, script):
    """{name: CPU ns per request of each round: nginx's, and its backend's}"""
    times = {pair.name: [] for pair in pairs}
    for _ in range(args.rounds):
        for pair in pairs:
            before = pair.cpu()
            load = wrk(pair.port, scenario, args.seconds, args.connections, args.core, script)
            if load.requests == 0 or load.errors:
                sys.exit(f"{pair.name}: {load.requests} requests, {load.errors} errors")
            after = pair.cpu()
            times[pair.name].append([(b - a) / load.requests for a, b in zip(before, after, strict=True)])
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--peers", type=Path, default=Path("target/peers"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()
    nginx = find_nginx(args.peers)
    if not nginx:
        sys.exit("NOT MEASURED: nginx is not here; `scripts/setup bench` says why")
    others = Others()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        where = Path(name)
        pairs = [
            stack.enter_context(Pair(key, place, nginx, where, args.core))
            for key, place in rows(args.programs.absolute(), where).items()
        ]
        times = measure(pairs, SCENARIOS["hello"], args, where / "wrk.lua")
    for key, both in times.items():
        limit = [sum(it) for it in times[key[0], "limit"]]
        whole = [sum(it) for it in both]
        ratios = sorted(a / b for a, b in zip(limit, whole, strict=True))
        print(
            f"{key[0]:14} {key[1]:14} {statistics.median(whole) / 1000:7.2f} us"
            f"   ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} .. {ratios[-1]:.3f})"
            f"   backend alone {statistics.median(it[1] for it in both) / 1000:6.2f} us"
        )
    share = others.share()
    print(f"others used {share * 100:.1f} % of the machine meanwhile")


if __name__ == "__main__":
    sys.exit(main())
