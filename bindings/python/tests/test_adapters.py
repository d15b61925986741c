"""How frameworks start it themselves: bottle.run(), manage.py rungateway."""

import re
import signal
import sys
from pathlib import Path

import harness
import pytest

APPS = Path(harness.HERE, "apps")


@pytest.fixture
def started():
    """Programs of these tests, with the port that they were told; each is stopped, and its log looked at."""
    processes = []

    def start(argv, port, **options):
        process = harness.Process([sys.executable, *argv], **options)
        process.client = harness.Client(("127.0.0.1", port))
        processes.append(process)
        return process

    yield start
    for process in processes:
        try:
            if not process.checked:
                process.stop()
        finally:
            process.discard()


def answers(process, path="/"):
    """The first answer, once it listens."""

    def try_it():
        assert process.alive(), process.log()
        try:
            return process.client.get(path)
        except OSError:
            return None

    return harness.wait_for("an answer", try_it)


# ---- Bottle ----

BOTTLE = """
import bottle
import gateway.bottle
@bottle.get("/")
def index():
    return "bottle " + str(bottle.request.environ["wsgi.multiprocess"])
bottle.run(server="gateway", host="127.0.0.1", port={port}, {more})
"""


@pytest.mark.parametrize(
    "more, said",
    [("", "bottle False"), ("workers=2", "bottle True"), ("quiet=True, threads=2", "bottle False")],
)
def test_bottle_knows_the_server_by_its_name(started, more, said):
    port = harness.free_port()
    process = started(["-c", BOTTLE.format(port=port, more=more)], port)
    assert answers(process).text == said
    assert process.stop() == 0
    assert ("[INFO]" in process.log()) == ("quiet" not in more)


def test_bottle_on_the_command_line(started):
    port = harness.free_port()
    argv = ["-m", "bottle", "--server", "gateway.bottle:GatewayServer", "--bind", f"127.0.0.1:{port}"]
    process = started([*argv, "apps.bottle_site:app"], port)
    assert "A page" in answers(process).text
    assert process.stop() == 0


def test_bottle_reloads(started, tmp_path):
    port = harness.free_port()
    program = tmp_path / "program.py"
    text = BOTTLE.format(port=port, more="reloader=True, interval=0.1")
    program.write_text(text)
    process = started([str(program)], port)
    assert answers(process).text == "bottle False"
    other = tmp_path / "other"
    other.write_text(text.replace('"bottle "', '"another bottle "'))
    other.replace(program)
    harness.wait_for("the other text", lambda: answers(process).text == "another bottle False")
    process.kill(signal.SIGINT)
    process.wait()
    process.checked = True  # bottle's parent says what interrupted it


# ---- Django ----

ENV = {"GATEWAY_TEST_DEBUG": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def manage(*args):
    return [str(APPS / "django_site" / "manage.py"), "rungateway", *args]


@pytest.mark.parametrize(
    "options", [["--noreload"], ["--workers", "2", "--threads", "2", "-o", "keepalive=1s"]]
)
def test_rungateway_serves(started, options):
    port = harness.free_port()
    process = started(manage(f"127.0.0.1:{port}", *options), port, env=ENV)
    assert "A page" in answers(process).text
    assert "color: black" in process.client.get("/static/style.css").text
    assert process.client.get("/static/nothing.css").status == 404
    assert "System check identified no issues" in process.log()
    assert "using settings 'apps.django_site.settings'" in process.log()
    assert process.stop() == 0


def test_rungateway_without_static_files(started):
    port = harness.free_port()
    process = started(manage(str(port), "--noreload", "--nostatic"), port, env=ENV)
    assert "A page" in answers(process).text
    assert process.client.get("/static/style.css").status == 404


def test_rungateway_reloads(started, tmp_path):
    """A project of its own, whose view changes under it."""
    port = harness.free_port()
    text = "from django.http import HttpResponse\nfrom django.urls import path\n"
    text += "urlpatterns = [path('', lambda request: HttpResponse('%s'))]\n"
    urls = tmp_path / "changing_urls.py"
    urls.write_text(text % "before")
    (tmp_path / "changing_settings.py").write_text(
        "from apps.django_site.settings import *\nROOT_URLCONF = 'changing_urls'\nWSGI_APPLICATION = None\n"
    )
    env = {**ENV, "DJANGO_SETTINGS_MODULE": "changing_settings"}
    process = started(manage(f"127.0.0.1:{port}"), port, env=env, path=[tmp_path])
    assert answers(process).text == "before"

    def changed():
        # What changes before Django has looked for the first time is no change; half a file would be its end.
        other = urls.with_suffix(".other")
        other.write_text(text % "behind it")
        other.replace(urls)
        return answers(process).text == "behind it"

    harness.wait_for("the other text", changed)
    process.stop()
    assert (
        re.search("changing_urls.py changed, reloading", process.log())
        or "Watching for file" in process.log()
    )


@pytest.mark.parametrize(
    "args, said",
    [
        (["nowhere:at:all"], "CommandError: 'nowhere:at:all' is not [host:]port, nor unix:/path"),
        (["--noreload", "-o", "no_such=1"], "Error: "),
        (["--noreload", "-o", "keepalive"], "CommandError: -o keepalive: an option is NAME=VALUE"),
        (["--noreload", "192.0.2.1:1"], "Error: "),
    ],
)
def test_rungateway_says_what_is_wrong(started, args, said):
    process = started(manage(*args), 0, env=ENV)
    assert process.wait() == 1
    assert said in process.log()
    assert process.tracebacks() == []


# ---- a server in a thread ----


def test_a_server_in_a_thread(started):
    process = started([str(APPS / "in_thread.py")], 0)
    assert process.wait() == 0, process.log()
    assert "all is well" in process.log()
