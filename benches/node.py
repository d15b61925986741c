#!/usr/bin/env python3
"""Speed of the package for Node beside node:http of the same release, alone and behind nginx, and the limit (limit.c).

One process each, on one core, with the applications of peers/node; the method is run.py's, and behind
nginx that of fronts.py: nginx and backend together.  Before the first round each serves for some
seconds, until what runs often is compiled.
"""

import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import beside
import fronts
from ask import PLAIN, SCENARIOS, Scenario, wrk
from beside import OURS
from servers import first_number

import run

SERVE = Path(__file__).parent / "peers/node/serve.js"
NODE_HTTP = "node:http"
SCENARIOS = {key: SCENARIOS[key] for key in ("hello", "close", "post", "big")}
SCENARIOS["express"] = Scenario("hello of Express", f"GET / HTTP/1.1\r\n{PLAIN}\r\n")
BEHIND = ("hello", "post", "express")
GOAL = 1.0  # CPU time at most, as a part of theirs
WARM = 3  # seconds


def program(kind, key, where):
    return ["node", str(SERVE), kind, "express" if key == "express" else "plain", str(where)]


def makers(key, programs):
    """{name: command for a port}, the limit first."""
    return {
        "limit": lambda port: [str(programs / "limit"), str(port)],
        OURS: partial(program, OURS, key),
        NODE_HTTP: partial(program, "http", key),
    }


def warm(servers, key, args, script):
    for server in servers:
        wrk(server.port, SCENARIOS[key], WARM, args.connections, args.server_core, script)


def scenario(key, args, script):
    print(f"{SCENARIOS[key].about}:")
    made = beside.chosen(makers(key, args.programs), args)
    with run.started(made, SCENARIOS[key], args.server_core) as servers:
        warm(servers, key, args, script)
        found, rounds = run.clock(servers, SCENARIOS[key], args, script)
    beside.shown(found)
    if OURS in found and NODE_HTTP in found:
        found[OURS]["times"] = beside.times(rounds[OURS], rounds[NODE_HTTP])
        beside.goal(f"of {NODE_HTTP}", found[OURS]["times"][0], GOAL)
    return found


def places(key, where):
    """{(path, server): place}, for fronts.py."""

    def served(kind, protocol, path):
        prefix = {OURS: "unix:", "http": ""}[kind]
        return program(kind, key, ("" if protocol == "proxy" else f"{protocol}+") + prefix + path)

    found = {}
    for path, protocol, kept, kind in (
        ("HTTP, kept", "proxy", True, "http"),
        ("HTTP, kept", "proxy", True, OURS),
        ("uwsgi", "uwsgi", False, OURS),
        ("fastcgi, kept", "fastcgi", True, OURS),
    ):
        place = fronts.passing(where, protocol, partial(served, kind, protocol), kept)
        if protocol == "proxy":
            place.location = 'proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";'
        found[path, NODE_HTTP if kind == "http" else OURS] = place
    return found


def behind(key, args, script):
    """{path: {server: CPU time of nginx and backend, the backend's, and how many times node:http's the sum is}}"""
    print(f"{SCENARIOS[key].about}, behind nginx, and of that the backend:")
    args.core = args.server_core
    nginx = fronts.find_nginx(args.peers)
    if not nginx:
        print("NOT MEASURED: nginx is not here; `scripts/setup nginx` says why")
        return {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        where = Path(name)
        pairs = [
            stack.enter_context(fronts.Pair(row, place, nginx, where, args.core))
            for row, place in places(key, where).items()
        ]
        warm(pairs, key, args, script)
        rounds = fronts.measure(pairs, SCENARIOS[key], args, script)
    sums = {row: [sum(both) for both in ns] for row, ns in rounds.items()}
    found = {}
    for (path, name), ns in sums.items():
        backend = beside.middle([both[1] for both in rounds[path, name]])
        times = beside.times(ns, sums["HTTP, kept", NODE_HTTP])
        row = {"cpu_ns": beside.middle(ns), "backend_ns": backend, "times": times}
        found.setdefault(path, {})[name] = row
        print(f"  {path:14} {name:12} {row['cpu_ns'] / 1000:7.2f} us {backend / 1000:7.2f} us   times {times[0]:.3f}")
    beside.goal(f"of {NODE_HTTP}", min(rows[OURS]["times"][0] for rows in found.values()), GOAL)
    return found


def measure(args, script):
    clock = args.scenarios if "clock" in args.parts else []
    nginx = [key for key in args.scenarios if key in BEHIND] if "nginx" in args.parts else []
    return {
        "version": first_number(["node", "--version"]),
        "scenarios": {key: scenario(key, args, script) for key in clock},
        "nginx": {key: behind(key, args, script) for key in nginx},
    }


def main():
    args = beside.parsed(beside.parser(__doc__, ("clock", "nginx"), SCENARIOS))
    beside.recorded("node", args, partial(measure, args))


if __name__ == "__main__":
    sys.exit(main())
