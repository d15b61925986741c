"""The program `gateway`: its command line, where settings come from, and how it ends when they are wrong."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from command import Gateway
from harness import PACKAGE, free_port, wait_for


def run(directory, *args, env=None, files=None):
    """(status, output) of a program that ends by itself."""
    with Gateway(directory, *args, env=env, files=files) as program:
        return program.ended()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("site")


# ---- it serves ----


def test_serves_with_so_many_workers_and_ends_with_0(directory):
    with Gateway(directory, "myapp:app", "-w", "3") as site:
        site.ready()
        assert site.get("/x").text.endswith(" /x")
        assert len(site.wait_for_workers(3)) == 3
        assert int(site.get("/").text.split()[0]) in site.children()
        assert site.stop() == 0


def test_a_worker_is_one_process_unless_more_are_wanted(directory):
    with Gateway(directory, "myapp:app") as site:
        site.ready().get("/")
        assert len(site.children()) == 1


MODULES = """
import sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sys.modules).encode()]
"""


def test_a_worker_has_no_module_that_is_large_and_for_special_cases(directory):
    with Gateway(directory, "modules:app", files={"modules.py": MODULES}) as site:
        found = set(site.ready().get("/").text.split())
    anyway = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    large = {"ast", "inspect", "logging", "shutil", "socket", "threading", "traceback", "typing"}
    assert (found & large) - set(anyway.stdout.split()) == set()


def test_web_concurrency_and_port_are_presets(directory):
    port = free_port()
    with Gateway(directory, "myapp:app", bind=False, env={"PORT": str(port), "WEB_CONCURRENCY": "2"}) as site:
        site.expect_log(f"Listening at: 0.0.0.0:{port}")
        site.wait_for_workers(2)


def test_the_address_is_gunicorns_without_another(directory):
    status, log = run(directory, "--print-config", "myapp:app")
    assert status == 0
    values = dict(re.split(r"\s+= ", line, maxsplit=1) for line in log.splitlines())
    assert values["workers"] == "1"
    assert values["timeout"] == "30"
    assert values["keepalive"] == "2"
    found = subprocess.run(
        [sys.executable, "-c", "from gateway.command.config import load; print(load([]).bind)"],
        check=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "['127.0.0.1:8000']", found


def test_factories_are_called_with_literals(directory):
    files = {
        "factory.py": """
        def make(*args, **names):
            def app(environ, start_response):
                start_response("200 OK", [])
                return [repr((args, names)).encode()]
            return app
    """
    }
    with Gateway(directory, "factory:make(1, 'two', three=[3])", files=files) as site:
        assert site.ready().get("/").text == "((1, 'two'), {'three': [3]})"


def test_the_name_of_an_application_is_application(directory):
    files = {"wsgi.py": "from myapp import app as application\n"}
    with Gateway(directory, "wsgi", files=files) as site:
        assert site.ready().get("/").status == 200


def test_a_unix_socket_and_uwsgi(directory):
    path = directory / "s.sock"
    with Gateway(
        directory, "-b", f"unix:{path}", "-m", "007", "--protocol", "uwsgi", "myapp:app", bind=False
    ) as site:
        site.ready()
        assert oct(path.stat().st_mode)[-3:] == "770"
        site.address = str(path)
        with site.connect() as wire:
            variables = b"".join(
                len(each).to_bytes(2, "little") + each
                for pair in {
                    "REQUEST_METHOD": "GET",
                    "PATH_INFO": "/u",
                    "SERVER_PROTOCOL": "HTTP/1.1",
                }.items()
                for each in map(str.encode, pair)
            )
            wire.send(b"\0" + len(variables).to_bytes(2, "little") + b"\0" + variables)
            assert wire.rest().endswith(b" /u")


def test_threads_run_beside_the_loop(directory):
    files = {
        "threads.py": """
        import threading
        gate = threading.Barrier(3, timeout=20)

        def app(environ, start_response):
            gate.wait()
            start_response("200 OK", [])
            return [str(environ["wsgi.multithread"]).encode()]
    """
    }
    with Gateway(directory, "threads:app", "--threads", "3", files=files) as site:
        site.ready()
        wires = [site.connect() for _ in range(3)]
        for wire in wires:
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert [wire.answer().text for wire in wires] == ["True"] * 3
        for wire in wires:
            wire.sock.close()


def test_the_console_script_is_the_module(directory):
    from importlib import import_module

    assert callable(import_module("gateway.__main__").main)


# ---- where settings come from ----


def test_the_file_then_the_environment_then_the_command_line(directory, tmp_path):
    files = {"gunicorn.conf.py": "workers = 2\ntimeout = 11\nkeepalive = 12\nmax_requests = 13\n"}
    env = {"GUNICORN_CMD_ARGS": "--workers 3 --timeout=21 --env 'A=b c'"}
    with Gateway(tmp_path, "--print-config", "-w", "4", "myapp:app", env=env, files=files) as site:
        status, log = site.ended()
    assert status == 0, log
    values = dict(re.split(r"\s+= ", line, maxsplit=1) for line in log.splitlines())
    assert [values[name] for name in ("workers", "timeout", "keepalive", "max_requests")] == [
        "4",
        "21",
        "12",
        "13",
    ]
    assert values["raw_env"] == "['A=b c']"


@pytest.mark.parametrize("where", ["other.py", "file:other.py", "python:other"])
def test_a_file_that_is_named(tmp_path, where):
    files = {"other.py": "import os\nwsgi_app = 'myapp:app'\nworkers = 7\nhelper = lambda: 1\n"}
    with Gateway(tmp_path, "-c", where, "--print-config", files=files) as site:
        status, log = site.ended()
    assert status == 0, log
    assert re.search(r"^workers +=\s7$", log, re.MULTILINE)


def test_options_of_the_library_have_flags_and_names(tmp_path):
    files = {"gunicorn.conf.py": "max_body = '1k'\n"}
    with Gateway(tmp_path, "--stats-path", "/stats", "myapp:app", files=files) as site:
        site.ready()
        assert json.loads(site.get("/stats").body)["workers"]
        assert site.post("/", b"x" * 2000).status == 413


def test_the_environment_the_path_and_the_directory(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "inlib.py").write_text("VALUE = 'from lib'\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "there.py").write_text(
        "import os, inlib\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [repr((os.getcwd(), os.environ['SAID'], inlib.VALUE)).encode()]\n"
    )
    args = ("--chdir", "site", "--pythonpath", "../lib", "-e", "SAID=this", "there:app")
    with Gateway(tmp_path, *args) as site:
        assert site.ready().get("/").text == repr((str(tmp_path / "site"), "this", "from lib"))


def test_pid_file_name_and_daemon(tmp_path):
    pidfile = tmp_path / "pid"
    with Gateway(
        tmp_path, "-D", "-p", str(pidfile), "--log-file", str(tmp_path / "log"), "myapp:app"
    ) as site:
        assert site.wait() == 0
        pid = int(wait_for("the pid file", lambda: pidfile.exists() and pidfile.read_text().strip()))
        try:
            assert pid != site.pid
            assert os.getsid(pid) != os.getsid(0)
            wait_for("a worker", lambda: "Booting worker" in (tmp_path / "log").read_text())
            assert site.get("/").status == 200
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_for("its end", lambda: not pidfile.exists())
        site.checked = True


# ---- what is wrong ----


@pytest.mark.parametrize(
    "args, text",
    [
        (["--wrkers", "3", "myapp:app"], "did you mean '--workers'"),
        (["-w", "many", "myapp:app"], "--workers: workers = 'many': it must be a whole number"),
        (["-b", "127.0.0.1:99999999", "myapp:app"], "is not a port"),
        (["--certfile", "x", "myapp:app"], "--certfile: certfile is not there: TLS is not in this version"),
        (["-k", "eventlet", "myapp:app"], "try gevent"),
        (["-k", "my.own.Worker", "myapp:app"], "it must be sync, gthread, gevent, tornado or asyncio"),
        (["--log-level", "loud", "myapp:app"], "--log-level: loglevel 'loud'"),
        (["-c", "nowhere.py", "myapp:app"], "nowhere.py doesn't exist"),
        (["--env", "novalue", "myapp:app"], "'novalue' is not NAME=VALUE"),
        (["--chdir", "/no/such/place", "myapp:app"], "/no/such/place"),
        (["myapp:app", "other:app"], "one application, please, not 2"),
        (["--max-body", "much", "myapp:app"], "max_body"),
        ([], "no application"),
    ],
)
def test_a_configuration_that_is_wrong_ends_with_1_and_says_what_to_do(directory, args, text):
    status, log = run(directory, *args)
    assert (status, "Traceback" in log) == (1, False), log
    assert "gateway: error: " in log and text in log


@pytest.mark.parametrize(
    "line, text",
    [
        ("on_starting = 3", "on_starting = 3: it must be a function"),
        ("pre_fork = lambda server: None", "pre_fork = "),
        ("workers = -1", "it must be 0 or more"),
        ("raise KeyError('gone')", "KeyError: 'gone'"),
        ("def (", "SyntaxError"),
        ("secure_scheme_headers = {'X-FOO': 'https'}", "secure_scheme_headers is not there"),
    ],
)
def test_a_file_that_is_wrong_is_named(directory, line, text):
    status, log = run(directory, "-c", "wrong.py", "myapp:app", files={"wrong.py": line + "\n"})
    assert status == 1, log
    assert "wrong.py" in log and text in log


def test_what_is_not_there_is_said_and_a_slip_is_noticed(tmp_path):
    files = {
        "gunicorn.conf.py": "statsd_host = 'h:1'\nworker_clas = 's'\nworker_tmp_dir = '/dev/shm'\nown = 1\n"
    }
    with Gateway(tmp_path, "--check-config", "myapp:app", files=files) as site:
        status, log = site.ended()
    assert status == 0
    assert "statsd_host does nothing: nothing is sent: metrics_path" in log
    assert "worker_tmp_dir is not needed" in log
    assert "worker_clas is no setting: did you mean worker_class?" in log
    assert log.count("warning") == 3


# ---- an application that cannot be loaded ----

BROKEN = {
    "broken.py": "def helper():\n    import no_such_thing\nhelper()\n",
    "notcallable.py": "app = {'a': 1}\nnone = None\n",
    "raising.py": "def make():\n    raise RuntimeError('no database')\n",
}


NAMES = [
    ("nomodule:app", "there is no module 'nomodule' in", ""),
    ("myap:app", "did you mean 'myapp'", ""),
    ("myapp.py:app", "is a file, not a module: did you mean 'myapp:app'", ""),
    ("myapp:ap", "module 'myapp' has no attribute 'ap': did you mean 'app'?", ""),
    ("notcallable:none", "is None, not a WSGI application", ""),
    ("myapp:app(", "is neither a name nor a call", ""),
    ("myapp:app(os)", "must be literals", ""),
    ("notcallable:app", "notcallable:app is a dict, not a WSGI application: it must be callable", ""),
    ("broken:app", "ModuleNotFoundError: No module named 'no_such_thing'", "in helper"),
    ("raising:make()", "RuntimeError: no database", "in make"),
]


@pytest.mark.parametrize(
    "where, uri, text, frame",
    [([], *each) for each in NAMES]
    + [([flag], *each) for each in NAMES[-3:] for flag in ("--preload", "--check-config")],
)
def test_an_application_that_cannot_be_loaded_ends_with_4(directory, where, uri, text, frame):
    status, log = run(directory, *where, uri, files=BROKEN)
    assert status == 4, log
    assert text in log
    assert ("Traceback (most recent call last)" in log) is bool(frame)
    assert frame in log
    assert "application.py" not in log, "the program's own frames say nothing"


def test_a_worker_that_cannot_boot_ends_with_3(directory):
    files = {"refuses.py": "def post_fork(server, worker):\n    raise RuntimeError('not today')\n"}
    status, log = run(directory, "-c", "refuses.py", "myapp:app", files=files)
    assert status == 3, log
    assert "RuntimeError: not today" in log


def test_an_address_in_use_ends_with_1(directory):
    with Gateway(directory, "myapp:app") as site:
        site.ready()
        with Gateway(directory, "-b", f"127.0.0.1:{site.port}", "myapp:app", bind=False) as other:
            wait_for("the end of one", lambda: not other.alive() or not site.alive())
            assert site.alive(), site.log()
            status, log = other.ended()
        assert status == 1
        assert "in use" in log


@pytest.mark.parametrize("args", [[], ["--preload"]])
def test_ctrl_c_is_clean(directory, args):
    with Gateway(directory, *args, "-w", "2", "myapp:app") as site:
        # Those that load their application are the next test's.
        site.ready().wait_for_all_to_answer(2)
        for pid in [*site.wait_for_workers(2), site.pid]:
            os.kill(pid, signal.SIGINT)
        assert site.wait() == 0
        assert "Traceback" not in site.log() and "KeyboardInterrupt" not in site.log()


def test_ctrl_c_while_the_application_is_loaded_is_clean(directory):
    files = {"slow.py": "import sys, time\nprint('loading', flush=True)\ntime.sleep(60)\n"}
    with Gateway(directory, "--preload", "slow:app", files=files) as site:
        site.expect_log("loading")
        site.kill(signal.SIGINT)
        assert site.wait() == 130
        assert "Traceback" not in site.log()


def test_a_configuration_can_be_checked_while_another_server_serves(directory):
    with Gateway(directory, "myapp:app") as site:
        site.ready()
        status, log = run(directory, "--check-config", "-b", f"127.0.0.1:{site.port}", "myapp:app")
        assert (status, log) == (0, "")
        status, log = run(directory, "--check-config", "-u", "no-such-user", "myapp:app")
        assert status == 1 and "no-such-user" in log
