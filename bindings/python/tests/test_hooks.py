"""gunicorn's hooks, in gunicorn.conf.py and as keywords of gateway.serve."""

import ast
import re
import signal
import threading

import pytest
from command import Gateway
from harness import wait_for

import gateway

CONF = """
from harness import note
import os

def say(name, *what):
    note(repr((name, os.getpid(), *what)))

def on_starting(server): say("on_starting", server.pid, server.num_workers, server.cfg.workers)
def when_ready(server): say("when_ready", [w.pid for w in server.WORKERS.values()] == list(server.WORKERS))
def on_reload(server): say("on_reload")
def on_exit(server): say("on_exit", len(server.WORKERS))
def pre_fork(server, worker): say("pre_fork", worker.age, str(worker))
def post_fork(server, worker):
    say("post_fork", worker.age, worker.pid, worker.ppid == server.pid, worker.booted)
def post_worker_init(worker): say("post_worker_init", worker.age, worker.pid, callable(worker.app))
def worker_int(worker): say("worker_int", worker.pid)
def worker_exit(server, worker): say("worker_exit", worker.age, worker.pid)
def child_exit(server, worker): say("child_exit", worker.age, worker.pid, worker.exit_status)
def nworkers_changed(server, new, old): say("nworkers_changed", new, old, server.num_workers)
def pre_request(worker, req): say("pre_request", worker.pid, req.method, req.path, req.query, req.version,
                                  dict(req.headers).get("X-SAID"))
def post_request(worker, req, environ, resp):
    say("post_request", worker.pid, req.uri, environ["REQUEST_METHOD"], resp.status, resp.sent, dict(resp.headers))
"""


class Notes:
    """What the hooks have said, one tuple each."""

    def __init__(self, site):
        self.all = [ast.literal_eval(line) for line in site.notes()]

    def names(self, pid=None):
        return [name for name, its, *_ in self.all if pid is None or its == pid]

    def of(self, name):
        return [rest for each, _, *rest in self.all if each == name]


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_each_hook_is_called_where_and_when_gunicorn_calls_it(tmp_path, preload):
    with Gateway(tmp_path, *preload, "-w", "1", "myapp:app", files={"gunicorn.conf.py": CONF}) as site:
        site.ready()
        site.request("GET", "/a%20b?c=d", headers={"X-Said": "this"})
        (worker,) = site.children()
        wait_for("when_ready", lambda: "when_ready" in Notes(site).names())
        site.kill(signal.SIGTTIN)
        site.wait_for_workers(2)
        site.expect_log("Booting worker")
        assert site.stop() == 0
        notes, master = Notes(site), site.pid
        found = notes.names(master)
        assert found[:4] == ["on_starting", "pre_fork", "when_ready", "nworkers_changed"]
        assert found[-1] == "on_exit"
        assert sorted(found[4:-1]) == ["child_exit", "child_exit", "pre_fork"]
        assert notes.names(worker) == [
            "post_fork",
            "post_worker_init",
            "pre_request",
            "post_request",
            "worker_exit",
        ]
        assert notes.of("on_starting") == [[master, 1, 1]]
        assert notes.of("pre_fork") == [[1, "<Worker [booting]>"], [2, "<Worker [booting]>"]]
        assert notes.of("post_fork")[0] == [1, worker, True, False]
        assert notes.of("post_worker_init")[0] == [1, worker, True]
        assert notes.of("nworkers_changed") == [[2, 1, 2]]
        assert notes.of("pre_request") == [[worker, "GET", "/a%20b", "c=d", (1, 1), "this"]]
        (post,) = notes.of("post_request")
        assert post[:4] == [worker, "/a%20b?c=d", "GET", "200 OK"]
        assert post[4] == len(f"{worker} /a b") and post[5]["Content-Type"] == "text/plain"
        assert [1, worker, 0] in notes.of("child_exit")
        assert notes.of("on_exit") == [[0]]


def test_worker_int_is_for_workers_that_stop_at_once(tmp_path):
    with Gateway(tmp_path, "myapp:app", files={"gunicorn.conf.py": CONF}) as site:
        site.ready().get("/")
        (worker,) = site.children()
        assert site.stop(signal.SIGINT) == 0
        assert Notes(site).of("worker_int") == [[worker]]


@pytest.mark.parametrize("arity", [2, 3, 4])
def test_post_request_takes_what_it_takes(tmp_path, arity):
    names = ", ".join(["worker", "req", "environ", "resp"][:arity])
    conf = f"from harness import note\ndef post_request({names}): note('called')\n"
    with Gateway(tmp_path, "myapp:app", files={"gunicorn.conf.py": conf}) as site:
        site.ready().get("/")
        site.expect_note("called")


def test_an_exception_of_a_hook_of_the_arbiter_ends_it(tmp_path):
    for number, (hook, arguments) in enumerate(
        [("on_starting", "server"), ("pre_fork", "server, worker"), ("when_ready", "server")]
    ):
        conf = f"def {hook}({arguments}):\n    raise RuntimeError('no {hook}')\n"
        (tmp_path / str(number)).mkdir()
        with Gateway(tmp_path / str(number), "myapp:app", files={"gunicorn.conf.py": conf}) as site:
            status, log = site.ended()
            assert status == 1 and f"RuntimeError: no {hook}" in log, (hook, status, log)


def test_the_status_of_sys_exit_in_a_hook_is_the_programs(tmp_path):
    conf = "import sys\ndef when_ready(server):\n    sys.exit(7)\n"
    with Gateway(tmp_path, "myapp:app", files={"gunicorn.conf.py": conf}) as site:
        status, log = site.ended()
        assert status == 7 and "Traceback" not in log, log


def test_an_exception_of_a_hook_of_a_request_harms_no_request(tmp_path):
    conf = "def pre_request(worker, req):\n    raise RuntimeError('not me')\n"
    with Gateway(tmp_path, "myapp:app", files={"gunicorn.conf.py": conf}) as site:
        site.ready()
        assert [site.get("/").status for _ in range(3)] == [200] * 3
        site.expect_log("RuntimeError: not me")


def test_hooks_that_are_not_set_are_not_registered():
    from gateway.hooks import Hooks

    assert set(Hooks({}).of_library()) == {"post_fork", "worker_exit"}
    assert "access" in Hooks({"post_request": print}).of_library()
    assert "pre_request" not in Hooks({"post_request": print}).of_library()


def test_a_hook_that_is_none_is_named():
    with pytest.raises(TypeError, match="there is no hook 'prefork': did you mean 'pre_fork'"):
        gateway.serve(lambda *_: [], hooks={"prefork": print})
    with pytest.raises(TypeError, match="'pre_fork' is int, which cannot be called"):
        gateway.serve(lambda *_: [], hooks={"pre_fork": 3})


# ---- forks ----

FORKS = """
import atexit, os, random, threading
from harness import note

first = threading.current_thread()
kept = random.getrandbits(64)
os.register_at_fork(before=lambda: note("before"), after_in_parent=lambda: note("parent"),
                    after_in_child=lambda: note("child"))
atexit.register(note, "atexit of the arbiter")

def app(environ, start_response):
    if not hasattr(app, "registered"):
        app.registered = True
        atexit.register(note, "atexit of a worker")
    start_response("200 OK", [])
    return [repr((os.getpid(), random.getrandbits(64), threading.current_thread() is threading.main_thread(),
                  len(threading.enumerate()))).encode()]
"""


def test_forks_are_pythons(tmp_path):
    with Gateway(tmp_path, "--preload", "-w", "2", "forks:app", files={"forks.py": FORKS}) as site:
        site.ready()
        seen = {}
        while len(seen) < 2:
            pid, number, is_main, threads = ast.literal_eval(site.get("/").text)
            assert is_main and threads == 1
            seen.setdefault(pid, number)
        assert len(set(seen.values())) == 2, "random is seeded again after the fork"
        site.stop()
        notes = site.notes()
        assert [notes.count(each) for each in ("before", "parent", "child")] == [2, 2, 2]
        assert notes.count("atexit of a worker") == 2
        assert notes.count("atexit of the arbiter") == 1


# ---- workers that hang ----

HANGS = """
import time

def spins():
    while True:
        pass

def sleeps():
    time.sleep(3600)

def app(environ, start_response):
    {"/spins": spins, "/sleeps": sleeps}.get(environ["PATH_INFO"], lambda: None)()
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.parametrize("args", [[], ["--threads", "2"]])
def test_a_worker_that_hangs_leaves_its_stack_and_is_replaced(tmp_path, args):
    with Gateway(tmp_path, "-t", "2", "-w", "2", *args, "hangs:app", files={"hangs.py": HANGS}) as site:
        site.expected.append("Fatal Python error")
        site.ready()
        before = set(site.wait_for_workers(2))
        # One at a time: stacks of two processes would be written into each other.
        for where in ("spins", "sleeps"):
            with site.connect() as wire:
                wire.send(f"GET /{where} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                site.expect_log(f"in {where}")
            assert re.search(r'File ".*hangs\.py", line \d+ in ' + where, site.log())
        assert "Fatal Python error: Aborted" in site.log()
        site.expect_log("Worker (pid:")
        wired = [site.get("/") for _ in range(4)]
        assert [each.text for each in wired] == ["ok"] * 4
        wait_for("another worker", lambda: before != set(site.wait_for_workers(2)))


def test_the_stack_goes_to_the_error_log_that_is_a_file(tmp_path):
    log = tmp_path / "error.log"
    with Gateway(
        tmp_path, "-t", "1", "--error-logfile", str(log), "hangs:app", files={"hangs.py": HANGS}
    ) as site:
        wait_for("the log", lambda: log.exists() and "Booting worker" in log.read_text())
        with site.connect() as wire:
            wire.send(b"GET /sleeps HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for("the stack", lambda: "in sleeps" in log.read_text())


@pytest.mark.parametrize("path, args", [("/spins", []), ("/sleeps", []), ("/sleeps", ["--threads", "1"])])
def test_worker_abort_runs_beside_what_hangs(tmp_path, path, args):
    conf = "from harness import note\ndef worker_abort(worker): note(f'aborted {worker.pid}')\n"
    files = {"hangs.py": HANGS, "gunicorn.conf.py": conf}
    with Gateway(tmp_path, "-t", "1", *args, "hangs:app", files=files) as site:
        site.expected.append("Fatal Python error")
        site.ready().get("/")
        (worker,) = site.children()
        with site.connect() as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            site.expect_note(f"aborted {worker}")
        assert f"in {path[1:]}" in site.log()
        assert site.get("/").text == "ok"
        assert worker not in site.children()


def test_serve_is_for_the_main_thread_unless_it_handles_no_signals():
    problems = []

    def call():
        try:
            gateway.serve(lambda *_: [], workers=1)
        except RuntimeError as error:
            problems.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(problems) == 1 and "main thread" in problems[0] and "gateway.server()" in problems[0]


LOGGING_HOOKS = """
def when_ready(server): server.log.info("ready with %d", server.num_workers)
def post_fork(server, worker): worker.log.warning("forked %s", worker.pid); server.log.debug("not this")
def post_worker_init(worker):
    try:
        raise KeyError("shown")
    except KeyError:
        worker.log.exception("in a hook")
"""


def test_hooks_have_a_log_without_pythons_logging(tmp_path):
    with Gateway(tmp_path, "myapp:app", files={"gunicorn.conf.py": LOGGING_HOOKS}) as site:
        site.expected.append("KeyError: 'shown'")
        site.expect_log("[INFO] ready with 1")
        (worker,) = site.children()
        assert f"[{worker}] [WARNING] forked {worker}\n" in site.log()
        assert "[ERROR] in a hook\nTraceback (most recent call last)" in site.log()
        assert "not this" not in site.log()
