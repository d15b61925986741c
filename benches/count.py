"""Counts that depend on no clock: system calls (strace) and instructions (callgrind).

Only user space is counted.  Two things make the instructions the same from one run, and one
machine, to the next: the worker finds each round of requests complete (ask.Clients), and libc is told
to take its plain routines (memcpy and the like) instead of those that fit the CPU best.  What
libgateway itself chooses by the CPU (memchr, httparse: AVX2 or not) stays.
"""

import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ask import Clients
from servers import Server

TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
BASELINE = "glibc.cpu.hwcaps=" + ",".join(
    f"-{feature}"
    for feature in (
        "AVX", "AVX2", "AVX_Fast_Unaligned_Load", "AVX512F", "AVX512VL", "AVX512BW", "BMI1",
        "BMI2", "LZCNT", "MOVBE", "POPCNT", "ERMS", "FSRM", "SSSE3", "SSE4_1", "SSE4_2",
        "Prefer_ERMS", "Prefer_FSRM", "Fast_Copy_Backward",
    )
)  # fmt: skip


def syscalls(server, scenario):
    """System calls per request of the serving process, by name; None if strace may not."""
    if not shutil.which("strace"):
        return None
    worker = server.worker()
    with (
        tempfile.NamedTemporaryFile("r") as out,
        Clients(server.port, scenario, worker) as clients,
    ):
        command = ["strace", "-f", "-c", "-U", "calls,name", "-o", out.name, "-p", str(worker)]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = strace.stderr.readline()
        if "attached" not in line:
            strace.wait()
            return None
        clients.ask(scenario.requests)
        strace.send_signal(signal.SIGINT)
        strace.wait()
        rows = [row.split() for row in out]
    rows = [row for row in rows if len(row) == 2 and row[0].isdigit() and row[1] != "total"]
    return {name: int(n) / scenario.requests for n, name in rows}


def instructions(name, make, scenario, env=None):
    """Instructions per request of the serving process; None without callgrind.

    Two runs with N and 2N requests, and the difference, so that the start cancels out.
    """
    if not shutil.which("valgrind"):
        return None
    counts = []
    for n in (scenario.requests, 2 * scenario.requests):
        with tempfile.TemporaryDirectory() as where:
            out = f"--callgrind-out-file={where}/out.%p"
            under = ["valgrind", "--tool=callgrind", "-q", out]
            with (
                Server(name, make, under=under, env=env) as server,
                Clients(server.port, scenario, server.worker()) as clients,
            ):
                clients.ask(n)
            texts = [path.read_text() for path in Path(where).glob("out.*")]
        totals = [int(total[1]) for total in map(TOTALS.search, texts) if total]
        if not totals:  # It did not end by itself.
            return None
        counts.append(max(totals))
    return (counts[1] - counts[0]) / scenario.requests
