#!/usr/bin/env python3
"""Speed of libgateway beside the limit (limit.c) and its peers; benches/README.md says how.

Each server has one worker on one core; wrk takes them in turn, round after round, so that what
disturbs the machine disturbs all of them.  First comes the CPU time (user and system) of a server's
process tree per request, with wrk on the same core, so that nobody waits for another processor:
`ratio` is limit / server, and 1.00 would be as good as the limit.  Then counts that depend on no
clock, latency by the number of connections (wrk on another core), and what libgateway uses when it
is idle.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import count
import footprint
from ask import SCENARIOS, one_answer, open_files, wrk
from servers import Programs, Server, first_number

RESULTS = Path(__file__).parent / "results.json"
PARTS = ("clock", "counts", "latency", "footprint")
# 250, not 256: libmicrohttpd 0.9.75 takes events by 128, and starves at 128, 256 ... connections.
LEVELS = (1, 16, 64, 250, 1_000, 10_000)
MANY = 10_000  # connections
NOISY = 0.05  # of the machine


@contextlib.contextmanager
def started(makers, scenario, core):
    """All servers at once, and each has answered."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Server(n, make, core)) for n, make in makers.items()]
        for server in servers:
            one_answer(server.port, scenario)
        yield servers


def middle(values):
    """Median, least, greatest."""
    return [statistics.median(values), min(values), max(values)]


def known(values):
    """The median of those that there are; a run without answers has none."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


# ---- the parts: each returns {server: {...}} ----


def clock(servers, scenario, args, script):
    """CPU time per request in ns, and its ratio to the limit's of the same round; and that of each round."""
    times = {server.name: [] for server in servers}
    for _ in range(args.rounds):
        for server in servers:
            before = server.cpu()
            load = wrk(
                server.port, scenario, args.seconds, args.connections, args.server_core, script
            )
            if load.requests == 0:
                sys.exit(f"{server.name} answered nothing: {scenario.about}")
            times[server.name].append((server.cpu() - before) / load.requests)
    limit = times["limit"]
    found = {
        name: {
            "cpu_ns": statistics.median(ns),
            "ratio": middle([a / b for a, b in zip(limit, ns, strict=True)]),
        }
        for name, ns in times.items()
    }
    return found, times


def counts(servers, makers, scenario):
    env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
    found = {server.name: {"calls": count.syscalls(server, scenario)} for server in servers}
    for name, make in makers.items():
        found[name]["instructions"] = count.instructions(name, make, scenario, env)
    return found


def latency(makers, args, script):
    """{connections: {server: requests per second, p50 and p99 in us, errors}}"""
    scenario = SCENARIOS["hello"]
    found = {}
    with started(makers, scenario, args.server_core) as servers:
        for level in args.levels:
            loads = {server.name: [] for server in servers}
            # Seconds are gone before ten thousand connections are made.
            seconds = args.seconds + 2 * (level >= MANY)
            for _ in range(min(args.rounds, 3)):
                for server in servers:
                    load = wrk(
                        server.port, scenario, seconds, level, args.client_core, script, True
                    )
                    loads[server.name].append(load)
            found[str(level)] = {
                name: {
                    "rate": statistics.median(load.requests / load.seconds for load in runs),
                    "p50_us": known(load.p50 for load in runs),
                    "p99_us": known(load.p99 for load in runs),
                    "errors": sum(load.errors for load in runs),
                }
                for name, runs in loads.items()
            }
            print(f"hello, {level:,} connection{'s' * (level > 1)}:")
            for name, row in found[str(level)].items():
                print(latency_row(name, row), flush=True)
    return found


# ---- what people see ----


def latency_row(name, row):
    text = f"  {name:13} {row['rate']:10,.0f} requests/s"
    for point in ("p50", "p99"):
        us = row[f"{point}_us"]
        text += f"   {point} {us / 1000:8.3f} ms" if us is not None else f"   {point} NO ANSWERS"
    return text + (f"   {row['errors']} ERRORS" if row["errors"] else "")


def row_of(name, row):
    text = f"  {name:13}"
    if "cpu_ns" in row:
        ratio, least, most = row["ratio"]
        text += f" {row['cpu_ns'] / 1000:7.2f} us   ratio {ratio:.3f} ({least:.3f} .. {most:.3f})"
    if row.get("instructions") is not None:
        text += f"   {row['instructions']:8,.0f} instructions"
    if row.get("calls"):
        names = sorted(row["calls"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{call} {n:.2f}" for call, n in names if n >= 0.005)
        text += f"   {sum(row['calls'].values()):5.2f} calls ({shown})"
    return text


def scenario_part(key, makers, args, script):
    scenario = SCENARIOS[key]
    print(f"{scenario.about}:")
    found = {name: {} for name in makers}
    with started(makers, scenario, args.server_core) as servers:
        if "clock" in args.parts:
            for name, row in clock(servers, scenario, args, script)[0].items():
                found[name] |= row
        if "counts" in args.parts:
            for name, row in counts(servers, makers, scenario).items():
                found[name] |= row
    for name, row in found.items():
        print(row_of(name, row), flush=True)
    return found


# ---- the machine ----


class Others:
    """The share of the machine that went to others, the hypervisor's other guests among them."""

    def __init__(self):
        self.began = time.monotonic()
        self.before = self.busy() - self.ours()

    def share(self):
        used = self.busy() - self.ours() - self.before
        return max(0.0, used / (time.monotonic() - self.began) / (os.cpu_count() or 1))

    @staticmethod
    def busy():
        """Seconds, of all cores, since the machine started: all but idle and iowait."""
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def ours():
        """Seconds of this process and of the children that have ended."""
        return sum(os.times()[:4])


def machine():
    cpu = next(
        (
            row.partition(":")[2].strip()
            for row in Path("/proc/cpuinfo").read_text().splitlines()
            if row.startswith(("model name", "Model"))
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
    }


def tools():
    return {
        "rustc": first_number(["rustc", "--version"]),
        "cc": first_number(["cc", "--version"]),
        "wrk": first_number(["wrk", "-v"]),
        "valgrind": first_number(["valgrind", "--version"]),
        "strace": first_number(["strace", "--version"]),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--peers", type=Path, default=Path("target/peers"))
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="default: all")
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all parts")
    parser.add_argument("--server", action="append", help="default: all; the limit always")
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a result")
    parser.add_argument("--seconds", type=int, default=1, help="of wrk per server and round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1 if (os.cpu_count() or 1) > 1 else 0)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}; needs all")
    args = parser.parse_args()
    if args.record and (args.scenario or args.only or args.server or args.rounds < 5):
        parser.error("--record takes the whole: no --scenario, --only, --server; 5 rounds or more")
    args.parts = args.only or PARTS
    return args


def main():
    args = arguments()
    files = open_files()
    args.levels = [level for level in LEVELS if level + 100 < files]
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "tools": tools(),
        "method": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "connections": args.connections,
            "same_core": args.client_core == args.server_core,
        },
    }
    with tempfile.TemporaryDirectory() as where:
        servers = Programs(args.programs, args.peers.absolute(), Path(where))
        result["versions"] = servers.versions()
        result["absent"] = servers.absent
        print(", ".join(f"{k} {v}" for k, v in result["machine"].items()))
        print(", ".join(f"{k} {v}" for k, v in result["versions"].items()))
        warn(args, servers, files)
        makers = {
            name: make
            for name, make in servers.makers.items()
            if name == "limit" or not args.server or name in args.server
        }
        others = Others()
        measure(servers, makers, files, args, result, Path(where) / "wrk.lua")
        result["others"] = others.share()
        warn(args, servers, files)
        print(f"others used {result['others'] * 100:.1f} % of the machine meanwhile")
        if result["others"] > NOISY:
            print("NOISY: compare the counts; do not trust times, latencies least of all")
    if args.record:
        RESULTS.write_text(json.dumps(rounded(result), indent=1) + "\n")
        print(f"written to {RESULTS}")


def measure(servers, makers, files, args, result, script):
    if "clock" in args.parts or "counts" in args.parts:
        result["scenarios"] = {
            key: scenario_part(key, makers, args, script) for key in args.scenario or SCENARIOS
        }
    if "latency" in args.parts:
        many = dict(makers)
        if "libgateway" in many:
            many["libgateway"] = servers.gateway(f"worker_connections={MANY + 100}")
        result["latency"] = latency(many, args, script)
    if "footprint" in args.parts:
        result["footprint"] = footprint.measure(servers, files, 5, MANY)
        print("libgateway:")
        for what, value, goal, met in footprint.lines(result["footprint"]):
            missed = "" if met else "   MISSED"
            print(f"  {what:48} {value:>26}   {goal and 'goal ' + goal}{missed}")


def warn(args, servers, files):
    """What is missing, said loudly, before and after."""
    for name in servers.absent:
        print(f"NOT MEASURED: {name} is not here; `scripts/setup bench` and make say why")
    if args.client_core == args.server_core:
        print("ONE CORE ONLY: client and server disturb each other")
    if files <= MANY + 100:
        print(f"NO {MANY:,} CONNECTIONS: the hard limit of open files is {files}")


def record(key, found):
    """A part of the results that another program has measured."""
    results = json.loads(RESULTS.read_text())
    results[key] = rounded(found)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {RESULTS}")


def rounded(value):
    """Four significant digits of every fraction: enough, and a small diff."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value


if __name__ == "__main__":
    sys.exit(main())
