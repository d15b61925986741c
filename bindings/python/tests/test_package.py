"""What the package is made of."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]


def test_the_version_is_the_librarys():
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert gateway.__version__ == version


def test_all_that_is_public_is_there_and_documented():
    for name in gateway.__all__:
        assert getattr(gateway, name).__doc__, name


@pytest.fixture
def mypy(tmp_path):
    """A function that runs it, or a program of its package, with few imports; nothing may be said."""
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nfollow_imports = silent\nignore_missing_imports = True\n")

    def run(program, config, *args):
        argv = [sys.executable, "-m", program, config, settings, *args]
        env = {**os.environ, "MYPYPATH": str(PACKAGE), "MYPY_CACHE_DIR": str(tmp_path)}
        said = subprocess.run(argv, check=False, cwd=PACKAGE, env=env, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr

    return run


def test_the_stubs_say_what_is_there(mypy):
    mypy("mypy.stubtest", "--mypy-config-file", "gateway._gateway")


def test_the_package_is_what_its_annotations_say(mypy):
    mypy("mypy", "--config-file", "gateway")


def test_a_program_with_annotations_agrees(mypy):
    mypy("mypy", "--config-file", "--strict", PACKAGE / "tests/typed.py")


def test_what_the_readme_names_is_there_with_what_it_imports():
    text = (PACKAGE / "README.md").read_text()
    imports = re.findall(r"^ +(import gateway\.workers\..*)$", text, re.MULTILINE)
    names = sorted(set(re.findall(r"\bgateway\.workers(?:\.\w+)+", text)))
    assert imports
    assert names
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import gateway", *imports, *names])],
        check=False, capture_output=True, text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
