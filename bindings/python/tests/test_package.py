"""What the package is made of."""

import re
import subprocess
import sys
from pathlib import Path

import gateway

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]


def test_the_version_is_the_librarys():
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert gateway.__version__ == version


def test_all_that_is_public_is_there_and_documented():
    for name in gateway.__all__:
        assert getattr(gateway, name).__doc__, name


def test_the_stubs_say_what_is_there(tmp_path):
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nfollow_imports = silent\nignore_missing_imports = True\n")
    stubtest = [sys.executable, "-m", "mypy.stubtest", "gateway._gateway", "--mypy-config-file", settings]
    said = subprocess.run(stubtest, check=False, cwd=PACKAGE, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
