"""The program `gateway`, as tests start it: in a directory of its own, at a free port."""

from __future__ import annotations

import os
import signal
import sys
import textwrap

from harness import Client, Process, free_port, wait_for

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {environ['PATH_INFO']}".encode()]
"""


def write(path, text):
    """The file, if it is not so already; nobody sees a half of it."""
    if not path.exists() or path.read_text() != text:
        other = path.with_suffix(".new")
        other.write_text(text)
        os.replace(other, path)


class Gateway(Process, Client):
    """`python -m gateway ARGS` in `directory`, where `files` are written; it listens at `port`."""

    def __init__(self, directory, *args, files=None, env=None, bind=True, program=None):
        for name, text in {"myapp.py": APP, **(files or {})}.items():
            write(directory / name, textwrap.dedent(text))
        self.port = free_port()
        Client.__init__(self, ("127.0.0.1", self.port))
        if bind:
            args = ("-b", f"127.0.0.1:{self.port}", *args)
        env = {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        Process.__init__(
            self, [*(program or (sys.executable, "-m", "gateway")), *args], cwd=directory, env=env
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        try:
            if kind is None and not self.checked:
                self.stop()
        finally:
            self.discard()

    def ready(self):
        """Wait until it listens; itself."""
        wait_for("it to listen, or its end", lambda: "Listening at" in self.log() or not self.alive())
        assert "Listening at" in self.log(), self.log()
        return self

    def ended(self):
        """(status, log) when it has ended by itself."""
        try:
            wait_for("its end", lambda: not self.alive())
        except AssertionError as late:
            self.kill(signal.SIGABRT)  # where it is
            self.wait()
            raise AssertionError(f"{late}; the log:\n{self.log()}") from None
        self.checked = True
        return self.wait(), self.log()

    def children(self):
        """The pids of its workers."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    found.append(int(name))
        return found

    def wait_for_workers(self, count):
        def there_are():
            found = self.children()
            return found if len(found) == count else None

        return wait_for(f"{count} workers", there_are)

    def wait_for_all_to_answer(self, count):
        """Wait until so many workers have, with the application of this file."""
        known = set()
        wait_for(f"{count} to answer", lambda: known.add(self.get("/").text.split()[0]) or len(known) == count)
