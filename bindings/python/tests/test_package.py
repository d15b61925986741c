"""What the package is made of."""

import re
from pathlib import Path

import gateway

ROOT = Path(__file__).resolve().parents[3]


def test_the_version_is_the_librarys():
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert gateway.__version__ == version


def test_all_that_is_public_is_there_and_documented():
    for name in gateway.__all__:
        assert getattr(gateway, name).__doc__, name
