#!/usr/bin/env python3
"""Speed behind nginx: uwsgi, FastCGI and SCGI over a unix socket, beside the limit of that path.

Each row is an nginx of its own and what it passes requests to; wrk and all of them are on one core,
so that nobody waits for another.  What counts is the CPU time of nginx and backend per request:
`ratio` is that of the limit (nginx to upstream.c, which only answers) by theirs, of the same round, and
1.00 would be as good.  Beside it, the backend's part alone.
"""

import argparse
import contextlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ask import SCENARIOS, free_port, one_answer, wrk
from servers import cpu_ns, tree

from run import Others

NGINX = """
daemon off; master_process off; pid {where}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type text/plain; server_tokens off;
    keepalive_requests 1000000000; keepalive_timeout 300s;
    client_body_temp_path {where}/a; proxy_temp_path {where}/b;
    fastcgi_temp_path {where}/c; uwsgi_temp_path {where}/d; scgi_temp_path {where}/e;
    upstream backend {{ server unix:{where}/{name}; {keep} }}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=2048;
        location / {{
            {passes}_pass backend;
            {params}
            {more}
        }}
    }}
}}
"""

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
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '13')])
    return [b'hello, world\\n']
"""


def rows(programs, where):
    """(path, server): the protocol, whether nginx keeps connections, the backend's command."""
    bench, upstream = str(programs / "bench"), str(programs / "upstream")

    def limit(protocol):
        return lambda path: [upstream, protocol, path]

    def gateway(protocol):
        return lambda path: [bench, f"{protocol}+unix:{path}", "worker_model=inline"]

    found = {}
    for name, keep in (("uwsgi", False), ("scgi", False), ("fastcgi", False), ("fastcgi", True)):
        title = "fastcgi, kept" if keep else name
        found[title, "limit"] = name, keep, limit(name)
        found[title, "libgateway"] = name, keep, gateway(name)
    libfcgi = programs / "libfcgi"
    if libfcgi.exists():
        found["fastcgi", "libfcgi"] = "fastcgi", False, lambda path: [str(libfcgi), path]
    uwsgi = shutil.which("uwsgi-core") or shutil.which("uwsgi")
    if uwsgi:
        (where / "hello.py").write_text(WSGI)
        found["uwsgi", "uWSGI, Python"] = (
            "uwsgi",
            False,
            lambda path: [
                uwsgi, "--plugin", "python3", "--uwsgi-socket", path, "--wsgi-file",
                str(where / "hello.py"), "--disable-logging", "--listen", "128", "--single-interpreter",
            ],
        )  # fmt: skip
    return found


class Pair:
    """An nginx and its backend, on one core."""

    def __init__(self, name, row, nginx, where, core):
        protocol, keep, command = row
        self.name, self.port = name, free_port()
        file = "-".join(name).replace(" ", "").replace(",", "")
        params = " ".join(f"{protocol}_param {it.strip()};" for it in PARAMS.split(";") if it.strip())
        if protocol == "scgi":
            # nginx says the length itself, and a name must not come twice.
            params = params.replace(" scgi_param CONTENT_LENGTH $content_length;", "")
            params += " scgi_param SCGI 1;"
        conf = where / f"{file}.conf"
        conf.write_text(
            NGINX.format(
                where=where, name=file, port=self.port, passes=protocol, params=params,
                keep=KEEP[0] if keep else "", more=KEEP[1] if keep else "",
            )
        )
        pin = ["taskset", "-c", str(core)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.backend = subprocess.Popen([*pin, *command(str(where / file))], **quiet)
        self.nginx = subprocess.Popen([*pin, nginx, "-p", str(where), "-c", str(conf)], **quiet)
        deadline = time.monotonic() + 30
        while True:
            try:
                # Not that of a web server whose backend is not there.
                if (where / file).exists():
                    one_answer(self.port, SCENARIOS["hello"])
                    return
            except (OSError, SystemExit):
                pass
            if time.monotonic() > deadline:
                self.end()
                sys.exit(f"{name} does not answer")
            time.sleep(0.05)

    def cpu(self):
        """Of nginx, and of its backend."""
        return [sum(map(cpu_ns, tree(one.pid))) for one in (self.nginx, self.backend)]

    def end(self):
        for one in (self.nginx, self.backend):
            # What uWSGI ends at once by is INT.
            one.send_signal(signal.SIGINT)
        for one in (self.nginx, self.backend):
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def measure(pairs, args, script):
    times = {pair.name: [] for pair in pairs}
    for _ in range(args.rounds):
        for pair in pairs:
            before = pair.cpu()
            load = wrk(
                pair.port, SCENARIOS["hello"], args.seconds, args.connections, args.core, script
            )
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
    path = f"/usr/sbin:/usr/bin:{args.peers}/usr/sbin"
    nginx = shutil.which("nginx") or shutil.which("nginx", path=path)
    if not nginx:
        sys.exit("NOT MEASURED: nginx is not here; `scripts/setup bench` says why")
    others = Others()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        where = Path(name)
        pairs = []
        for key, row in rows(args.programs.absolute(), where).items():
            pair = Pair(key, row, nginx, where, args.core)
            stack.callback(pair.end)
            pairs.append(pair)
        times = measure(pairs, args, where / "wrk.lua")
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
