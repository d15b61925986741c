#!/usr/bin/env python3
"""Speed of the package for Python beside Python's other servers, and the limit (limit.c).

One worker each, on one core, with Debian's CPython (others are built without profile and link-time
optimisation, which misleads) and applications of benches/peers/python.  The method is run.py's.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import count
import run
from ask import PLAIN, SCENARIOS, Scenario, open_files
from footprint import pss
from servers import Server, first_number, tree

HERE = Path(__file__).parent / "peers/python"
FLASK = Scenario("hello of Flask", f"GET / HTTP/1.1\r\n{PLAIN}\r\n")
GOALS = {"hello": 0.80, "post": 0.75, "close": 0.87, "pipeline": 0.20, "big": 0.97}
INSTRUCTIONS = 11_000
OURS = "libgateway"
SPREAD = 4  # forked workers


def servers(python, scenario):
    """{name: command for a port}; a server that is not installed is not there."""
    app = "flask" if scenario == "flask" else "app"

    def called(name, *options):
        return lambda port: [python, str(HERE / "serve.py"), name, app, str(port), *options]

    def has(name):
        return first_number([python, "-c", f"import {name}; print('1.0')"]) == "1.0"

    bin = Path(python).parent
    wsgi = "hello:flask()" if app == "flask" else "hello:app"
    found = {OURS: called(OURS), "threads": called(OURS, "threads=4")}
    for name in ("bjoern", "fastpysgi"):
        if has(name):
            found[name] = called(name)
    if (bin / "granian").exists():
        found["granian"] = lambda port: [
            str(bin / "granian"), "--interface", "wsgi", "--port", str(port), "--workers", "1",
            "--blocking-threads", "1", "--no-ws", "--log-level", "error", "--working-dir", str(HERE),
            *(["--factory", "hello:flask"] if app == "flask" else [wsgi]),
        ]  # fmt: skip
    if (bin / "gunicorn").exists():
        found["gunicorn"] = lambda port: [
            str(bin / "gunicorn"), "-b", f"127.0.0.1:{port}", "--chdir", str(HERE), "--log-level",
            "error", "-k", "gthread", "--threads", "1", "--keep-alive", "100", wsgi,
        ]  # fmt: skip
    uwsgi = Path("/usr/bin/uwsgi-core")
    if uwsgi.exists() and Path("/usr/lib/uwsgi/plugins/python3_plugin.so").exists():
        site = first_line([python, "-c", "import site; print(site.getsitepackages()[0])"])
        found["uWSGI"] = lambda port: [
            str(uwsgi), "--plugin", "python3", "--http11-socket", f"127.0.0.1:{port}", "--chdir",
            str(HERE), "--pythonpath", site, "--module", wsgi, "--disable-logging", "--listen", "128",
            "--single-interpreter",
        ]  # fmt: skip
    return found


def first_line(command):
    from servers import output

    return output(command).strip().split("\n")[-1]


def memory(make):
    """KiB: an idle worker's PSS above that of the interpreter, and of each further worker."""

    def used(make, workers):
        with Server(OURS, make) as server:
            deadline = time.monotonic() + 10
            while len(tree(server.process.pid)) < workers + 1 and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
            return [pss(pid) for pid in tree(server.process.pid)]

    one = used(lambda port: [*make(port), "workers=1"], 1)
    many = used(lambda port: [*make(port), f"workers={SPREAD}"], SPREAD)
    return {"one": sum(one), "further": (sum(many) - sum(one)) / (SPREAD - 1)}


def bare(python):
    """KiB that an interpreter has which has loaded the application and the extension's needs."""
    import subprocess

    code = f"import sys, time; sys.path.insert(0, {str(HERE)!r}); import hello; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([python, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        kib = pss(process.pid)
        process.kill()
    return kib


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--python", default="target/venv-bench/bin/python")
    parser.add_argument("--scenario", action="append", choices=[*GOALS, "flask"])
    parser.add_argument("--server", action="append", help="default: all; the limit always")
    parser.add_argument("--only", action="append", choices=("clock", "counts", "memory"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server-core", type=int, default=0)
    args = parser.parse_args()
    args.parts = args.only or ("clock", "counts", "memory")
    return args


def main():
    args = arguments()
    open_files()
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent / "bindings/python")
    others = run.Others()
    for key in args.scenario or [*GOALS, "flask"]:
        scenario = FLASK if key == "flask" else SCENARIOS[key]
        makers = {"limit": lambda port: [str(args.programs / "limit"), str(port)]}
        for name, make in servers(args.python, key).items():
            if not args.server or name in args.server:
                makers[name] = make
        print(f"{scenario.about}:")
        found = {name: {} for name in makers}
        if "clock" in args.parts:
            with tempfile.TemporaryDirectory() as where:
                script = Path(where) / "wrk.lua"
                with run.started(makers, scenario, args.server_core) as started:
                    for name, row in run.clock(started, scenario, args, script).items():
                        found[name] |= row
        if "counts" in args.parts:
            env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
            for name in [name for name in makers if name in (OURS, "threads", "bjoern", "fastpysgi")]:
                found[name]["instructions"] = count.instructions(name, makers[name], scenario, env)
        for name, row in found.items():
            print(run.row_of(name, row), flush=True)
        if key in GOALS and "ratio" in found.get(OURS, {}):
            print(f"  goal {GOALS[key]}: {'met' if found[OURS]['ratio'][0] >= GOALS[key] else 'MISSED'}")
    if "memory" in args.parts:
        make = servers(args.python, "hello")[OURS]
        used, least = memory(make), bare(args.python)
        print(f"idle: {used['one'] - least:.0f} KiB above the interpreter's {least:.0f} (arbiter and worker), "
              f"{used['further']:.0f} KiB for each further worker")
    print(f"others used {others.share() * 100:.1f} % of the machine meanwhile")


if __name__ == "__main__":
    sys.exit(main())
