"""libgateway for other machines: its unit tests, its library, and C programs that use it.

Run by `make test-cross`, on x86-64: what is built for aarch64 runs in qemu's user mode, and what is
built for musl runs as it is.  qemu has a thread of its own in the process, which the arbiter
rightly refuses to fork; there the server runs in a foreign loop, and arbiters are tested on musl.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60  # seconds, for a server to answer and for a program to end
CARGO = os.environ.get("CARGO", "cargo")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude"]

AARCH64 = "aarch64-unknown-linux-gnu"
MUSL = "x86_64-unknown-linux-musl"


def run(*command, **options):
    """What a command prints; the end of everything when it fails."""
    print("+", *command, flush=True)
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **options)
    if ended.returncode != 0:
        sys.exit(f"{ended.stdout}\n{command[0]} ended with {ended.returncode}")
    return ended.stdout


def check(holds, *what):
    if not holds:
        sys.exit(" ".join(["not so:", *map(str, what)]))


def cargo(*arguments, target, linker, runner, skip=()):
    """cargo for another machine; unit tests but for those whose names are in `skip`."""
    name = target.upper().replace("-", "_")
    settings = {f"CARGO_TARGET_{name}_LINKER": linker, f"CARGO_TARGET_{name}_RUNNER": runner}
    environment = os.environ | {key: value for key, value in settings.items() if value}
    skipped = [word for name in skip for word in ("--skip", name)]
    rest = ["--", *skipped] if skipped else []
    return run(CARGO, *arguments, "--lib", "--target", target, *rest, env=environment)


def tested(said, target):
    """Tests were run, and cargo would have said it had one failed."""
    counts = [int(line.split()[3]) for line in said.splitlines() if line.startswith("test result:")]
    check(sum(counts) > 100, "unit tests passed on", target, counts)
    print(f"{target}: {sum(counts)} unit tests passed", flush=True)


def serves(command, ready, stdin=None):
    """A server that is started, asked once, and stopped; `ready` is what it answers with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
    server = subprocess.Popen([part.format(address) for part in command], stdin=stdin)
    try:
        deadline = time.monotonic() + PATIENCE
        answer = ""
        while ready not in answer:
            check(server.poll() is None, command, "ended with", server.returncode)
            check(time.monotonic() < deadline, command, "answers", repr(answer))
            curl = ["curl", "-si", "--max-time", "5", f"http://{address}/"]
            answer = subprocess.run(curl, stdout=subprocess.PIPE, text=True, check=False).stdout
            time.sleep(0.05)
        check(answer.startswith("HTTP/1.1 200 OK\n"), repr(answer))
        if stdin:
            server.stdin.close()
        else:
            server.send_signal(signal.SIGTERM)
        check(server.wait(PATIENCE) == 0, command, "ended with", server.returncode)
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        server.wait()


def aarch64():
    linker, emulator = "aarch64-linux-gnu-gcc", ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    tools = {"target": AARCH64, "linker": linker, "runner": " ".join(emulator)}
    # Programs that the emulator starts are not what they seem to be, and it knows nothing of a
    # listener's queue (TCP_INFO).
    skip = ["sys::exec::", "a_socket_is_told", "clients_that_always_come_again"]
    tested(cargo("test", skip=skip, **tools), AARCH64)
    cargo("build", **tools)

    built = TARGET / AARCH64 / "debug"
    out = TARGET / "cross" / AARCH64
    out.mkdir(parents=True, exist_ok=True)
    soname = out / "libgateway.so.0"
    soname.unlink(missing_ok=True)
    soname.symlink_to((built / "libgateway.so").resolve())
    elf = run("readelf", "-hdW", str(soname))
    for part in ["AArch64", "ELF64", "[libgateway.so.0]", "NODELETE"]:
        check(part in elf, part, "is in", elf)

    run(linker, *STRICT, "-c", "-o", str(out / "layout.o"), "tests/abi/layout.c")
    emulator += ["-E", f"LD_LIBRARY_PATH={out}"]
    for source in ["tests/abi/uses.c", "examples/embed.c"]:
        program = str(out / Path(source).stem)
        run(linker, *STRICT, "-o", program, source, str(soname), "-pthread")
        if source.startswith("tests"):
            check(run(*emulator, program, timeout=PATIENCE) == "ok\n", source, "on", AARCH64)
    serves([*emulator, program, "{}"], "0 lines on stdin", stdin=subprocess.PIPE)


def musl():
    linker = "musl-gcc"
    # rustc links for musl by itself: it brings musl's libc.
    tools = {"target": MUSL, "linker": None, "runner": None}
    tested(cargo("test", **tools), MUSL)
    cargo("build", **tools)

    built = TARGET / MUSL / "debug"
    out = TARGET / "cross" / MUSL
    out.mkdir(parents=True, exist_ok=True)
    run(linker, *STRICT, "-c", "-o", str(out / "layout.o"), "tests/abi/layout.c")
    # gcc's own libgcc_eh wants glibc; what takes its place comes with Rust.
    sysroot = Path(run("rustc", "--print", "sysroot").strip())
    unwind = sysroot / "lib/rustlib" / MUSL / "lib/self-contained"
    libs = [str(built / "libgateway.a"), "-nodefaultlibs", f"-L{unwind}", "-lunwind", "-lc"]
    for source in ["tests/abi/uses.c", "tests/abi/misuse.c", "examples/hello.c"]:
        program = str(out / Path(source).stem)
        run(linker, *STRICT, "-static", "-o", program, source, *libs)
        elf = run("readelf", "-ldW", program)
        check("NEEDED" not in elf and "INTERP" not in elf, program, "is static:", elf)
        if source.startswith("tests"):
            check(run(program, timeout=PATIENCE) == "ok\n", source, "on", MUSL)
    serves([program, "{}", "2"], "hello, world\n")


if __name__ == "__main__":
    aarch64()
    musl()
    print("cross: ok")
