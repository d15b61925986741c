"""Kinds of workers of somebody's own, and what goes wrong in them."""

import harness
import pytest


@pytest.mark.parametrize("kind", ["Polling", "Late"])
def test_a_kind_of_ones_own(serve, kind):
    site = serve("apps.loops:wsgi", worker=f"apps.kinds:{kind}", workers=2)
    assert site.get("/").body == b"Hello, World!"
    assert site.stop() == 0
    harness.wait_for("the end of both", lambda: site.notes().count("stopped") == 2)
    assert site.notes().count("setup") == site.notes().count("start") == 2


@pytest.mark.parametrize(
    ("kind", "status", "log"),
    [
        ("FailsToStart", 3, "RuntimeError: no start"),
        ("Refuses", 3, "this machine is too small"),
        ("NoApplication", 4, "TypeError: not this application"),
    ],
)
def test_a_kind_that_does_not_start(serve, kind, status, log):
    site = serve("apps.loops:wsgi", worker=f"apps.kinds:{kind}")
    assert site.wait() == status
    site.expect_log(log)


@pytest.mark.parametrize("kind", ["asyncio", "gevent", "tornado"])
def test_a_loop_without_an_arbiter(serve, kind):
    site = serve("apps.loops:wsgi", worker=kind, worker_model="inline")
    assert site.get("/").body == b"Hello, World!"
    assert site.stop() == 0


def test_a_loop_that_fails_ends_its_worker_and_another_is_started(serve):
    site = serve("apps.loops:wsgi", worker="apps.kinds:FailsOnce")
    site.expect_log("RuntimeError: the loop has failed")
    assert site.get("/").body == b"Hello, World!"


def test_the_server_of_a_worker_is_not_closed_by_it(serve):
    site = serve("apps.loops:wsgi", worker="apps.kinds:Closes")
    site.expect_note("the server of a worker is closed by its end: see shutdown()")
    assert site.get("/").status == 200
