#!/usr/bin/env python3
"""The tables in README.md and benches/README.md, from results.json.

They stand between `<!-- results: NAME -->` and `<!-- end -->`.  --check changes nothing, and
fails where a file does not say what results.json gives.
"""

import json
import re
import sys
from pathlib import Path

import footprint

HERE = Path(__file__).parent
FILES = tuple(
    HERE.parent / f"{place}README.md" for place in ("", "benches/", "bindings/python/", "bindings/go/", "bindings/node/")
)
BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEADS = {
    "hello": "hello",
    "pipeline": "pipelined by 16",
    "close": "a connection each",
    "express": "hello of Express",
    "post": "POST of 1 KiB",
    "big": "100 KiB",
    "large": "POST of 100 KiB",
    "flask": "hello of Flask",
}


def table(rows):
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def by_scenario(results, cell):
    scenarios = results["scenarios"]
    rows = [["", *(HEADS[key] for key in scenarios)]]
    for name in scenarios["hello"]:
        rows.append([name, *(cell(scenario[name]) for scenario in scenarios.values())])
    return table(rows)


def by_level(results, cell):
    levels = results["latency"]
    rows = [["connections", *(f"{int(level):,}" for level in levels)]]
    for name in next(iter(levels.values())):
        rows.append([name, *(cell(level[name]) for level in levels.values())])
    return table(rows)


def cpu(results):
    """CPU time per request, and how near to the limit."""
    return by_scenario(results, of_the_limit)


def spread(results):
    return by_scenario(results, lambda r: f"{r['ratio'][1]:.2f} to {r['ratio'][2]:.2f}")


def counts(results):
    def cell(row):
        calls = f"{sum(row['calls'].values()):.2f}" if row["calls"] else "?"
        count = f"{row['instructions']:,.0f}" if row["instructions"] else "?"
        return f"{count} / {calls}"

    return by_scenario(results, cell)


def latency(results):
    return by_level(results, lambda r: f"{ms(r['p50_us'])} / {ms(r['p99_us'])}" + failed(r))


def rate(results):
    return by_level(results, lambda r: f"{r['rate']:,.0f}" + failed(r))


def failed(row):
    return f" ({row['errors']} errors)" if row["errors"] else ""


def ms(us):
    if us is None:
        return "none"
    return f"{us / 1000:.3g}" if us < 100_000 else f"{us / 1000:,.0f}"


def idle(results):
    rows = [["", "measured", "goal"]]
    rows += [[what, value, goal] for what, value, goal, _ in footprint.lines(results["footprint"])]
    return table(rows)


def nginx(results):
    """Each thing that nginx can do with a request, and how much it is of `return 200`."""
    found = results.get("nginx")
    if not found:
        return ["Not measured yet."]

    def cell(row):
        times, least, most = row["times"]
        return f"{row['cpu_ns'] / 1000:.2f} µs, {times:.2f} ({least:.2f} to {most:.2f})"

    rows = by_scenario(found, cell)
    kib = found["memory_kib"]
    about = (
        f"nginx {found['version']}, medians of {found['rounds']} rounds; others used "
        f"{found['others'] * 100:.1f} % of the machine meanwhile."
    )
    lines = [*rows, "", about]
    counts = ", ".join(
        f"{name} {row['instructions'] or 0:,.0f} / {sum((row['calls'] or {}).values()):.2f}"
        for name, row in found["counts"].items()
    )
    lines.append(f"Instructions / system calls of hello: {counts}.")
    if "module" in kib:
        more = (kib["module"] - kib["return 200"]) / 1024
        lines.append(f"A worker with the module has {more:.2f} MiB more than a plain one.")
    if found["absent"]:
        lines.append(f"Not measured, since not installed: {', '.join(found['absent'])}.")
    return lines


def python(results):
    """Python's servers: CPU time per request, how near to the limit, and instructions."""
    found = results.get("python")
    if not found:
        return ["Not measured yet."]
    rows = by_scenario(found, lambda r: of_the_limit(r) if r else "")
    counts = ", ".join(
        f"{name} {row['instructions']:,.0f}"
        for name, row in found["scenarios"]["hello"].items()
        if row.get("instructions")
    )
    kib = found["memory_kib"]
    about = (
        f"CPython {found['version']}, medians of {found['rounds']} rounds; others used "
        f"{found['others'] * 100:.1f} % of the machine meanwhile."
    )
    idle = (
        f"An idle worker without an arbiter has {kib['alone'] - kib['bare']:,.0f} KiB more than an "
        f"interpreter that does nothing; an arbiter {kib['one'] - kib['alone']:,.0f} KiB, each further worker "
        f"{kib['further']:,.0f} KiB."
    )
    return [*rows, "", about, f"Instructions of hello: {counts}.", idle]


def of_the_limit(row):
    return f"{row['cpu_ns'] / 1000:.2f} µs ({row['ratio'][0]:.2f})"


def go(results):
    """Go's servers: CPU time per request, how near to the limit; p99; behind nginx, the backend's."""
    found = results.get("go")
    if not found:
        return ["Not measured yet."]
    times = {key: rows["libgateway"]["times"] for key, rows in found["scenarios"].items()}
    of_theirs = ", ".join(
        f"{HEADS[key]} {middle:.2f} ({least:.2f} to {most:.2f})" for key, (middle, least, most) in times.items()
    )
    p99 = ", ".join(f"{name} {ms(row['p99_us'])}" for name, row in found["latency"].items())
    lines = [
        *by_scenario(found, of_the_limit),
        "",
        f"libgateway by net/http (least to most of the rounds): {of_theirs}.",
        f"99th percentile of hello with 256 connections, ms: {p99}.",
        "",
        "Behind nginx, CPU time of the backend alone, and how many times that of net/http/fcgi:",
        "",
    ]
    behind = [["", *(HEADS[key] for key in found["nginx"])]]
    for path, servers in found["nginx"]["hello"].items():
        for name in servers:
            rows = [scenario[path][name] for scenario in found["nginx"].values()]
            cells = [f"{row['backend_ns'] / 1000:.2f} µs ({row['times'][0]:.2f})" for row in rows]
            behind.append([f"{path}: {name}", *cells])
    about = (
        f"Go {found['version']}, medians of {found['rounds']} rounds; others used "
        f"{found['others'] * 100:.1f} % of the machine meanwhile."
    )
    return [*lines, *table(behind), "", about]


def node(results):
    """Node's servers: CPU time per request, how near to the limit; behind nginx, of both."""
    found = results.get("node")
    if not found:
        return ["Not measured yet."]
    of_theirs = ", ".join(
        f"{HEADS[key]} {middle:.2f} ({least:.2f} to {most:.2f})"
        for key, rows in found["scenarios"].items()
        for middle, least, most in [rows["libgateway"]["times"]]
    )
    behind = [["", *(HEADS[key] for key in found["nginx"])]]
    for path, servers in found["nginx"]["hello"].items():
        for name in servers:
            rows = [scenario[path][name] for scenario in found["nginx"].values()]
            behind.append([f"{path}: {name}", *(f"{r['cpu_ns'] / 1000:.2f} µs ({r['times'][0]:.2f})" for r in rows)])
    about = (
        f"Node {found['version']}, medians of {found['rounds']} rounds; others used "
        f"{found['others'] * 100:.1f} % of the machine meanwhile."
    )
    return [
        *by_scenario(found, of_the_limit),
        "",
        f"libgateway by node:http (least to most of the rounds): {of_theirs}.",
        "",
        "Behind nginx, CPU time of nginx and the backend, and how many times that with node:http:",
        "",
        *table(behind),
        "",
        about,
    ]


def machine(results):
    """One sentence about where and when."""
    m, method = results["machine"], results["method"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    where = (
        f"Measured {results['date']} on {m['cpu']}, {m['cores']} cores, Linux {m['kernel']}, "
        f"{m['libc']}; {versions}."
    )
    how = (
        f"Medians of {method['rounds']} rounds of {method['seconds']} s; others used "
        f"{results['others'] * 100:.1f} % of the machine meanwhile."
    )
    text = [where, how]
    if results["absent"]:
        text.append(f"Not measured, since not installed: {', '.join(results['absent'])}.")
    if method["same_core"]:
        text.append("One core only: client and server disturb each other.")
    return text


BLOCKS = {f.__name__: f for f in (cpu, spread, counts, latency, rate, idle, nginx, python, go, node, machine)}


def filled(text, results):
    def block(match):
        return match[1] + "\n".join(BLOCKS[match[2]](results)) + "\n" + match[3]

    return BLOCK.sub(block, text)


def main():
    results = json.loads((HERE / "results.json").read_text())
    stale = False
    for path in FILES:
        old = path.read_text()
        new = filled(old, results)
        if not BLOCK.search(old):
            sys.exit(f"{path}: no place for results")
        if old != new and "--check" in sys.argv:
            print(f"{path} does not say what benches/results.json gives: make bench-table")
            stale = True
        elif old != new:
            path.write_text(new)
    sys.exit(stale)


if __name__ == "__main__":
    main()
