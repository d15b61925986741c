"""The test programs of cargo, several at a time: most of them wait, for a timeout or for one another.

cargo runs one after the other, so that the slowest test of each is waited for.  Run by `make test-core`
and `make test-c`: `side_by_side.py [NAME...]`, the names of files in tests/ without `.rs`; without a name, all
programs of the workspace and the examples in its documentation.  What a program says is shown when it
has ended.  What ought to be measured undisturbed is run at the end, and alone.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

CARGO = os.environ.get("CARGO", "cargo")
# Programs at once; each runs as many tests at once as there are cores.
AT_ONCE = int(os.environ.get("SIDE_BY_SIDE") or 1 + (os.cpu_count() or 1))
# The longest first, so that none is left over at the end.
FIRST = ("fronts", "install", "loops", "arbiter", "nginx_source", "nginx_load", "http_flight", "http_fastcgi")
# Of a few hundred connections each worker ought to have its part.
ALONE = ("http_load",)


def built(names):
    """What cargo has built: [(name, program, the directory of its package)]."""
    command = [CARGO, "test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]
    command += [word for name in names for word in ("--test", name)]
    cargo = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if cargo.returncode != 0:
        sys.exit(cargo.returncode)
    found = []
    for line in cargo.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["profile"]["test"]:
            package = Path(message["manifest_path"]).parent
            found.append((message["target"]["name"], Path(message["executable"]), package))
    return found


def ordered(programs):
    rank = {name: number for number, name in enumerate(FIRST)}
    return sorted(programs, key=lambda it: (rank.get(it[0], len(rank)), it[0]))


def surroundings(program):
    """As cargo and rustup make them: what was built is found, and a cargo in a test is of the same release."""
    sysroot = Path(subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip())
    paths = [program.parent, program.parent.parent, sysroot / "lib", os.environ.get("LD_LIBRARY_PATH")]
    return {
        "LD_LIBRARY_PATH": ":".join(str(it) for it in paths if it),
        "RUSTUP_TOOLCHAIN": sysroot.name,
        "GATEWAY_WORKSPACE": "1",
    }


def run(name, program, package):
    began = time.monotonic()
    ended = subprocess.run(
        [program], cwd=package, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    where = "" if package == Path.cwd() else f"{package.name}/"
    print(f"\n{where}{name}, {time.monotonic() - began:.1f} s{ended.stdout}", flush=True)
    return ended.returncode == 0


def main():
    names = sys.argv[1:]
    programs = ordered(built(names))
    missing = set(names) - {name for name, *_ in programs}
    if missing or not programs:
        sys.exit(f"no such test programs: {missing}")
    os.environ |= surroundings(programs[0][1])
    failed = []
    for alone in (False, True):
        of_these = [it for it in programs if (it[0] in ALONE) == alone]
        with ThreadPoolExecutor(1 if alone else AT_ONCE) as pool:
            runs = {pool.submit(run, *it): it[0] for it in of_these}
            failed += [runs[it] for it in as_completed(runs) if not it.result()]
    if not names and subprocess.run([CARGO, "test", "--workspace", "--doc"], check=False).returncode:
        failed.append("the examples in the documentation")
    if failed:
        sys.exit(f"failed: {', '.join(sorted(failed))}")
    print(f"{len(programs)} test programs passed")


if __name__ == "__main__":
    main()
