"""What libgateway uses when it has nothing to do: memory, wake-ups, time to start.

Memory is PSS: pages that processes share are divided among them.  The host program's own share
(host.c) is taken off; what the kernel keeps for sockets is not in it.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

from ask import SCENARIOS, connect, exchange, free_port
from servers import Server, tree

# What is wanted: KiB, KiB, KiB, wake-ups, ms.
GOALS = {"worker": 1536, "arbiter": 1536, "connections": 20_480, "wakeups": 0, "start": 20}
STARTS = 11
SETTLE = 6  # seconds: the timer of the connection that saw the server start has gone by


def pss(pid):
    """KiB."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def wakeups(pid):
    """How often the process has gone to sleep, and so has been woken."""
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    rows = [row for s in statuses for row in s.read_text().splitlines()]
    return sum(int(row.split()[1]) for row in rows if row.startswith("voluntary_ctxt"))


def host(programs):
    """PSS of the host program and of its child, without the library."""
    process = subprocess.Popen([str(programs / "host")])
    try:
        deadline = time.monotonic() + 10
        while len(tree(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        parent, child = tree(process.pid)
        return pss(parent), pss(child)
    finally:
        for pid in reversed(tree(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        process.wait()


def idle(programs, make, seconds):
    """PSS of arbiter and worker above the host program's, and their wake-ups while idle."""
    below = host(programs)
    with Server("libgateway", make) as server:
        time.sleep(SETTLE)
        pids = tree(server.process.pid)
        memory = [pss(pid) for pid in pids]
        before = [wakeups(pid) for pid in pids]
        time.sleep(seconds)
        woken = [wakeups(pid) - n for pid, n in zip(pids, before, strict=True)]
    return {
        "arbiter_kib": memory[0] - below[0],
        "worker_kib": memory[1] - below[1],
        "idle_seconds": seconds,
        "arbiter_wakeups": woken[0],
        "worker_wakeups": woken[1],
    }


def idle_connections(make, wanted, files):
    """PSS of all processes while so many connections have been answered and are kept."""
    count = min(wanted, files - 100)
    socks = []
    with Server("libgateway", make) as server:
        time.sleep(0.5)
        pids = tree(server.process.pid)
        empty = sum(map(pss, pids))
        try:
            for _ in range(count):
                socks.append(connect(server.port))
                exchange(socks[-1], SCENARIOS["hello"])
            full = sum(map(pss, pids))
            # All are still there: the first is answered again.
            exchange(socks[0], SCENARIOS["hello"])
        finally:
            for sock in socks:
                sock.close()
    return {"connections": count, "connections_kib": full, "no_connections_kib": empty}


def start(make):
    """Milliseconds from the program's start to its first answer: median, least, greatest."""
    times = []
    for _ in range(STARTS):
        port = free_port()
        command = make(port)
        began = time.monotonic()
        process = subprocess.Popen(command)
        try:
            while time.monotonic() < began + 20:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as sock:
                        sock.sendall(SCENARIOS["hello"].octets)
                        if sock.recv(12) == b"HTTP/1.1 200":
                            times.append((time.monotonic() - began) * 1000)
                            break
                except OSError:
                    time.sleep(0.0002)
        finally:
            process.terminate()
            process.wait()
    if len(times) < STARTS:
        return {}
    return {"start_ms": [statistics.median(times), min(times), max(times)], "starts": STARTS}


def measure(servers, files, seconds, connections):
    found = idle(servers.programs, servers.gateway(), seconds)
    many = servers.gateway(f"worker_connections={connections + 100}", "keepalive=600s")
    found |= idle_connections(many, connections, files)
    found |= start(servers.gateway())
    return found


def lines(found):
    """(what, measured, goal, met) for people."""

    def mib(kib):
        return f"{kib / 1024:.2f} MiB"

    seconds = found["idle_seconds"]
    rows = [
        (
            f"{name}, idle, above its host program",
            mib(found[f"{name}_kib"]),
            f"< {mib(GOALS[name])}",
            found[f"{name}_kib"] < GOALS[name],
        )
        for name in ("worker", "arbiter")
    ]
    rows.append(
        (
            f"both, with {found['connections']:,} idle connections",
            mib(found["connections_kib"]),
            f"< {mib(GOALS['connections'])}",
            found["connections_kib"] < GOALS["connections"],
        )
    )
    rows += [
        (
            f"wake-ups of the idle {name} in {seconds} s",
            str(found[f"{name}_wakeups"]),
            "0" if name == "worker" else "",
            name != "worker" or found["worker_wakeups"] == 0,
        )
        for name in ("worker", "arbiter")
    ]
    if "start_ms" in found:
        middle, least, most = found["start_ms"]
        rows.append(
            (
                f"start to first answer, median of {found['starts']}",
                f"{middle:.1f} ms ({least:.1f} to {most:.1f})",
                f"< {GOALS['start']} ms",
                middle < GOALS["start"],
            )
        )
    return rows
