"""Logs through Python's logging, where that is asked for; by the library, where not."""

import json
import re
import socket
import sys
import threading

import pytest
from command import Gateway
from harness import DEADLINE, wait_for

LOGCONFIG = """
[loggers]
keys = root, error, access
[handlers]
keys = file
[formatters]
keys = plain
[logger_root]
level = INFO
handlers = file
[logger_error]
level = INFO
handlers = file
propagate = 0
qualname = gunicorn.error
[logger_access]
level = INFO
handlers = file
propagate = 0
qualname = gunicorn.access
[handler_file]
class = FileHandler
formatter = plain
args = ("python.log",)
[formatter_plain]
format = %(name)s|%(levelname)s|%(message)s
"""

LOGDICT = {
    "version": 1,
    "formatters": {"generic": {"format": "%(name)s|%(levelname)s|%(message)s"}},
    "root": {"level": "INFO", "handlers": ["file"]},
    "handlers": {"file": {"class": "logging.FileHandler", "formatter": "generic", "filename": "python.log"}},
    "loggers": {
        "gunicorn.error": {"handlers": ["file"], "propagate": False, "level": "INFO"},
        "gunicorn.access": {"handlers": ["file"], "propagate": False, "level": "INFO"},
    },
}

APP = """
import logging

def app(environ, start_response):
    logging.getLogger("mine").warning("from the application")
    if environ["PATH_INFO"] == "/broken":
        raise LookupError("broken on purpose")
    start_response("200 OK", [("X-Out", "o")])
    return [b"four"]
"""


@pytest.mark.parametrize(
    "args, files",
    [
        (["--log-config", "log.ini"], {"log.ini": LOGCONFIG}),
        (["--log-config-json", "log.json"], {"log.json": json.dumps(LOGDICT)}),
        ([], {"gunicorn.conf.py": f"logconfig_dict = {LOGDICT!r}\n"}),
    ],
)
def test_both_logs_go_through_logging_as_it_is_configured(tmp_path, args, files):
    log = tmp_path / "python.log"
    with Gateway(tmp_path, *args, "logs:app", files={"logs.py": APP, **files}) as site:
        wait_for("the log", lambda: log.exists() and "Booting worker" in log.read_text())
        assert site.get("/a?b").body == b"four"
        wait_for("the access log", lambda: "gunicorn.access" in log.read_text())
        assert re.search(
            r'^gunicorn\.access\|INFO\|127\.0\.0\.1 - - \[.*\] "GET /a\?b HTTP/1\.1" 200 4 "-"',
            log.read_text(),
            re.MULTILINE,
        )
        assert "gunicorn.error|INFO|Listening at: " in log.read_text()
        assert "mine|WARNING|from the application" in log.read_text()
        assert site.get("/broken").status == 500
        wait_for("the traceback", lambda: "LookupError: broken on purpose" in log.read_text())
        assert re.search(
            r"^gunicorn\.error\|ERROR\|.*LookupError: broken on purpose", log.read_text(), re.MULTILINE
        )
        assert site.stop() == 0
        assert "Shutting down" in log.read_text()
        assert site.log() == "", "nothing is written twice"


def test_a_logger_class_of_ones_own(tmp_path):
    files = {
        "logs.py": APP,
        "mylog.py": """
        from gateway.logs import Logger
        from harness import note

        class Mine(Logger):
            def info(self, msg, *args, **kwargs):
                note("info " + msg % args)

            def log(self, lvl, msg, *args, **kwargs):
                note(f"log {msg % args}")

            def access(self, resp, req, environ, request_time):
                took = request_time.total_seconds()
                note(f"access {resp.status} {req.method} {environ['PATH_INFO']} {took < 20}")
    """,
    }
    with Gateway(tmp_path, "--logger-class", "mylog.Mine", "logs:app", files=files) as site:
        wait_for("a worker", lambda: any("Booting" in each for each in site.notes()))
        site.get("/x")
        site.expect_note("access 200 OK GET /x True")


def test_atoms_are_gunicorns(tmp_path):
    names = "h m U q H s B f a {x-in}i {x-out}o {request_method}e {no}i"
    form = "|".join(f"%({name})s" for name in names.split())
    conf = f"accesslog = 'access.log'\nlogger_class = 'gateway.logs.Logger'\naccess_log_format = {form!r}\n"
    log = tmp_path / "access.log"
    with Gateway(tmp_path, "logs:app", files={"logs.py": APP, "gunicorn.conf.py": conf}) as site:
        site.ready().request(
            "GET", "/p?q=1", headers={"X-In": 'in"\t', "User-Agent": "me", "Referer": "there"}
        )
        wait_for("a line", lambda: log.exists() and log.read_text().endswith("\n"))
        assert log.read_text() == r"127.0.0.1|GET|/p|q=1|HTTP/1.1|200|4|there|me|in\"|o|GET|-" + "\n"


def test_syslog(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "syslog"))
        sock.settimeout(DEADLINE)
        args = (
            "--log-syslog",
            "--log-syslog-to",
            f"unix://{tmp_path}/syslog#dgram",
            "--log-syslog-prefix",
            "web",
        )
        with Gateway(tmp_path, *args, "logs:app", files={"logs.py": APP}) as site:
            while b"Listening at" not in (line := sock.recv(65536)):
                pass
            assert b"gunicorn.web.error" in line
            got = []
            thread = threading.Thread(target=lambda: got.append(site.get("/x").status))
            thread.start()
            while b"GET /x" not in (line := sock.recv(65536)):
                pass
            thread.join()
            assert b"gunicorn.web.access" in line and got == [200]


def test_the_library_writes_where_nobody_asks_for_logging(tmp_path):
    access = tmp_path / "access.log"
    with Gateway(
        tmp_path, "--access-logfile", str(access), "--log-level", "debug", "logs:app", files={"logs.py": APP}
    ) as site:
        site.ready().get("/x")
        wait_for("a line", lambda: access.exists() and '"GET /x HTTP/1.1" 200 4' in access.read_text())


def test_serve_takes_a_logger_and_a_function(tmp_path):
    for number, log in enumerate(
        ("logging.getLogger('mine')", "lambda *record: print(*record, sep='|', flush=True)")
    ):
        path = tmp_path / str(number)
        path.mkdir()
        code = f"""
            import logging, sys, gateway
            logging.basicConfig(level=logging.INFO, format="%(name)s|%(message)s", stream=sys.stdout)

            def app(environ, start_response):
                start_response("200 OK", [])
                return [b"ok"]

            gateway.serve(app, bind="127.0.0.1:" + sys.argv[1], workers=1, log={log})
            print("over")
        """
        site = Gateway(path, bind=False, files={"lib.py": code}, program=["/bin/true"])
        site.wait()
        port = site.port
        site.discard()
        with Gateway(path, str(port), bind=False, program=[sys.executable, str(path / "lib.py")]) as site:
            site.expect_log("Listening at: ")
            assert ("mine|Listening at" in site.log()) is (number == 0)
            assert ("3|arbiter|Listening at" in site.log()) is (number == 1)
            site.address = ("127.0.0.1", port)
            assert site.get("/").text == "ok"
            assert site.stop() == 0
            assert site.log().rstrip().endswith("over")


def test_gunicorns_own_logger_class_works(tmp_path):
    files = {
        "logs.py": APP,
        "theirs.py": "from gunicorn.glogging import Logger\nclass Theirs(Logger):\n    pass\n",
        "gunicorn.conf.py": "logger_class = 'theirs.Theirs'\nerrorlog = 'error.log'\naccesslog = 'access.log'\n",
    }
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    with Gateway(tmp_path, "logs:app", files=files) as site:
        wait_for("a worker", lambda: error.exists() and "Booting worker" in error.read_text())
        assert site.get("/x?y").body == b"four"
        wait_for("a line", lambda: '"GET /x?y HTTP/1.1" 200 4 "-"' in access.read_text())
        assert "Error in" not in error.read_text()


def test_output_is_captured_where_that_is_asked_for(tmp_path):
    code = "print('printed at import', flush=True)\nfrom myapp import app\n"
    log = tmp_path / "error.log"
    args = ("--capture-output", "--log-file", str(log), "prints:app")
    with Gateway(tmp_path, *args, files={"prints.py": code}) as site:
        wait_for("the output", lambda: log.exists() and "printed at import" in log.read_text())
        assert "printed" not in site.log()
