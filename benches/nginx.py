#!/usr/bin/env python3
"""Speed inside of nginx: the module beside nginx's own answer, Lua, and servers behind a proxy.

As in fronts.py each row is an nginx, with a backend where it passes requests to one, and all of it is
on one core with wrk.  What counts is the CPU time of nginx and backend per request; here the ratio is
theirs by that of `return 200`, of the same round: 1.00 would be for nothing.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import fronts
from ask import PLAIN, SCENARIOS, Scenario, connect, exchange, free_port
from footprint import pss
from fronts import SINGLE, Pair, Place
from servers import first_number, tree

import run

RULER = "return 200"
OURS = "module"
GOALS = {"times": 1.08, "memory_kib": 2048}
REQUESTS = 1_000  # before memory is looked at
LARGE = 102_400

SCENARIOS = {
    "hello": SCENARIOS["hello"],
    "post": SCENARIOS["post"],
    "large": Scenario(
        "POST of 100 KiB",
        f"POST /post HTTP/1.1\r\n{PLAIN}Content-Length: {LARGE}\r\n\r\n" + "x" * LARGE,
        path="/post",
        lua=f'wrk.method = "POST"\nwrk.body = string.rep("x", {LARGE})\n',
    ),
}

# ngx.print alone would be chunked.
LUA = """
content_by_lua_block {
    ngx.header.content_length = 13
    ngx.print("hello, world\\n")
}
location = /post {
    content_by_lua_block {
        ngx.req.read_body()
        ngx.header.content_length = 13
        ngx.print("hello, world\\n")
    }
}
"""


def plain():
    return Place('return 200 "hello, world\\n";')


def module(args):
    """The module with bench.c, or nothing."""
    loaded = args.module.absolute() / "ngx_http_gateway_module.so"
    app = args.programs.absolute() / "bench.so"
    if not loaded.exists() or not app.exists():
        return None
    # In memory, as with client_body_buffer_size everywhere.
    location = f"gateway_module {app}; gateway_set body_buffer 128k;"
    return Place(location, main=f"{SINGLE} load_module {loaded};")


def module_python(args):
    """The module with CPython inside and the application of Python's benchmark, or nothing."""
    c, loaded = module(args), args.python_module.absolute()
    if not c or not loaded.exists():
        return None
    apps = Path(__file__).parent.absolute() / "peers/python"
    return replace(
        c, location=f"gateway_module {loaded} path={apps} run=loop hello:app; gateway_set body_buffer 128k;"
    )


def to_python(where):
    """nginx before the package for Python, by uwsgi; nothing where that was not built."""
    package = Path(__file__).parent.parent.absolute() / "bindings/python"
    script = Path(__file__).parent.absolute() / "peers/python/serve.py"
    if not any(package.glob("gateway/_gateway.*.so")):
        return None
    os.environ["PYTHONPATH"] = str(package)
    command = ["/usr/bin/python3", str(script), "libgateway", "app"]
    return fronts.passing(
        where, "uwsgi", lambda path: [*command, f"uwsgi+unix:{path}", "worker_model=inline"]
    )


def lua(peers):
    """Debian's Lua module, or nothing."""
    modules = Path("usr/lib/nginx/modules")
    for root in (Path("/"), peers.absolute()):
        loaded = [root / modules / f"{name}.so" for name in ("ndk_http_module", "ngx_http_lua_module")]
        if not all(it.exists() for it in loaded):
            continue
        main = " ".join([SINGLE, *(f"load_module {it};" for it in loaded)])
        for library in root.glob("usr/lib/*/libluajit-5.1.so.2"):
            os.environ["LD_LIBRARY_PATH"] = str(library.parent)
        http = f'lua_package_path "{root}/usr/share/lua/5.1/?.lua;;";'
        return Place(LUA, main=main, http=http)
    return None


def to_limit(programs):
    """nginx as a proxy, which keeps its connections, of limit.c."""
    port = free_port()
    return Place(
        'proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";',
        http=f"upstream backend {{ server 127.0.0.1:{port}; {fronts.KEEP[0]} }}",
        backend=[str(programs / "limit"), str(port)],
    )


def places(args, where):
    """{row: place}, or None where something is missing; the ruler first."""
    programs = args.programs.absolute()
    uwsgi = fronts.uwsgi_python(where)
    ours = fronts.gateway(str(programs / "bench"), "uwsgi", "body_buffer=128k")
    return {
        RULER: plain(),
        OURS: module(args),
        "Lua": lua(args.peers),
        "proxy_pass to limit": to_limit(programs),
        "uwsgi_pass to libgateway": fronts.passing(where, "uwsgi", ours),
        "module, Python": module_python(args),
        "uwsgi_pass to Python": to_python(where),
        "uwsgi_pass to uWSGI": uwsgi and fronts.passing(where, "uwsgi", uwsgi),
    }


def clock(pairs, args, script):
    """{scenario: {row: CPU ns per request; times `return 200`: median, least, greatest}}"""
    found = {}
    for key in args.scenario or SCENARIOS:
        rounds = fronts.measure(pairs, SCENARIOS[key], args, script)
        ruler = [sum(it) for it in rounds[RULER]]
        print(f"{SCENARIOS[key].about}:")
        found[key] = {}
        for name, both in rounds.items():
            ns = [sum(it) for it in both]
            times = run.middle([b / a for a, b in zip(ruler, ns, strict=True)])
            found[key][name] = {"cpu_ns": statistics.median(ns), "times": times}
            backend = statistics.median(sum(it[1:]) for it in both)
            line = f"  {name:25} {statistics.median(ns) / 1000:7.2f} us"
            line += f"   times {times[0]:6.3f} ({times[1]:.3f} .. {times[2]:.3f})"
            if backend:
                found[key][name]["backend_ns"] = backend
                line += f"   backend {backend / 1000:6.2f} us"
            if name == OURS and key == "hello":
                line += goal(times[0], GOALS["times"], f"{GOALS['times']:.2f}")
            print(line, flush=True)
    return found


def goal(value, most, text):
    return f"   goal {text}" + ("" if value <= most else "   MISSED")


def counts(found, nginx, where, core):
    """{row: instructions and system calls per hello} where nginx is alone."""
    makers = {
        name: partial(place.command, nginx, where)
        for name, place in found.items()
        if not place.backend
    }
    hello = SCENARIOS["hello"]
    with run.started(makers, hello, core) as servers:
        rows = run.counts(servers, makers, hello)
    print("counts of hello:")
    for name, row in rows.items():
        print(run.row_of(name, row), flush=True)
    return rows


def memory(found, nginx, where, core):
    """KiB of a worker that has answered, plain and with the module: {row: PSS}."""
    kib = {}
    for name in (RULER, OURS):
        if name not in found:
            continue
        # A worker is its master's child; it reads what a user may read who starts it.
        main = found[name].main.replace(SINGLE, "user root;" if os.geteuid() == 0 else "")
        with (
            Pair(name, replace(found[name], main=main), nginx, where, core) as pair,
            connect(pair.port) as sock,
        ):
            for _ in range(REQUESTS):
                exchange(sock, SCENARIOS["hello"])
            worker = tree(pair.processes[0].pid)[1]
            kib[name] = pss(worker)
    if OURS in kib:
        more = kib[OURS] - kib[RULER]
        text = f"{GOALS['memory_kib'] / 1024:.2f} MiB"
        print(f"memory of a worker after {REQUESTS:,} requests: {kib[RULER]:,} KiB, with the module")
        print(f"  {kib[OURS]:,} KiB: {more / 1024:.2f} MiB more{goal(more, GOALS['memory_kib'], text)}")
    return kib


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--peers", type=Path, default=Path("target/peers"))
    parser.add_argument("--module", type=Path, default=Path("target/nginx"), help="where it is")
    parser.add_argument(
        "--python-module", type=Path, default=Path("target/release/gateway-python.so")
    )
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--row", action="append", help=f"default: all; {RULER} always")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=1, help="of wrk per row and round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--record", action="store_true", help=f"into {run.RESULTS.name}")
    args = parser.parse_args()
    if args.record and (args.scenario or args.row or args.rounds < 5):
        parser.error("--record takes the whole: no --scenario, --row; 5 rounds or more")
    return args


def main():
    args = arguments()
    nginx = fronts.find_nginx(args.peers)
    if not nginx:
        sys.exit("NOT MEASURED: nginx is not here; `scripts/setup bench` says why")
    others = run.Others()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        where = Path(name)
        found = places(args, where)
        absent = [row for row, place in found.items() if not place]
        found = {
            row: place
            for row, place in found.items()
            if place and (row == RULER or not args.row or row in args.row)
        }
        for row in absent:
            print(f"NOT MEASURED: {row} is not here; `scripts/setup bench` and make say why")
        kib = memory(found, nginx, where, args.core)
        counted = counts(found, nginx, where, args.core)
        pairs = [
            stack.enter_context(Pair(row, place, nginx, where, args.core))
            for row, place in found.items()
        ]
        scenarios = clock(pairs, args, where / "wrk.lua")
    share = others.share()
    print(f"others used {share * 100:.1f} % of the machine meanwhile")
    if args.record:
        run.record(
            "nginx",
            {
                "version": first_number([nginx, "-v"]),
                "rounds": args.rounds,
                "others": share,
                "absent": absent,
                "scenarios": scenarios,
                "counts": counted,
                "memory_kib": kib,
            },
        )


if __name__ == "__main__":
    sys.exit(main())
