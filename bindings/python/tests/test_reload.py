"""HUP, USR2 and --reload: new code, new settings, and nothing lost."""

import os
import signal
import socket

import pytest
from command import Gateway, write
from harness import free_port, wait_for

VERSION = """
VERSION = {!r}

def app(environ, start_response):
    start_response("200 OK", [])
    return [VERSION.encode()]
"""


def test_hup_loads_the_application_and_the_configuration_again(tmp_path):
    conf = (
        "from harness import note\nworkers = {}\nraw_env = ['SAID={}']\n"
        "def on_reload(server): note('{}')\n"
    )
    files = {"v.py": VERSION.format("one"), "gunicorn.conf.py": conf.format(1, "a", "old")}
    with Gateway(tmp_path, "v:app", files=files) as site:
        assert site.ready().get("/").text == "one"
        write(tmp_path / "v.py", VERSION.format("two") + "import os\nVERSION += os.environ['SAID']\n")
        write(tmp_path / "gunicorn.conf.py", conf.format(3, "b", "new"))
        site.kill(signal.SIGHUP)
        wait_for("the new code", lambda: site.get("/").text == "twob")
        site.wait_for_workers(3)
        site.expect_note("old")
        write(tmp_path / "gunicorn.conf.py", conf.format(2, "c", "newer"))
        site.kill(signal.SIGHUP)
        site.wait_for_workers(2)
        site.expect_note("new")
        wait_for("the newer settings", lambda: site.get("/").text == "twoc")


def test_hup_loses_no_request(tmp_path):
    with Gateway(tmp_path, "-w", "2", "v:app", files={"v.py": VERSION.format("x")}) as site:
        site.ready()
        for _ in range(3):
            before = set(site.wait_for_workers(2))
            site.kill(signal.SIGHUP)
            while before & set(site.children()):
                assert site.get("/").text == "x"


def test_a_configuration_that_is_wrong_changes_nothing(tmp_path):
    files = {"v.py": VERSION.format("one"), "gunicorn.conf.py": "workers = 1\n"}
    with Gateway(tmp_path, "v:app", files=files) as site:
        assert site.ready().get("/").text == "one"
        write(tmp_path / "gunicorn.conf.py", "workers = 'many'\n")
        site.kill(signal.SIGHUP)
        site.expect_log("The configuration is as it was: ")
        assert "workers = 'many': it must be a whole number" in site.log()
        write(tmp_path / "gunicorn.conf.py", "def (\n")
        site.kill(signal.SIGHUP)
        site.expect_log("SyntaxError")
        assert site.get("/").text == "one"


def test_old_workers_serve_on_when_the_new_code_cannot_be_loaded(tmp_path):
    with Gateway(tmp_path, "v:app", files={"v.py": VERSION.format("one")}) as site:
        assert site.ready().get("/").text == "one"
        write(tmp_path / "v.py", "raise RuntimeError('half done')\n")
        site.kill(signal.SIGHUP)
        site.expect_log("RuntimeError: half done")
        site.expect_log("Reload failed")
        assert site.get("/").text == "one"
        write(tmp_path / "v.py", VERSION.format("three"))
        site.kill(signal.SIGHUP)
        wait_for("the new code", lambda: site.get("/").text == "three")


def test_what_is_preloaded_stays_at_hup_and_is_new_after_usr2(tmp_path):
    with Gateway(tmp_path, "--preload", "v:app", files={"v.py": VERSION.format("one")}) as site:
        assert site.ready().get("/").text == "one"
        (worker,) = site.children()
        write(tmp_path / "v.py", VERSION.format("two"))
        site.kill(signal.SIGHUP)
        wait_for("a new worker", lambda: site.children() and worker not in site.children())
        assert site.get("/").text == "one"


@pytest.mark.parametrize("args", [[], ["--chdir", "there"]])
def test_usr2_starts_the_program_again(tmp_path, args):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "v.py").write_text(VERSION.format("one"))
    file = (tmp_path / "there" if args else tmp_path) / "v.py"
    pidfile = tmp_path / "pid"
    site = Gateway(tmp_path, *args, "-p", str(pidfile), "v:app", files={"v.py": VERSION.format("one")})
    with site:
        assert site.ready().get("/").text == "one"
        write(file, VERSION.format("two"))
        site.kill(signal.SIGUSR2)
        site.expect_log(") is ready")
        second = tmp_path / "pid.2"
        new = int(wait_for("the second pid file", lambda: second.exists() and second.read_text()))
        try:
            assert int(pidfile.read_text()) == site.pid
            site.kill(signal.SIGTERM)
            assert site.wait() == 0
            assert site.get("/").text == "two"
            wait_for("the pid file", lambda: pidfile.exists() and int(pidfile.read_text() or 0) == new)
        finally:
            os.kill(new, signal.SIGTERM)
        wait_for("its end", lambda: not pidfile.exists())
        site.check()


# ---- development ----


def test_reload_serves_new_code_and_shows_what_is_wrong_with_it(tmp_path):
    files = {"v.py": VERSION.format("one"), "part.py": "X = 1\n"}
    with Gateway(tmp_path, "--reload", "v:app", files=files) as site:
        site.expected.append("SyntaxError")
        assert site.ready().get("/").text == "one"
        write(tmp_path / "v.py", VERSION.format("two"))
        wait_for("the new code", lambda: site.get("/").text == "two")
        site.expect_log("Worker reloading: ")
        write(tmp_path / "v.py", "def broken(:\n")
        wait_for("the error", lambda: site.get("/").status == 500)
        assert "SyntaxError" in site.get("/").text and "v.py" in site.get("/").text
        write(tmp_path / "v.py", "import part\n" + VERSION.format("three"))
        wait_for("the newer code", lambda: site.get("/").text == "three")
        write(tmp_path / "part.py", "raise KeyError('part')\n")
        wait_for("the error", lambda: "KeyError: 'part'" in site.get("/").text)
        site.expected.append("KeyError: 'part'")
        write(tmp_path / "part.py", "X = 2\n")
        wait_for("the newest code", lambda: site.get("/").text == "three")


def test_reload_looks_at_extra_files_too(tmp_path):
    code = """
        def app(environ, start_response):
            start_response("200 OK", [])
            return [TEXT]
        TEXT = open("text.txt", "rb").read()
    """
    args = (
        "--reload",
        "--reload-extra-file",
        "text.txt",
        "--reload-extra-file",
        "*.yaml",
        "--preload",
        "w:app",
    )
    with Gateway(tmp_path, *args, files={"w.py": code, "text.txt": "one"}) as site:
        assert site.ready().get("/").text == "one"
        assert "preload_app is left out" in site.log()
        (tmp_path / "text.new").write_text("x")
        write(tmp_path / "text.txt", "two")
        wait_for("the new text", lambda: site.get("/").text == "two")
        (worker,) = site.wait_for_workers(1)
        (tmp_path / "new.yaml").write_text("a: 1")
        wait_for("a new worker", lambda: site.children() and worker not in site.children())


def test_a_configuration_that_cannot_begin_is_told_and_changes_nothing(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = free_port()
        own = f"127.0.0.1:{port}"
        files = {"g.py": f"bind = ['{own}']\n"}
        with Gateway(tmp_path, "-c", "g.py", "myapp:app", bind=False, files=files) as other:
            other.address = ("127.0.0.1", port)
            assert other.ready().get("/").status == 200
            write(tmp_path / "g.py", f"bind = ['{own}', '127.0.0.1:{taken.getsockname()[1]}']\n")
            other.kill(signal.SIGHUP)
            other.expect_log("in use")
            assert other.get("/").status == 200
