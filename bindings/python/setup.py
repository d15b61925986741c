"""What pyproject.toml cannot say: the extension, the library beside it, and what an sdist has of that.

The library is `libgateway.so` of the directory GATEWAY_LIBRARY_DIR, or else cargo builds it.
GATEWAY_ABI3=0 builds for one version of CPython where one build would do for all (3.12 and later):
a little faster.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
# The library's sources: an sdist brings them.
BROUGHT = HERE / "libgateway"
CRATE = BROUGHT if BROUGHT.exists() else HERE.parents[1]
SONAME = "libgateway.so.0"
ABI3 = (
    sys.version_info >= (3, 12)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")     # no stable ABI there yet
    and os.environ.get("GATEWAY_ABI3") != "0"
)


def version():
    [number] = re.findall(r'^version = "(.*)"', (CRATE / "Cargo.toml").read_text(), re.MULTILINE)
    return number


class Build(build_ext):
    """The extension, and the library beside it, where it is found at run time."""

    def run(self):
        library = self.library()
        for extension in self.extensions:
            extension.extra_objects = [str(library)]
        super().run()
        beside = Path(self.get_ext_fullpath("gateway._gateway")).with_name(SONAME)
        shutil.copyfile(library, beside)
        beside.chmod(0o755)
        if not self.debug:
            subprocess.run(["strip", beside], check=True)

    def library(self):
        if directory := os.environ.get("GATEWAY_LIBRARY_DIR"):
            return Path(directory, "libgateway.so").resolve(strict=True)
        if shutil.which("cargo") is None:
            sys.exit(
                "libgateway is written in Rust, and there is no cargo here.  Install Rust "
                "(https://rustup.rs), or build the library elsewhere and say with GATEWAY_LIBRARY_DIR "
                "where it is."
            )
        target = Path(self.build_temp, "cargo") if CRATE == BROUGHT else CRATE / "target"
        target = Path(os.environ.get("CARGO_TARGET_DIR") or target).resolve()
        subprocess.run(
            ["cargo", "rustc", "--release", "--lib", "--crate-type", "cdylib"],
            cwd=CRATE, env={**os.environ, "CARGO_TARGET_DIR": str(target)}, check=True,
        )
        return target / "release/libgateway.so"


class Wheel(bdist_wheel):
    def finalize_options(self):
        if ABI3:
            self.py_limited_api = "cp312"
        super().finalize_options()


class Source(sdist):
    """With the library's sources, but not with the tests, programs and benchmarks around them."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        into = Path(base_dir, "libgateway")
        into.mkdir()
        for name in ("Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "build.rs"):
            shutil.copyfile(CRATE / name, into / name)
        for name in ("build", "include", "src"):
            shutil.copytree(CRATE / name, into / name)
        (into / "Cargo.toml").write_text(self.manifest_alone())

    @staticmethod
    def manifest_alone():
        """The manifest without what is left out; its own workspace, wherever it is unpacked."""
        tables = re.split(r"^(?=\[)", (CRATE / "Cargo.toml").read_text(), flags=re.MULTILINE)
        left_out = ("[workspace]", "[dev-dependencies]", "[[test]]", "[[bench]]")
        return "".join(table for table in tables if not table.startswith(left_out)) + "\n[workspace]\n"


setup(
    version=version(),
    ext_modules=[
        Extension(
            "gateway._gateway",
            sources=sorted(str(path.relative_to(HERE)) for path in HERE.glob("src/*.c")),
            include_dirs=[str(CRATE / "include")],
            define_macros=[("_GNU_SOURCE", None)] + [("Py_LIMITED_API", "0x030c0000")] * ABI3,
            extra_compile_args=["-std=c11", "-fvisibility=hidden", "-fexceptions", "-g0"],
            extra_link_args=["-Wl,-rpath,$ORIGIN", "-Wl,--strip-all"],
            py_limited_api=ABI3,
        )
    ],
    cmdclass={"build_ext": Build, "bdist_wheel": Wheel, "sdist": Source},
)
