"""`make serve` and `make nginx-demo` as a person uses them: in a terminal, asked by curl, ended by Ctrl-C.

Run by `make test-serve`; one argument, the host:port to serve on.
"""

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

PATIENCE = 600  # seconds; it builds the library first
BIND = sys.argv[1]


def answer():
    command = ["curl", "-s", "--max-time", "5", f"http://{BIND}/"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def servers(name):
    """The processes that serve on our address."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            arguments = (
                (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            )
            if BIND.encode() in arguments and arguments[0].endswith(name):
                found.append(entry.name)
    return found


def in_terminal(target, first):
    """Make it, until the answer begins like this; then what is said, the process, and its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("make", ["make", target, f"BIND={BIND}"])

    said = []

    def listen():
        with contextlib.suppress(OSError):
            while True:
                said.append(os.read(terminal, 4096).decode(errors="replace"))

    threading.Thread(target=listen, daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    while not answer().startswith(first):
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            sys.exit(f"make {target} does not answer on {BIND}:\n{''.join(said)}")
        time.sleep(0.2)
    return said, pid, terminal


def interrupt(target, said, pid, terminal):
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(status)
    text = "".join(said)
    if status != 0 or answer():
        sys.exit(f"make {target}, Ctrl-C: status {status}, answers {answer()!r}\n{text}")
    if f"http://{BIND}/" not in text:
        sys.exit(f"make {target} does not say where it is:\n{text}")
    print(f"make {target}: answered, and Ctrl-C ended it with status 0")


def main():
    said, pid, terminal = in_terminal("serve", "hello, world\n")
    if len(servers(b"/hello")) != 3:
        sys.exit(f"an arbiter and 2 workers expected, there are {servers(b'/hello')}")
    interrupt("serve", said, pid, terminal)
    if servers(b"/hello") or "curl" not in "".join(said):
        sys.exit(f"left over: {servers(b'/hello')}, or not told what to try:\n{''.join(said)}")

    interrupt("nginx-demo", *in_terminal("nginx-demo", "hello from inside of nginx from "))


main()
