"""The test programs of cargo, several at a time: most of them wait, for a timeout or for one another.

cargo runs one after the other, so that the slowest test of each is waited for.  Run by `make test-core`
and `make test-c`: `side_by_side.py [NAME...]`, the names of files in tests/ without `.rs`; without a name, all
programs of the workspace and the examples in its documentation.  What a program says is shown when it
has ended.  What ought to be measured undisturbed is run at the end, and alone.

Where a few tests fail beside the others, their programs are run once more, whole, with nothing beside them: what
passes then is no failure, and is named in the end, for somebody to mend.
"""

import json
import os
import re
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
# So many tests may fail beside the others: where there are more, none is run again.
FORGIVEN = 3
# What is no accident, whichever test it comes to light in: the words of tests/harness, of nginx's log, and of
# tests/process_support for a test whose process was killed.
FINAL = re.compile(
    r"the checker found:|the server crashed:|(the server|nginx) does not end|exited on signal|^signal: ", re.MULTILINE
)


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


def wrong(status, said):
    """The tests that have failed; None: it is not just them, and nothing that is run again makes it good.

    >>> wrong(0, "test a ... ok\\ntest result: ok. 1 passed; 0 failed; 0 ignored\\n")
    []
    >>> end = "\\nfailures:\\n    a::b\\n\\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\\n"
    >>> wrong(101, "test c ... ok\\ntest a::b ... FAILED" + end)
    ['a::b']
    >>> wrong(101, "test a::b - should panic ... FAILED" + end)
    ['a::b']

    A crash, also after a test has failed; a panic outside of tests; a name that was not said as it should be;
    what valgrind or a sanitizer has found; a crash of what is tested, and what hangs.

    >>> wrong(-6, "test c ... ok\\ntest a::b ... FAILED\\n")
    >>> wrong(-11, "test a::b ... FAILED" + end)
    >>> wrong(101, "thread 'main' panicked at main.rs:1\\n")
    >>> wrong(101, "test a::b ... FAILED\\n")
    >>> wrong(101, "and test a::b ... FAILED" + end)
    >>> wrong(101, "test a::b ... FAILED\\nthe checker found:\\n==1== Invalid read" + end)
    >>> wrong(101, "test a::b ... FAILED\\nthe server crashed: signal: 11 (SIGSEGV)" + end)
    >>> wrong(101, "test a::b ... FAILED\\nthe server does not end" + end)
    >>> wrong(101, "test a::b ... FAILED\\nnginx does not end: " + end)
    >>> wrong(101, "test a::b ... FAILED\\n[alert] worker process 7 exited on signal 11" + end)
    >>> wrong(101, "test a::b ... FAILED\\nsignal: 6 (SIGABRT)" + end)
    """
    if status == 0:
        return []
    names = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", said, re.MULTILINE)
    counted = re.findall(r"^test result: FAILED\. \d+ passed; (\d+) failed", said, re.MULTILINE)
    is_whole = status == 101 and counted == [str(len(names))] and not FINAL.search(said)
    return names if is_whole else None


def run(name, program, package):
    began = time.monotonic()
    ended = subprocess.run(
        program, cwd=package, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    where = "" if package == Path.cwd() else f"{package.name}/"
    print(f"\n{where}{name}, {time.monotonic() - began:.1f} s{ended.stdout}", flush=True)
    return ended.returncode, ended.stdout


def main():
    names = sys.argv[1:]
    programs = ordered(built(names))
    missing = set(names) - {name for name, *_ in programs}
    if missing or not programs:
        sys.exit(f"no such test programs: {missing}")
    os.environ |= surroundings(programs[0][1])
    failed, again = [], []
    for alone in (False, True):
        of_these = [it for it in programs if (it[0] in ALONE) == alone]
        with ThreadPoolExecutor(1 if alone else AT_ONCE) as pool:
            runs = {pool.submit(run, *it): it for it in of_these}
            for ended in as_completed(runs):
                tests = wrong(*ended.result())
                if tests is None or (tests and alone):
                    failed.append(runs[ended][0])
                elif tests:
                    again.append((runs[ended], tests))
    may_pass = sum(len(tests) for _, tests in again) <= FORGIVEN
    unsteady = [it for it in again if may_pass and run(*it[0])[0] == 0]
    failed += [it[0][0] for it in again if it not in unsteady]
    if not names and subprocess.run([CARGO, "test", "--workspace", "--doc"], check=False).returncode:
        failed.append("the examples in the documentation")
    if unsteady:
        which = ", ".join(f"{program[0]} {test}" for program, tests in unsteady for test in tests)
        print(f"unsteady: passed only when their programs were run again, alone: {which}", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(sorted(set(failed)))}")
    print(f"{len(programs)} test programs passed")


if __name__ == "__main__":
    main()
