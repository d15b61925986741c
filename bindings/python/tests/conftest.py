"""Fixtures: see harness.py."""

import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
for path in (HERE, os.path.dirname(HERE)):
    if path not in sys.path:
        sys.path.insert(0, path)

import harness
import nginx as nginx_

# Who runs the tests in the background of a shell ignores Ctrl-C, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = ("test_wheels.py", "test_django.py")

# So many tests may pass only when they are run again (--reruns): more of them are no accident.
FORGIVEN = 3


def pytest_collection_modifyitems(items):
    """Those that build the library, and Django's own, come first: they run beside all others (-n)."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and len(reporter.stats.get("rerun", [])) > FORGIVEN:
        reporter.write_line(f"more than {FORGIVEN} tests were run again")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def sites():
    """A function that starts servers; all are stopped in the end, and their logs are looked at."""
    started = []

    def start(app, kind="serve", **options):
        started.append(harness.Site(app, kind, **options))
        return started[-1]

    yield start
    problems = []
    for site in started:
        try:
            if not site.checked:
                site.stop()
        except AssertionError as problem:
            problems.append(str(problem))
        finally:
            site.discard()
    if problems:
        raise harness.Afterwards("\n".join(problems))


serve = pytest.fixture(sites, name="serve")
serve_module = pytest.fixture(sites, scope="module", name="serve_module")
nginx = pytest.fixture(nginx_.servers, name="nginx")
nginx_module = pytest.fixture(nginx_.servers, scope="module", name="nginx_module")
