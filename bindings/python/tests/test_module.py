"""gateway-python.so: CPython inside of the `gateway` command, and of nginx.

All of it is built before: make command nginx-module python-module; nginx is the system's, or was
unpacked by scripts/setup.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import DEADLINE, Client, Process, listens, wait_for
from nginx import COMMAND, MODULE, NEEDED, ROOT, TARGET

pytestmark = NEEDED

APP = """
import gateway, os, sys, threading
import ctypes, decimal, ssl          # parts of it are extension modules, which look for symbols of libpython

VERSION = "one"

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-App", VERSION)])
    return [repr({
        "pid": os.getpid(), "executable": sys.executable, "prefix": sys.prefix, "argv": sys.argv,
        "script": environ["SCRIPT_NAME"], "path": environ["PATH_INFO"], "body": body.decode("latin-1"),
        "multithread": environ["wsgi.multithread"], "multiprocess": environ["wsgi.multiprocess"],
        "library": gateway.__version__, "package": gateway.__file__, "compiled": repr(sys.modules["gateway._gateway"]),
        "signals": __import__("signal").getsignal(2) is None,
    }).encode()]

def make(word="factory"):
    def made(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [word.encode()]
    return made

meeting = threading.Barrier(4, timeout=30)

def meets(environ, start_response):
    number = meeting.wait()         # only when four requests are here at once
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(number).encode()]

def fails(environ, start_response):
    raise LookupError("on purpose")

number = 42
"""


@pytest.fixture
def code(tmp_path):
    """A directory with an application."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/shop.py").write_text(APP)
    return tmp_path / "code"


@pytest.fixture
def command(tmp_path):
    """A function that starts the command on a socket of its own."""
    started = []

    def start(*words, cwd=tmp_path, **options):
        address = str(tmp_path / f"socket{len(started)}")
        argv = [str(COMMAND), *map(str, words), "-b", f"unix:{address}"]
        argv += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        site = Process(argv, cwd=cwd)
        site.client = Client(address)
        started.append(site)
        wait_for("the socket", lambda: listens(address) or not site.alive())
        return site

    yield start
    with contextlib.ExitStack() as ends:
        for site in started:
            ends.callback(site.discard)
            if not site.checked:
                ends.callback(site.stop)


def ask(client, path="/", body=b""):
    """An Answer, by a connection of its own."""
    with client.connect() as wire:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        wire.send(head.encode() + body)
        return wire.answer()


def facts(client, path="/", body=b""):
    answer = ask(client, path, body)
    assert answer.status == 200, answer
    return eval(answer.text)


# ---- the command ----


def test_the_command_serves_an_application_of_a_module(command, code):
    site = command(MODULE, f"path={code}", "shop:app", workers=2)
    said = facts(site.client, "/some/where", b"hello")
    assert (said["path"], said["body"], said["script"]) == ("/some/where", "hello", "")
    assert "(built-in)" in said["compiled"] and said["signals"]
    assert said["multiprocess"] and not said["multithread"]
    assert "Loaded module" in site.log()
    assert site.stop() == 0


def test_the_command_knows_an_application_by_its_name(command, code):
    site = command("shop:app", cwd=code, workers=1)
    assert facts(site.client)["path"] == "/"
    assert site.stop() == 0


def test_factories_and_names_of_presets(command, code):
    (code / "preset.py").write_text("from shop import make\napplication = make('preset')\n")
    made = command(MODULE, f"path={code}", "shop:make('made')", workers=1)
    preset = command(MODULE, f"path={code}", "preset", workers=1)
    assert (ask(made.client).text, ask(preset.client).text) == ("made", "preset")


@pytest.mark.parametrize("how", ["threads", "serial", "loop"])
def test_an_application_runs_where_it_is_told_to(how, command, code):
    site = command(MODULE, f"path={code}", f"run={how}", "shop:app", workers=1)
    assert facts(site.client, body=b"x" * 100_000)["body"] == "x" * 100_000


@pytest.mark.parametrize("preload", [0, 1])
def test_threads_meet(preload, command, code):
    site = command(MODULE, f"path={code}", "shop:meets", workers=1, threads=4, preload=preload)
    assert meet(site.client) == ["0", "1", "2", "3"]
    assert site.stop() == 0


def meet(client, path="/"):
    """What four requests at once are told."""
    told = []
    asking = [threading.Thread(target=lambda: told.append(ask(client, path).text)) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(DEADLINE)
    return sorted(told)


def test_workers_of_one_that_was_loaded_before(command, code):
    site = command(MODULE, f"path={code}", "shop:app", workers=2, preload=1)
    assert facts(site.client)["pid"] != site.pid
    site.kill(signal.SIGHUP)
    site.expect_log("Reloaded")
    assert facts(site.client)["pid"] != site.pid
    assert site.stop() == 0


def test_a_reload_runs_new_code(command, code):
    site = command(MODULE, f"path={code}", "shop:app", workers=1)
    assert ask(site.client)["X-App"] == "one"
    (code / "shop.py").write_text(APP.replace('"one"', '"another"'))
    site.kill(signal.SIGHUP)
    wait_for("the new code", lambda: ask(site.client)["X-App"] == "another")
    assert site.stop() == 0


def test_an_exception_is_an_answer_and_a_traceback(command, code):
    site = command(MODULE, f"path={code}", "shop:fails", workers=1)
    assert ask(site.client).status == 500
    site.expect_log("LookupError: on purpose")
    assert ask(site.client).status == 500
    assert site.stop() == 0


def test_what_atexit_knows_is_done_in_a_worker(command, code):
    (code / "leaves.py").write_text(
        "import atexit\nfrom harness import note\nfrom shop import app\natexit.register(note, 'left')\n"
    )
    site = command(MODULE, f"path={code}", f"path={Path(__file__).parent}", "leaves:app", workers=1)
    facts(site.client)
    assert site.stop() == 0
    assert site.notes() == ["left"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["missing:app"], "ModuleNotFoundError: No module named 'missing'"),
        (["broken:app"], "ZeroDivisionError"),
        (["shop:nothing"], "NameError: name 'nothing' is not defined"),
        (["shop:number"], "shop:number is 42, which is not callable"),
        (["exits:app"], "SystemExit: 3"),
        (["shop:app", "run=sideways"], "run=sideways: it is threads, serial or loop"),
        (["shop:app", "venv=/nonexistent"], "venv=/nonexistent: it has no pyvenv.cfg"),
        (["shop:app", "path=/nonexistent"], "path=/nonexistent: not a directory"),
        (["shop:app", "shop:make"], '"shop:make": one application is enough'),
        ([], "no application is named"),
    ],
)
def test_what_cannot_be_loaded_is_said(words, said, code, tmp_path):
    (code / "broken.py").write_text("def half():\n    1 / 0\nhalf()\n")
    (code / "exits.py").write_text("raise SystemExit(3)\n")
    argv = [COMMAND, MODULE, f"path={code}", *words, "-b", f"unix:{tmp_path}/socket"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 4, done.stderr
    assert said in done.stderr.splitlines()[-1]
    if "broken:app" in words:
        assert 'broken.py", line 2, in half' in done.stderr, "the traceback"
        assert done.stderr.count("Traceback") == 1, done.stderr


def test_a_venv_has_packages_of_its_own(command, code, tmp_path):
    python = sys.executable
    venv = tmp_path / "venv"
    subprocess.run([Path(python).resolve(), "-m", "venv", "--without-pip", venv], check=True, timeout=DEADLINE)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "only_here.py").write_text("WORD = 'only here'\n")
    (code / "uses.py").write_text("import only_here\nfrom shop import app\nword = only_here.WORD\n")
    site = command(MODULE, f"path={code}", f"venv={venv}", "uses:app", workers=1)
    said = facts(site.client)
    assert (said["prefix"], said["executable"]) == (str(venv), f"{venv}/bin/python")
    without = command(MODULE, f"path={code}", "uses:app", workers=1)
    assert without.wait() == 4
    without.expect_log("No module named 'only_here'")


def test_two_applications_of_one_interpreter(code, tmp_path):
    (tmp_path / "gateway.toml").write_text(
        f'bind = "unix:{tmp_path}/socket"\nworkers = 1\n'
        f'[[mount]]\nat = "/a"\nmodule = "{MODULE}"\nargs = "path={code} shop:app"\n'
        f'[[mount]]\nat = "/b"\nmodule = "{MODULE}"\nargs = "path={code} shop:make()"\n'
    )
    site = Process([str(COMMAND), str(tmp_path / "gateway.toml")])
    client = Client(str(tmp_path / "socket"))
    try:
        wait_for("the socket", lambda: listens(client.address) or not site.alive())
        assert facts(client, "/a/x")["script"] == "/a"
        assert ask(client, "/b").text == "factory"
        assert site.stop() == 0
    finally:
        site.discard()


def test_what_is_installed_needs_nothing_of_the_tree(code, tmp_path):
    into = {"DESTDIR": str(tmp_path), "PREFIX": "/opt/gateway", "PYTHON_MODULE": str(MODULE)}
    install = [ROOT / "scripts/install"]
    run = {"env": {**os.environ, **into}, "capture_output": True, "timeout": DEADLINE}
    subprocess.run([*install, TARGET / "release"], check=True, **run)
    prefix = tmp_path / "opt/gateway"
    address = str(tmp_path / "socket")
    site = Process([str(prefix / "bin/gateway"), "shop:app", "-b", f"unix:{address}"], cwd=code)
    try:
        wait_for("the socket", lambda: listens(address) or not site.alive())
        said = facts(Client(address))
        assert "(built-in)" in said["compiled"]
        loaded = Path(f"/proc/{said['pid']}/maps").read_text()
        assert str(prefix / "lib/gateway-python.so") in loaded
        assert str(prefix / "lib/gateway-python/gateway/__init__.py") == said["package"]
        assert site.stop() == 0
    finally:
        site.discard()
    subprocess.run([*install, "-u", TARGET / "release"], check=True, **run)
    assert not [path for path in prefix.rglob("*") if path.is_file()]


# ---- nginx ----


def test_nginx_has_the_application_inside(nginx, code):
    site = nginx(f"location /shop/ {{ gateway_module {MODULE} path={code} shop:app; }}")
    said = facts(site.client, "/shop/some/where", b"hello" * 20_000)
    assert (said["script"], said["path"]) == ("/shop", "/some/where")
    assert said["body"] == "hello" * 20_000
    assert "(built-in)" in said["compiled"] and said["signals"]
    workers = Path(f"/proc/{site.pid}/task/{site.pid}/children").read_text().split()
    assert str(said["pid"]) in workers
    assert ask(site.client, "/elsewhere").status == 404


def test_nginx_runs_an_application_that_blocks_on_threads(nginx, code):
    site = nginx(f"gateway_threads 4; location / {{ gateway_module {MODULE} path={code} shop:meets; }}")
    assert meet(site.client) == ["0", "1", "2", "3"]


def test_nginx_runs_one_that_never_waits_on_its_loop(nginx, code):
    site = nginx(f"location / {{ gateway_module {MODULE} run=loop path={code} shop:app; }}")
    said = facts(site.client, "/", b"x" * 100_000)
    assert len(said["body"]) == 100_000 and not said["multithread"]
    threads = os.listdir(f"/proc/{said['pid']}/task")
    assert len(threads) == 1, threads


def test_nginx_has_several_applications(nginx, code):
    site = nginx(
        f"location /a/ {{ gateway_module {MODULE} path={code} shop:app; }}"
        f"location /b/ {{ gateway_module {MODULE} path={code} shop:make('b'); }}"
        f"location /c/ {{ gateway_module {MODULE} path={code} run=serial shop:make('c'); }}"
    )
    assert facts(site.client, "/a/")["script"] == "/a"
    assert [ask(site.client, path).text for path in ("/b/", "/c/")] == ["b", "c"]


def test_nginx_reloads_new_code(nginx, code):
    site = nginx(f"location / {{ gateway_module {MODULE} path={code} shop:app; }}")
    assert ask(site.client)["X-App"] == "one"
    (code / "shop.py").write_text(APP.replace('"one"', '"another"'))
    site.kill(signal.SIGHUP)
    wait_for("the new code", lambda: ask(site.client)["X-App"] == "another")


def test_nginx_says_what_cannot_be_loaded(nginx, code):
    site = nginx(f"location / {{ gateway_module {MODULE} path={code} shop:app; }}")
    (code / "broken.py").write_text("import missing\n")
    site.configure(f"location / {{ gateway_module {MODULE} path={code} broken:app; }}")
    good, said = site.good()
    assert not good
    assert "import broken: ModuleNotFoundError: No module named 'missing' in " in said, said
    assert f'File "{code}/broken.py", line 1' in said, said
    # The old workers serve on.
    site.kill(signal.SIGHUP)
    site.expect_log("No module named 'missing'")
    assert ask(site.client).status == 200


def test_nginx_tries_again_what_fails_in_a_worker(nginx, code):
    # The first import is the one that is thrown away; the second fails, in the worker.
    (code / "shy.py").write_text(
        "with open(__file__ + '.count', 'a+') as count:\n"
        "    count.write('.')\n"
        "    count.seek(0)\n"
        "    if len(count.read()) == 2:\n"
        "        raise RuntimeError('not yet')\n"
        "from shop import app\n"
    )
    site = nginx(f"location / {{ gateway_module {MODULE} path={code} shy:app; }}")
    site.expect_log("RuntimeError: not yet")
    wait_for("another try", lambda: ask(site.client).status == 200)


def test_nginx_answers_an_exception_with_500(nginx, code):
    site = nginx(f"location / {{ gateway_module {MODULE} path={code} shop:fails; }}")
    assert ask(site.client).status == 500
    site.expect_log("LookupError: on purpose")
    assert ask(site.client).status == 500


SAME = """a_list a_tuple_of_one a_generator an_iterator empty_chunks by_class by_write by_write_alone replaced
    an_empty_list one_empty_chunk many_headers never_started raises raises_after_start returns_none
    chunk_is_str closed closed_with_length echo read_nothing file_plain file_offset file_in_memory
    file_iterated"""


def test_nginx_answers_as_a_server_of_the_package_does(nginx, serve):
    module = f"gateway_module {MODULE} path={Path(__file__).parent} apps.conform:application"
    inside = nginx(f"location / {{ {module}; }}")
    beside = serve("apps.conform:application")
    for site in (inside, beside):
        site.expected.append("Traceback")
    for name in SAME.split():
        there, here = (told(site, f"/{name}", b"a body") for site in (inside.client, beside))
        assert there == here, name
    for site in (inside, beside):
        site.stop(signal.SIGTERM)
    assert sorted(inside.notes()) == sorted(beside.notes()), "each was closed as often"


def told(client, path, body):
    """An answer without what is the server's own, and without its page for errors."""
    with client.connect() as wire:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        wire.send(head.encode() + body)
        answer = wire.answer()
    own = ("date", "server", "connection", "transfer-encoding", "content-length")
    headers = sorted((name.lower(), value) for name, value in answer.headers if name.lower() not in own)
    return answer.status, *((headers, answer.body) if answer.status < 500 else ())
