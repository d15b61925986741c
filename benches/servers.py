"""Who is measured: how each server is started, and what it uses of the machine.

All of them have one process or thread that serves, and give the same answers: `/` is 13 octets,
`/post` the same after the body has been read, `/big` is 100 KiB.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from ask import SCENARIOS, free_port, one_answer

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
CONNECTIONS = 20_000  # what a server must be able to hold
BIG = 102_400

NGINX = """
daemon off; master_process off; pid {where}/pid; error_log stderr crit;
events {{ worker_connections {connections}; }}
http {{
    access_log off; default_type text/plain; server_tokens off; sendfile on;
    keepalive_requests 1000000000; keepalive_timeout 300s;
    client_body_temp_path {where}/a; proxy_temp_path {where}/b;
    fastcgi_temp_path {where}/c; uwsgi_temp_path {where}/d; scgi_temp_path {where}/e;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=2048;
        location / {{ return 200 "hello, world\\n"; }}
        location = /big {{
            root {where}; open_file_cache max=8; etag off; max_ranges 0;
            if_modified_since off; add_header Last-Modified "";
        }}
    }}
}}
"""

# h2o has no `return`: it answers from files that it keeps open, and a POST from a script of a line.
H2O = """
num-threads: 1
max-connections: {connections}
http1-request-timeout: 300
tcp-fastopen: 0
error-log: /dev/null
send-server-name: OFF
file.send-compressed: OFF
file.etag: OFF
file.mime.setdefaulttype: text/plain
{user}
listen: {{ host: 127.0.0.1, port: {port} }}
hosts:
  default:
    paths:
      /:
        file.file: {where}/hello
      /big:
        file.file: {where}/big
      /post:
        mruby.handler: |
          answer = [200, {{"content-type" => "text/plain"}}, ["hello, world\\n"]]
          lambda {{ |env| answer }}
"""


def stat_fields(pid):
    """The fields of /proc/PID/stat after the name, or None."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(root):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(entry) if entry.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_ns(pid):
    """User and system time that a process has used."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads)
    except (OSError, ValueError):
        fields = stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) * TICK_NS if fields else 0


class Server:
    """A server process, pinned if a core is named, and ended with the `with` block."""

    def __init__(self, name, make, core=None, under=(), env=None):
        self.name = name
        self.port = free_port()
        self.said = os.memfd_create("said")
        pin = ["taskset", "-c", str(core)] if core is not None else []
        command = [*pin, *under, *make(self.port)]
        self.process = subprocess.Popen(command, env=env, stdout=self.said, stderr=self.said)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                one_answer(self.port, SCENARIOS["hello"])
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = self.end()
                    sys.exit(f"{self.name} does not answer on port {self.port}\n{said}")
                time.sleep(0.05)

    def __exit__(self, *exc):
        self.end()

    def end(self):
        """TERM, and after a while KILL; what the server had to say."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in tree(self.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()
        said = os.pread(self.said, 4096, 0)
        os.close(self.said)
        return said.decode(errors="replace")

    def cpu(self):
        return sum(cpu_ns(pid) for pid in tree(self.process.pid))

    def worker(self):
        """The process that serves: of an arbiter, or a master, the first child."""
        return tree(self.process.pid)[:2][-1]


class Programs:
    """What is installed: `makers` is name -> command for a port, the limit first."""

    def __init__(self, programs, peers, where):
        self.programs = programs
        self.where = where
        os.environ.setdefault("H2O_ROOT", f"{peers}/usr")  # where scripts/setup unpacked it
        self.path = f"{os.environ['PATH']}:/usr/sbin:{peers}/usr/sbin:{peers}/usr/bin"
        self.makers = {
            "limit": lambda port: [str(programs / "limit"), str(port)],
            "libgateway": self.gateway(),
        }
        self.absent = []
        found = {
            "nginx": self.configured("nginx", NGINX, ["-p", str(where), "-c"]),
            "h2o": self.configured("h2o", H2O, ["-m", "worker", "-c"]),
            "libmicrohttpd": self.compiled("microhttpd"),
            "hyper": self.compiled("hyper"),
        }
        (where / "hello").write_bytes(b"hello, world\n")
        (where / "big").write_bytes(b"x" * BIG)
        for name, make in found.items():
            if make:
                self.makers[name] = make
            else:
                self.absent.append(name)

    def gateway(self, *options):
        """libgateway with options that are not the presets: "name=value"."""
        program = str(self.programs / "bench")
        return lambda port: [program, f"127.0.0.1:{port}", *options]

    def compiled(self, name):
        program = self.programs / name
        return (lambda port: [str(program), str(port)]) if program.exists() else None

    def configured(self, name, text, flags):
        program = shutil.which(name, path=self.path)
        if not program:
            return None

        def make(port):
            conf = self.where / f"{name}-{port}.conf"
            user = "user: root" if os.geteuid() == 0 else ""
            values = {"where": self.where, "port": port, "user": user}
            conf.write_text(text.format(connections=CONNECTIONS, **values))
            return [program, *flags, str(conf)]

        return make

    def versions(self):
        """The version of everything that was measured."""
        found = {"libgateway": self.own_version()}
        for name, flag in (("nginx", "-v"), ("h2o", "-v")):
            if name in self.makers:
                found[name] = first_number([shutil.which(name, path=self.path), flag])
        for name, program in (("libmicrohttpd", "microhttpd"), ("hyper", "hyper")):
            if name in self.makers:
                found[name] = first_number([str(self.programs / program), "--version"])
        return found

    @staticmethod
    def own_version():
        root = Path(__file__).parent.parent
        text = (root / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.+)"', text, re.MULTILINE)[1]
        commit = output(["git", "-C", str(root), "describe", "--always", "--dirty"]).strip()
        return f"{version} ({commit})" if commit else version


def output(command):
    """What a command says, on both channels; nothing if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout + done.stderr


def first_number(command):
    match = re.search(r"\d+(?:\.\d+)+", output(command))
    return match[0] if match else "unknown"
