"""Signals: gunicorn's to the program and its workers, and Python's own left alone."""

import os
import signal
import subprocess
import sys

import pytest
from command import Gateway
from harness import DEADLINE, free_port, wait_for

SLOW = """
import time, os
from harness import note

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        note("begun")
        while not os.path.exists("go"):
            time.sleep(0.005)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


def test_ttin_and_ttou_change_the_number_of_workers_and_a_worker_that_was_killed_is_replaced(tmp_path):
    with Gateway(tmp_path, "myapp:app") as site:
        site.ready()
        (first,) = site.wait_for_workers(1)
        site.kill(signal.SIGTTIN)
        site.wait_for_workers(2)
        # One that has booted: to be killed before is the end of everything.
        site.wait_for_all_to_answer(2)
        site.kill(signal.SIGTTOU)
        (second,) = site.wait_for_workers(1)
        assert second != first, "the oldest goes first"
        os.kill(second, signal.SIGKILL)
        wait_for("another", lambda: site.children() and second not in site.children())
        assert site.get("/").status == 200


def test_workers_do_not_mind_what_is_for_the_arbiter(tmp_path):
    with Gateway(tmp_path, "myapp:app") as site:
        site.ready().get("/")
        (worker,) = site.children()
        for signo in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGWINCH, signal.SIGPIPE):
            os.kill(worker, signo)
        assert site.get("/").text.split()[0] == str(worker)
        assert site.children() == [worker]


@pytest.mark.parametrize("args", [[], ["--threads", "2"]])
def test_term_lets_a_request_end_and_quit_does_not(tmp_path, args):
    for signo in (signal.SIGTERM, signal.SIGQUIT):
        go = tmp_path / "go"
        go.unlink(missing_ok=True)
        with Gateway(tmp_path, *args, "slow:app", files={"slow.py": SLOW}) as site:
            site.ready()
            with site.connect() as wire:
                wire.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                site.expect_note("begun")
                site.kill(signo)
                site.expect_log("Shutting down")
                if signo == signal.SIGTERM or not args:
                    go.touch()
                if signo == signal.SIGTERM:
                    assert wire.answer().status == 200
                else:
                    assert b"200" not in wire.rest() or not args
            go.touch()
            assert site.wait() == 0


def test_usr1_opens_the_logs_again(tmp_path):
    log = tmp_path / "access.log"
    with Gateway(tmp_path, "--access-logfile", str(log), "myapp:app") as site:
        site.ready().get("/one")
        wait_for("a line", lambda: "/one" in log.read_text())
        log.rename(tmp_path / "old.log")
        site.kill(signal.SIGUSR1)
        wait_for("a new file", log.exists)
        wait_for("lines there", lambda: site.get("/two") and "/two" in log.read_text())
        assert "/one" not in log.read_text()


def test_workers_end_with_an_arbiter_that_was_killed(tmp_path):
    with Gateway(tmp_path, "-w", "2", "myapp:app") as site:
        site.ready()
        workers = site.wait_for_workers(2)
        site.kill(signal.SIGKILL)
        site.wait()
        wait_for("their end", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
        site.checked = True


LIBRARY = """
import os, signal, sys, gateway
from harness import note

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

def handler(signo, frame):
    note(f"mine {signo}")

for signo in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
    signal.signal(signo, handler)
before = [signal.getsignal(signo) for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]
gateway.serve(app, bind="127.0.0.1:" + sys.argv[1], workers=1)
note("returned")
assert before == [signal.getsignal(signo) for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]
for signo in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
    os.kill(os.getpid(), signo)
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    note("interrupted")
server = gateway.server(app, bind="127.0.0.1:0")
try:
    os.kill(os.getpid(), signal.SIGUSR1)
    note("turning")
    server.serve_forever()
except KeyboardInterrupt:
    note("interrupted again")
"""


def test_python_has_its_handlers_back_behind_serve_and_keeps_them_in_a_server(tmp_path):
    (tmp_path / "lib.py").write_text(LIBRARY)
    port = free_port()
    with Gateway(tmp_path, str(tmp_path / "lib.py"), str(port), bind=False, program=[sys.executable]) as site:
        site.expect_log("Listening at")
        site.address = ("127.0.0.1", port)
        assert site.get("/").text == "ok"
        site.kill(signal.SIGTERM)
        site.expect_note("turning")
        site.kill(signal.SIGINT)
        assert site.wait() == 0, site.log()
        mine = [f"mine {int(signo)}" for signo in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1)]
        assert site.notes() == ["returned", *mine[:3], "interrupted", mine[3], "turning", "interrupted again"]


WAITS = """
import _thread, itertools, os, signal, socket, threading
import gateway

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

def app_signals(environ, start_response):
    # Behind the last chunk, where no code of Python's runs any more: this returns None, and there is no other.
    start_response("200 OK", [])
    return itertools.chain([b"ok"], filter(_thread.interrupt_main, [signal.SIGUSR1]))

def ask(then):
    client = socket.create_connection(server.server_address)
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n")
    while not client.recv(4096).endswith((b"ok", b"0\\r\\n\\r\\n")):
        pass
    then()
    client.recv(1)          # and it does nothing more: nothing else ends the wait

def sleeps():
    # The main thread: in poll().
    while True:
        with open("/proc/self/task/" + str(os.getpid()) + "/syscall") as now:
            if now.read().split()[0] in ("7", "73", "271"):
                return

def signals_itself():
    sleeps()
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

def interrupts():
    sleeps()
    _thread.interrupt_main(signal.SIGUSR1)

class Signalled(Exception):
    pass

def handler(signo, frame):
    raise Signalled

signal.signal(signal.SIGUSR1, handler)
APP, THEN = WHERE
server = gateway.server(APP, bind="127.0.0.1:0", keepalive="1h")
theirs = THEIRS
if theirs:
    theirs[1].setblocking(False)
    signal.set_wakeup_fd(theirs[1].fileno())
threading.Thread(target=ask, args=(THEN,), daemon=True).start()
try:
    server.serve_forever()
except Signalled:
    print("signalled")
if theirs:
    assert signal.set_wakeup_fd(-1) == theirs[1].fileno()
    assert theirs[0].recv(16) == bytes([signal.SIGUSR1])
else:
    assert signal.set_wakeup_fd(-1) == -1
"""


@pytest.mark.flaky(reruns=0)
@pytest.mark.parametrize("theirs", ["()", "socket.socketpair()"])
@pytest.mark.parametrize("where", ["app_signals, bool", "app, signals_itself", "app, interrupts"])
def test_a_signal_ends_the_wait_also_where_it_interrupts_nothing(where, theirs):
    """One that comes just before it, or to another thread; and who has a wakeup fd is told."""
    done = subprocess.run(
        [sys.executable, "-c", WAITS.replace("WHERE", where).replace("THEIRS", theirs)],
        check=False, capture_output=True, text=True, timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "signalled\n", "")


FULL = """
import os, resource
import gateway

server = gateway.server(lambda environ, start_response: [], bind="127.0.0.1:0")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        os.dup(0)
except OSError as full:
    expected = full.errno
try:
    server.serve_forever()
except OSError as error:
    assert error.errno == expected, error
    os.fstat(0)
    print("full")
"""


@pytest.mark.flaky(reruns=0)
def test_where_no_descriptor_is_left_a_wait_fails_and_closes_none():
    done = subprocess.run(
        [sys.executable, "-c", FULL], check=False, capture_output=True, text=True, timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "full\n", "")
