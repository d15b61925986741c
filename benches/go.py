#!/usr/bin/env python3
"""Speed of the package for Go beside net/http and net/http/fcgi of the same release, and the limit (limit.c).

One worker each, on one core (and so GOMAXPROCS is 1), with the answers of bench.c; the method is
run.py's, and behind nginx that of fronts.py, where the backend's part is what is compared.
"""

import sys
from functools import partial

import beside
import fronts
from ask import SCENARIOS
from beside import OURS
from servers import first_number

NET_HTTP, NET_FCGI = "net/http", "net/http/fcgi"
SCENARIOS = {key: SCENARIOS[key] for key in ("hello", "close", "post", "big")}
# CPU time at most, as a part of theirs.
GOALS = {"hello": 0.75, "close": 1.0, "post": 1.0, "big": 1.0}
GOAL_NGINX = 0.8
BEHIND = ("hello", "post")


def makers(programs):
    """{name: command for a port}, the limit first."""
    return {
        "limit": lambda port: [str(programs / "limit"), str(port)],
        OURS: lambda port: [str(programs / "go-libgateway"), f"127.0.0.1:{port}"],
        NET_HTTP: lambda port: [str(programs / "go-net-http"), f"127.0.0.1:{port}"],
    }


def served(program, protocol):
    return lambda path: [program, "-protocol", protocol, f"unix:{path}"]


def rows(programs, where):
    """{(path, server): place}, for fronts.py."""
    found = {}
    ours, theirs = str(programs / "go-libgateway"), str(programs / "go-net-http")
    for path, protocol, kept in (
        ("fastcgi", "fastcgi", False), ("fastcgi, kept", "fastcgi", True), ("uwsgi", "uwsgi", False)
    ):  # fmt: skip
        upstream = fronts.ruler(str(programs / "upstream"), protocol)
        found[path, "limit"] = fronts.passing(where, protocol, upstream, kept)
        for name, program in ((OURS, ours), (NET_FCGI, theirs)):
            if name == OURS or protocol == "fastcgi":
                found[path, name] = fronts.passing(where, protocol, served(program, protocol), kept)
    return found


def scenario(key, args, script):
    print(f"{SCENARIOS[key].about}:")
    made = beside.chosen(makers(args.programs), args)
    found, rounds = beside.clock(SCENARIOS[key], made, args, script)
    beside.shown(found)
    if OURS in found and NET_HTTP in found:
        found[OURS]["times"] = beside.times(rounds[OURS], rounds[NET_HTTP])
        beside.goal(f"of {NET_HTTP}", found[OURS]["times"][0], GOALS[key])
    return found


def latency(args, script):
    found = beside.latency(beside.chosen(makers(args.programs), args), args, script)
    if OURS in found and NET_HTTP in found:
        ours, theirs = (found[name]["p99_us"] for name in (OURS, NET_HTTP))
        beside.goal(f"p99 of {NET_HTTP}'s", ours / theirs, 1.0)
    return found


def nginx(args, script):
    """{scenario: {path: {server: the backend's CPU time, and how many times that of net/http/fcgi}}}"""
    places = partial(rows, args.programs.absolute())
    found = {}
    for key, by_row in beside.behind_nginx(places, BEHIND, args, script).items():
        print(f"{SCENARIOS[key].about}, behind nginx, the backend alone:")
        found[key] = {}
        for (path, name), ns in by_row.items():
            # The best of theirs on this path: uwsgi is not theirs, and is compared with FastCGI.
            theirs = by_row[path if path != "uwsgi" else "fastcgi", NET_FCGI]
            row = {"backend_ns": beside.middle(ns), "times": beside.times(ns, theirs)}
            found[key].setdefault(path, {})[name] = row
            print(f"  {path:14} {name:14} {row['backend_ns'] / 1000:7.2f} us   times {row['times'][0]:.3f}")
            if name == OURS:
                beside.goal(f"of {NET_FCGI}", row["times"][0], GOAL_NGINX)
    return found


def measure(args, script):
    keys = args.scenarios if "clock" in args.parts else []
    return {
        "version": first_number(["go", "version"]),
        "scenarios": {key: scenario(key, args, script) for key in keys},
        "latency": latency(args, script) if "latency" in args.parts else None,
        "nginx": nginx(args, script) if "nginx" in args.parts else None,
    }


def main():
    args = beside.parsed(beside.parser(__doc__, ("clock", "latency", "nginx"), SCENARIOS))
    beside.recorded("go", args, partial(measure, args))


if __name__ == "__main__":
    sys.exit(main())
