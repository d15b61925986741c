#!/usr/bin/env python3
"""Speed of the package for Python beside Python's other servers, and the limit (limit.c).

One worker each, on one core, with the applications of benches/peers/python; the method is run.py's.
The interpreter ought to be Debian's: one that was built without profile and link-time optimisation
misleads.
"""

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import count
from ask import PLAIN, SCENARIOS, Scenario, open_files
from footprint import pss
from servers import Server, first_number, output, tree

import run

APPS = Path(__file__).parent / "peers/python"
PACKAGE = Path(__file__).parent.parent / "bindings/python"
OURS = "libgateway"
CALLED = ("bjoern", "fastpysgi")
COUNTED = (OURS, "threads", *CALLED)
SCENARIOS = SCENARIOS | {"flask": Scenario("hello of Flask", f"GET / HTTP/1.1\r\n{PLAIN}\r\n")}
GOALS = {"hello": 0.80, "post": 0.75, "close": 0.87, "pipeline": 0.20, "big": 0.97}
MANY = 4  # workers, for what each further one has
UWSGI = "/usr/bin/uwsgi-core"
UWSGI_PYTHON = "/usr/lib/uwsgi/plugins/python3_plugin.so"


def makers(python, programs, key):
    """{name: command for a port}, the limit first; what is not installed is not there."""
    app = "flask" if key == "flask" else "app"
    wsgi = "hello:flask()" if key == "flask" else "hello:app"
    programs_of = Path(python).parent

    def called(name, *options):
        script = str(APPS / "serve.py")
        return lambda port: [python, script, name, app, f"127.0.0.1:{port}", *options]

    found = {
        "limit": lambda port: [str(programs / "limit"), str(port)],
        OURS: called(OURS),
        "threads": called(OURS, "threads=4"),
    }
    for name in CALLED:
        if output([python, "-c", f"import {name}; print(1)"]).strip() == "1":
            found[name] = called(name)
    if (programs_of / "granian").exists():
        named = ["--factory", "hello:flask"] if key == "flask" else [wsgi]
        found["granian"] = lambda port: [
            str(programs_of / "granian"), "--interface", "wsgi", "--port", str(port), "--workers", "1",
            "--blocking-threads", "1", "--no-ws", "--log-level", "error", "--working-dir", str(APPS),
            *named,
        ]  # fmt: skip
    if (programs_of / "gunicorn").exists():
        found["gunicorn"] = lambda port: [
            str(programs_of / "gunicorn"), "-b", f"127.0.0.1:{port}", "--chdir", str(APPS),
            "--log-level", "error", "-k", "gthread", "--threads", "1", "--keep-alive", "100", wsgi,
        ]  # fmt: skip
    if Path(UWSGI).exists() and Path(UWSGI_PYTHON).exists():
        site = output([python, "-c", "import site; print(site.getsitepackages()[0])"]).strip()
        found["uWSGI"] = lambda port: [
            UWSGI, "--plugin", "python3", "--http11-socket", f"127.0.0.1:{port}", "--chdir", str(APPS),
            "--pythonpath", site, "--module", wsgi, "--disable-logging", "--listen", "128",
            "--single-interpreter",
        ]  # fmt: skip
    return found


def scenario(key, args, script):
    about = SCENARIOS[key]
    made = makers(args.python, args.programs, key)
    made = {n: m for n, m in made.items() if n == "limit" or not args.server or n in args.server}
    found = {name: {} for name in made}
    print(f"{about.about}:")
    if "clock" in args.parts:
        with run.started(made, about, args.server_core) as servers:
            for name, row in run.clock(servers, about, args, script).items():
                found[name] |= row
    if "counts" in args.parts:
        env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
        for name in [name for name in made if name in COUNTED]:
            # One process: a start costs more than all requests do, and is not to be taken for the worker.
            more = ["worker_model=inline"] if name not in CALLED else []
            make = partial(lambda make, more, port: [*make(port), *more], made[name], more)
            found[name]["instructions"] = count.instructions(name, make, about, env)
    for name, row in found.items():
        print(run.row_of(name, row), flush=True)
    if key in GOALS and "ratio" in found.get(OURS, {}):
        verdict = "met" if found[OURS]["ratio"][0] >= GOALS[key] else "MISSED"
        print(f"  goal {GOALS[key]}: {verdict}")
    return found


def memory(args):
    """KiB (PSS) of an interpreter that does nothing, of a server, and of each further worker."""

    def used(*options, workers):
        """With as many processes as there are to be."""
        make = makers(args.python, args.programs, "hello")[OURS]
        with Server(OURS, lambda port: [*make(port), *options]) as server:
            deadline = time.monotonic() + 10
            while len(tree(server.process.pid)) < workers and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            return sum(pss(pid) for pid in tree(server.process.pid))

    # A server for Server: it waits for connections as others do, and answers one.
    bare = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import hello, _socket as s\n"
        "l = s.socket(); l.setsockopt(1, 2, 1); l.bind(('127.0.0.1', int(sys.argv[2]))); l.listen()\n"
        "fd, _ = l._accept(); import os; os.read(fd, 4096)\n"
        "os.write(fd, b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n'); time.sleep(600)"
    )
    with Server("python", lambda port: [args.python, "-c", bare, str(APPS), str(port)]) as server:
        least = pss(server.process.pid)
    alone, one = used("worker_model=inline", workers=1), used("workers=1", workers=2)
    many = used(f"workers={MANY}", workers=1 + MANY)
    found = {"bare": least, "alone": alone, "one": one, "further": (many - one) / (MANY - 1)}
    print(
        f"idle: {alone - least:,} KiB above an interpreter's {least:,} (goal 1,024); {one - alone:,} KiB for "
        f"an arbiter; {found['further']:,.0f} KiB for each further worker (goal 2,560)"
    )
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--python", default="target/venv-bench/bin/python")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--server", action="append", help="default: all; the limit always")
    parser.add_argument("--only", action="append", choices=("clock", "counts", "memory"))
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a result")
    parser.add_argument("--seconds", type=int, default=1, help="of wrk per server and round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--record", action="store_true", help=f"into {run.RESULTS.name}")
    args = parser.parse_args()
    if args.record and (args.scenario or args.server or args.only or args.rounds < 5):
        parser.error("--record takes the whole: no --scenario, --server, --only; 5 rounds or more")
    args.parts = args.only or ("clock", "counts", "memory")
    return args


def main():
    args = arguments()
    open_files()
    os.environ |= {"PYTHONHASHSEED": "0", "PYTHONPATH": str(PACKAGE.absolute())}
    others = run.Others()
    with tempfile.TemporaryDirectory() as where:
        script = Path(where) / "wrk.lua"
        keys = args.scenario or ([] if args.parts == ["memory"] else list(SCENARIOS))
        found = {key: scenario(key, args, script) for key in keys}
    kib = memory(args) if "memory" in args.parts else None
    share = others.share()
    print(f"others used {share * 100:.1f} % of the machine meanwhile")
    if args.record:
        run.record(
            "python",
            {
                "version": first_number([args.python, "--version"]),
                "rounds": args.rounds,
                "others": share,
                "scenarios": found,
                "memory_kib": kib,
            },
        )


if __name__ == "__main__":
    sys.exit(main())
