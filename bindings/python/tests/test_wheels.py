"""What is installed elsewhere: an sdist, and wheels that serve on each CPython that this machine has.

A wheel is built from the sdist with the library that was built before (GATEWAY_LIBRARY_DIR, or
target/c), installed in a fresh venv, and serves where there is no compiler and no path to anything.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from harness import DEADLINE, Client, Process, listens, wait_for

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
LIBRARY = os.environ.get("GATEWAY_LIBRARY_DIR") or str(TARGET / "c")
VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"]
ABI3 = (3, 12)

SERVES = """
import os, sys
import gateway

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Coffee", "caf\\xe9")])
    return [environ["wsgi.input"].read(), b" from ", sys.version.split()[0].encode()]

if __name__ == "__main__":
    gateway.serve(app, bind=f"unix:{sys.argv[1]}", workers=1)
"""


def interpreter(version):
    """CPython of the version, with its headers; the system's before pyenv's."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [*pyenv.glob(f"versions/{version.rstrip('t')}.*{'t' * version.endswith('t')}/bin/{name}")]
    for path in [Path("/usr/bin", name), Path("/usr/local/bin", name), *sorted(found, reverse=True)]:
        asked = "import sysconfig; print(sysconfig.get_path('include'))"
        if path.exists() and Path(run(path, "-c", asked).strip(), "Python.h").exists():
            return path
    pytest.skip(f"no CPython {version} with headers on this machine: untested")


def run(*argv, cwd=None, **environ):
    """What it says; it finds nothing of this tree by accident."""
    env = {**os.environ, "PYTHONPATH": "", **environ}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=env, cwd=cwd)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(python, what, source, into, **environ):
    """The backend's hook, in another interpreter, with the setuptools of this one."""
    import setuptools

    hook = f"from setuptools import build_meta as b; print(b.build_{what}({str(into)!r}))"
    environ["PYTHONPATH"] = str(Path(setuptools.__file__).parents[1])
    return into / run(python, "-c", hook, cwd=source, **environ).splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist, unpacked."""
    there = tmp_path_factory.mktemp("sdist")
    # The backend leaves its notes beside the sources.
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "build", "*.egg-info")
    shutil.copytree(PACKAGE, there / "bindings/python", ignore=ignored)
    for name in ("build", "include", "src"):
        shutil.copytree(ROOT / name, there / name)
    for name in ("Cargo.toml", "Cargo.lock", "build.rs", "README.md", "LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copyfile(ROOT / name, there / name)
    made = build(sys.executable, "sdist", there / "bindings/python", there)
    with tarfile.open(made) as archive:
        archive.extractall(there / "unpacked")
    [tree] = (there / "unpacked").iterdir()
    return tree


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """A function from a version to its wheel."""
    made = {}

    def make(version):
        if version not in made:
            python = interpreter(version)
            there = tmp_path_factory.mktemp("wheel")
            # Each from a tree of its own: what one has compiled is not for another.
            tree = shutil.copytree(sdist, there / "tree")
            made[version] = build(python, "wheel", tree, there, GATEWAY_LIBRARY_DIR=LIBRARY)
        return made[version]

    return make


def installed(python, wheel, there):
    """A venv that has the wheel, and no more."""
    venv = there / "venv"
    run(python, "-m", "venv", "--without-pip", venv)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin/python"]
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    return venv


def answers(site, socket):
    """What a server at the socket answers, when it listens."""
    wait_for(f"{socket}", lambda: listens(socket) or not site.alive(), DEADLINE)
    assert site.alive(), site.log()
    with Client(str(socket)).connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        return wire.answer()


def serves(python, wheel, there):
    """Whether a program with nothing but the wheel answers, and ends when it is told to."""
    venv = installed(python, wheel, there)
    program, socket = there / "serves.py", there / "socket"
    program.write_text(SERVES)
    bare = {"PATH": "/nonexistent", "PYTHONPATH": "", "LD_LIBRARY_PATH": ""}
    site = Process([str(venv / "bin/python"), "-E", str(program), str(socket)], env=bare, cwd=there)
    try:
        answer = answers(site, socket)
        asked = run(python, "-c", "import sys; print(sys.version.split()[0])").strip()
        assert (answer.status, answer.text, answer["X-Coffee"]) == (200, f"hello from {asked}", "caf\xe9")
        loaded = Path(f"/proc/{site.pid}/maps").read_text()
        assert re.findall(r"\S+/libgateway\.so\.0", loaded)[0].startswith(str(venv)), loaded
        assert site.stop(signal.SIGTERM) == 0
    finally:
        site.discard()


def test_a_wheel_has_the_program(wheel, tmp_path):
    python = interpreter("3.11")
    venv = installed(python, wheel("3.11"), tmp_path)
    (tmp_path / "hello.py").write_text(SERVES)
    program = [str(venv / "bin/gateway"), "hello:app", "-b", f"unix:{tmp_path}/socket"]
    site = Process(program, cwd=tmp_path, env={"PYTHONPATH": ""})
    try:
        assert answers(site, tmp_path / "socket").status == 200
        assert site.stop(signal.SIGTERM) == 0
    finally:
        site.discard()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wheel_serves_with_nothing_else(version, wheel, tmp_path):
    serves(interpreter(version), wheel(version), tmp_path)


def test_a_wheel_of_the_stable_abi_serves_on_later_versions(wheel, tmp_path):
    oldest = wheel("3.12")
    assert "-cp312-abi3-" in oldest.name
    serves(interpreter("3.13"), oldest, tmp_path)


def test_a_wheel_has_what_it_needs_and_no_more(wheel, tmp_path):
    made = wheel("3.11")
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    [extension] = (name for name in names if re.fullmatch(r"gateway/_gateway\..*\.so", name))
    for name in ("__init__.py", "py.typed", "_gateway.pyi", "libgateway.so.0"):
        assert f"gateway/{name}" in names
    assert not [name for name in names if not name.startswith(("gateway/", "libgateway-"))], names
    for name in (extension, "gateway/libgateway.so.0"):
        assert ".debug_info" not in run("readelf", "-SW", tmp_path / name), f"{name} is stripped"
    assert "$ORIGIN" in run("readelf", "-d", tmp_path / extension)
    # No symbol of a glibc, and no library, that manylinux does not name.
    shown = run(sys.executable, "-m", "auditwheel", "show", made)
    assert re.search(r'platform\s+tag:\s+"manylinux_2_\d+_', shown), shown


def test_an_sdist_has_the_librarys_sources_and_not_the_rest(sdist):
    names = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    for name in ("setup.py", "src/wsgi.h", "src/compat.h", "gateway/py.typed", "LICENSE-MIT",
                 "libgateway/Cargo.lock", "libgateway/include/gateway.h", "libgateway/src/lib.rs"):
        assert name in names, name
    for path in PACKAGE.glob("gateway/**/*.py*"):
        assert path.suffix == ".pyc" or str(path.relative_to(PACKAGE)) in names, path
    left_out = ("tests/", "libgateway/tests/", "libgateway/benches/")
    assert not [name for name in names if name.startswith(left_out)]
    tables = re.findall(r"^\[.*\]$", (sdist / "libgateway/Cargo.toml").read_text(), re.MULTILINE)
    assert tables.count("[workspace]") == 1 and "[[test]]" not in tables and "[dev-dependencies]" not in tables


def test_an_sdist_builds_the_library_with_cargo(sdist, tmp_path):
    # Always in the same place, so that cargo compiles the crates that it needs once.
    tree = TARGET / "python/sdist"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(sdist, tree)
    made = build(
        sys.executable, "wheel", tree, tmp_path,
        GATEWAY_LIBRARY_DIR="",
        CARGO_TARGET_DIR=str(TARGET / "python/cargo"),
        # What takes time, and is the manifest's to say.
        CARGO_PROFILE_RELEASE_OPT_LEVEL="0", CARGO_PROFILE_RELEASE_LTO="off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS="16",
    )
    serves(Path(sys.executable).resolve(), made, tmp_path)


def test_without_rust_and_without_the_library_it_says_what_to_do(sdist, tmp_path):
    tree = shutil.copytree(sdist, tmp_path / "tree")
    with pytest.raises(AssertionError, match="Install Rust .* or build the library elsewhere"):
        build(sys.executable, "wheel", tree, tmp_path, GATEWAY_LIBRARY_DIR="", PATH="/nonexistent")
