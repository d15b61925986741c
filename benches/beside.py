"""A binding beside the servers of its language and the limit (limit.c): what python.py, go.py and node.py share.

One worker each, on one core; the method is run.py's.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import fronts
from ask import SCENARIOS, open_files

import run

OURS = "libgateway"
CONNECTIONS = 256  # for latency


def parser(about, parts, scenarios=SCENARIOS):
    """What each of them can be asked for; `parsed` completes it."""
    found = argparse.ArgumentParser(description=about.splitlines()[0])
    found.add_argument("--programs", type=Path, default=Path("target/c"))
    found.add_argument("--peers", type=Path, default=Path("target/peers"))
    found.add_argument("--scenario", action="append", choices=scenarios, help="default: all")
    found.add_argument("--server", action="append", help="default: all; the limit always")
    found.add_argument("--only", action="append", choices=parts)
    found.add_argument("--rounds", type=int, default=5, help="at least 5 for a result")
    found.add_argument("--seconds", type=int, default=1, help="of wrk per server and round")
    found.add_argument("--connections", type=int, default=64)
    found.add_argument("--server-core", type=int, default=0)
    found.add_argument("--client-core", type=int, default=1)
    found.add_argument("--record", action="store_true", help=f"into {run.RESULTS.name}")
    found.set_defaults(parts=parts, scenarios=list(scenarios))
    return found


def parsed(options):
    args = options.parse_args()
    if args.record and (args.scenario or args.server or args.only or args.rounds < 5):
        options.error("--record takes the whole: no --scenario, --server, --only; 5 rounds or more")
    args.parts = args.only or args.parts
    args.scenarios = args.scenario or args.scenarios
    open_files()
    return args


def chosen(made, args):
    """Of {name: command for a port} those that are asked for, the limit always."""
    return {n: m for n, m in made.items() if n == "limit" or not args.server or n in args.server}


def recorded(key, args, measure):
    """Calls `measure` with the path of a script for wrk; what it finds is part `key` of the results."""
    others = run.Others()
    with tempfile.TemporaryDirectory() as where:
        found = measure(Path(where) / "wrk.lua")
    share = others.share()
    print(f"others used {share * 100:.1f} % of the machine meanwhile")
    if args.record:
        run.record(key, {"rounds": args.rounds, "others": share} | found)


def clock(about, made, args, script):
    """{name: CPU time per request, its ratio to the limit's, and that of each round}"""
    with run.started(made, about, args.server_core) as servers:
        return run.clock(servers, about, args, script)


def shown(found):
    for name, row in found.items():
        print(run.row_of(name, row), flush=True)


def goal(what, value, bound, *, least=False):
    """One line: whether it is at most, or at least, what is wanted."""
    met = value >= bound if least else value <= bound
    print(f"  {what} {value:.3f}, goal {bound}: {'met' if met else 'MISSED'}", flush=True)


def times(ours, theirs):
    """How many times theirs ours is: median, least, greatest of the rounds."""
    return run.middle([a / b for a, b in zip(ours, theirs, strict=True)])


def latency(made, args, script):
    """{name: requests per second, p50 and p99 of hello with 256 connections}"""
    args.levels = (CONNECTIONS,)
    return run.latency(made, args, script)[str(CONNECTIONS)]


def behind_nginx(rows, keys, args, script):
    """{scenario: {row: CPU ns per request of each round, the backend's alone}}, for rows(where)."""
    nginx = fronts.find_nginx(args.peers)
    if not nginx:
        print("NOT MEASURED: nginx is not here; `scripts/setup bench` says why")
        return {}
    args.core = args.server_core
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        where = Path(name)
        pairs = [
            stack.enter_context(fronts.Pair(key, place, nginx, where, args.core))
            for key, place in rows(where).items()
        ]
        found = {}
        for key in keys:
            rounds = fronts.measure(pairs, SCENARIOS[key], args, script)
            found[key] = {row: [backend for _, backend in both] for row, both in rounds.items()}
        return found


def middle(ns):
    return statistics.median(ns)


if __name__ == "__main__":
    sys.exit("this is a part of python.py, go.py and node.py")
