"""nginx with gateway-python.so inside; all of it is built: make command nginx-module python-module."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import DEADLINE, Afterwards, Client, Process, listens, wait_for

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
COMMAND = TARGET / "release/gateway"
MODULE = TARGET / "release/gateway-python.so"
NGINX_MODULE = TARGET / "nginx/ngx_http_gateway_module.so"

IS_BUILT = "GATEWAY_TEST_ALL" in os.environ or all(it.exists() for it in (COMMAND, MODULE, NGINX_MODULE))
NOT_BUILT = "not built: make command nginx-module python-module"
NEEDED = pytest.mark.skipif(not IS_BUILT, reason=NOT_BUILT)

CONFIGURATION = """
load_module {module};
daemon off;
user root;
env GATEWAY_TEST_NOTES;
env GATEWAY_TEST_SESSIONS;
pid {run}/nginx.pid;
error_log {run}/error.log info;
worker_processes {workers};
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen unix:{run}/socket;
        {server}
    }}
}}
"""


class Nginx(Process, Client):
    """nginx with this in its server{}; its error log is beside its own words."""

    def __init__(self, run, server, workers=1, env=None):
        self.run = run
        self.error_log = run / "error.log"
        self.configure(server, workers)
        Process.__init__(self, self.argv(), env=env)
        self.client = self
        Client.__init__(self, str(run / "socket"))
        wait_for("the socket", lambda: listens(run / "socket") or not self.alive())

    def configure(self, server, workers=1):
        text = CONFIGURATION.format(module=NGINX_MODULE, run=self.run, server=server, workers=workers)
        (self.run / "nginx.conf").write_text(text)

    def argv(self):
        return [program(), "-p", str(self.run), "-c", str(self.run / "nginx.conf"), "-e", str(self.error_log)]

    def log(self):
        errors = self.error_log.read_text("utf-8", "backslashreplace") if self.error_log.exists() else ""
        return super().log() + errors

    def good(self):
        """`nginx -t`: whether it is, and what is said."""
        done = subprocess.run(
            [*self.argv(), "-t"], check=False, capture_output=True, text=True, timeout=DEADLINE
        )
        return done.returncode == 0, done.stderr


def program():
    """nginx, which is installed or was unpacked."""
    where = os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(TARGET / "peers/usr/sbin")])
    found = shutil.which("nginx", path=where)
    assert found, "no nginx: run scripts/setup nginx"
    return found


def servers(tmp_path_factory):
    """A function that starts nginx."""
    started = []

    def start(server, workers=1, env=None):
        started.append(Nginx(tmp_path_factory.mktemp("nginx"), server, workers, env))
        assert started[-1].alive(), started[-1].log()
        return started[-1]

    yield start
    try:
        with contextlib.ExitStack() as ends:
            for site in started:
                ends.callback(site.discard)
                if not site.checked:
                    ends.callback(site.stop, signal.SIGQUIT)
    except AssertionError as problem:
        raise Afterwards(str(problem)) from None
