"""Django's own tests on libgateway.

django_suite.txt has the names of those that run, and those that are left out, each with its reason;
apps/django_live.py says how they come to libgateway.

The tests are in Django's sdist, which is fetched once, into target/.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import django
import harness
import pytest

SUITE = Path(harness.HERE, "django_suite.txt")
LABELS = """servers wsgi handlers staticfiles_tests.test_liveserver file_storage.tests.FileLikeObjectTestCase
test_client test_client_regress file_uploads.tests.FileUploadTests view_tests.tests.test_static middleware
conditional_processing messages_tests""".split()


@pytest.fixture(scope="module")
def runtests():
    """Django's runtests.py, of the version that is installed."""
    target = Path(harness.HERE).parents[2] / "target" / "django"
    version = django.__version__
    found = target / f"django-{version}" / "tests" / "runtests.py"
    if not found.exists():
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as part:
            argv = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "-d",
                part,
                "--no-deps",
                "--no-binary",
                ":all:",
            ]
            argv += ["--no-build-isolation", f"Django=={version}"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"the sdist of Django is not to be had:\n{done.stderr}"
            [archive] = Path(part).glob("*.tar.gz")
            shutil.unpack_archive(archive, part)
            [unpacked] = (each for each in Path(part).iterdir() if each.is_dir())
            unpacked.rename(found.parents[1])
    return found


def suite():
    """{name: reason} of those that are left out, and the names of those that run."""
    runs, left_out = set(), {}
    for line in SUITE.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            if reason:
                left_out[name] = reason
            else:
                runs.add(name)
    return runs, left_out


def outcomes(log):
    """{name: "ok" or what else} by the report of unittest, which has names whole from CPython 3.11 on."""
    found = {}
    start = r"(?:^|(?<= \.\.\. ))"  # one that failed may have left its line open
    for match in re.finditer(
        start + r"(\w+) \((\S+)\)(?:\n(?!\w+ \().*?)?? \.\.\. (ok|FAIL|ERROR|skipped)?", log, re.MULTILINE
    ):
        name = f"{match[2].removesuffix('.' + match[1])}.{match[1]}"
        found[name] = match[3] or "ERROR"
    return found


def test_djangos_tests(runtests):
    argv = [
        sys.executable,
        str(harness.HERE / "apps" / "django_live.py"),
        str(runtests),
        "--parallel",
        "1",
        "-v",
        "2",
    ]
    process = harness.Process([*argv, *LABELS])
    try:
        process.wait(120)
        log = process.log()
    finally:
        process.discard()
    runs, left_out = suite()
    found = outcomes(log)
    assert len(found) > 400, log
    wrong = {name for name, outcome in found.items() if outcome != "ok"}
    assert wrong <= set(left_out), log
    assert wrong == set(left_out), f"left out, and do by now: {set(left_out) - wrong}"
    assert runs <= set(found), f"not there: {runs - set(found)}"
    by_wire, without = re.search(r"requests of Client: {'by wire': (\d+), 'without': (\d+)}", log).groups()
    assert int(by_wire) > 500 and int(without) < 20, log


def write():
    """Print django_suite.txt anew, with the reasons that it has: python test_django.py LOG"""
    _, left_out = suite() if SUITE.exists() else (set(), {})
    for name, outcome in sorted(outcomes(Path(sys.argv[1]).read_text()).items()):
        print(name if outcome == "ok" else f"{name}: {left_out.get(name, '?')}")


if __name__ == "__main__":
    write()
