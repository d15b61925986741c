#!/usr/bin/env python3
"""The four protocols side by side: instructions from a request's octets to its answer's (codec.rs).

Counted by callgrind in two runs, N and 2N requests; the difference is what a request costs.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import count

TIMES = 2000


def instructions(program, protocol, times):
    with tempfile.TemporaryDirectory() as where:
        out = Path(where) / "out"
        command = ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"]
        env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
        subprocess.run([*command, program, protocol, str(times)], check=True, env=env)
        return int(count.TOTALS.search(out.read_text())[1])


def main():
    build = ["cargo", "bench", "--quiet", "--bench", "codec", "--no-run", "--message-format=json"]
    built = subprocess.run(build, check=True, capture_output=True, text=True).stdout
    program = re.findall(r'"executable":"([^"]+/codec-[^"]+)"', built)[-1]
    for protocol in ("http", "uwsgi", "scgi", "fastcgi"):
        once, twice = (instructions(program, protocol, n * TIMES) for n in (1, 2))
        print(f"{protocol:8} {(twice - once) / TIMES:8,.0f} instructions per request")


if __name__ == "__main__":
    sys.exit(main())
