#!/usr/bin/env python3
"""Speed of the package for Python beside Python's other servers, and the limit (limit.c).

One worker each, on one core, with the applications of benches/peers/python; the method is run.py's.
The interpreter ought to be Debian's: one that was built without profile and link-time optimisation
misleads.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

import beside
import count
from ask import PLAIN, SCENARIOS, Scenario
from beside import OURS
from footprint import pss
from servers import Server, first_number, output, tree

APPS = Path(__file__).parent / "peers/python"
PACKAGE = Path(__file__).parent.parent / "bindings/python"
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
    made = beside.chosen(makers(args.python, args.programs, key), args)
    found = {name: {} for name in made}
    print(f"{about.about}:")
    if "clock" in args.parts:
        for name, row in beside.clock(about, made, args, script)[0].items():
            found[name] |= row
    if "counts" in args.parts:
        env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
        for name in [name for name in made if name in COUNTED]:
            # One process: a start costs more than all requests do, and is not to be taken for the worker.
            more = ["worker_model=inline"] if name not in CALLED else []
            make = partial(lambda make, more, port: [*make(port), *more], made[name], more)
            try:
                found[name]["instructions"] = count.instructions(name, make, about, env)
            except TimeoutError:
                print(f"  {name} has not answered all under callgrind: not counted")
    beside.shown(found)
    if key in GOALS and "ratio" in found.get(OURS, {}):
        beside.goal("of the limit", found[OURS]["ratio"][0], GOALS[key], least=True)
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


def measure(args, script):
    keys = [] if args.parts == ["memory"] else args.scenarios
    return {
        "version": first_number([args.python, "--version"]),
        "scenarios": {key: scenario(key, args, script) for key in keys},
        "memory_kib": memory(args) if "memory" in args.parts else None,
    }


def main():
    options = beside.parser(__doc__, ("clock", "counts", "memory"), SCENARIOS)
    options.add_argument("--python", required=True)
    args = beside.parsed(options)
    os.environ |= {"PYTHONHASHSEED": "0", "PYTHONPATH": str(PACKAGE.absolute())}
    beside.recorded("python", args, partial(measure, args))


if __name__ == "__main__":
    sys.exit(main())
