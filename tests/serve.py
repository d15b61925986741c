"""`make serve` as a person uses it: in a terminal, asked by curl, ended by Ctrl-C.

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


def servers():
    """The processes that serve on our address."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            arguments = (
                (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            )
            if BIND.encode() in arguments and arguments[0].endswith(b"/hello"):
                found.append(entry.name)
    return found


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("make", ["make", "serve", f"BIND={BIND}"])

    said = []

    def listen():
        with contextlib.suppress(OSError):
            while True:
                said.append(os.read(terminal, 4096).decode(errors="replace"))

    threading.Thread(target=listen, daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    while answer() != "hello, world\n":
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            sys.exit(f"make serve does not answer on {BIND}:\n{''.join(said)}")
        time.sleep(0.2)
    if len(servers()) != 3:
        sys.exit(f"an arbiter and 2 workers expected, there are {servers()}")

    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(status)
    text = "".join(said)
    if status != 0 or servers():
        sys.exit(f"Ctrl-C: status {status}, left over: {servers()}\n{text}")
    if f"http://{BIND}/" not in text or "curl" not in text:
        sys.exit(f"it does not say what to try:\n{text}")
    print("make serve: answered, and Ctrl-C ended it with status 0")


main()
