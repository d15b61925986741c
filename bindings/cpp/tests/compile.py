"""What compilers are to make of the headers for C++.

    python3 bindings/cpp/tests/compile.py c++ -Iinclude -Ibindings/cpp/include ...

wrong.cpp must compile, and with each -DWRONG=1 and so on be refused; with options that the headers cannot do with
the compiler says why; what shared objects have in common is seen in all of them.  It ends with 1 where that is not so.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILE = [*sys.argv[1:], "-x", "c++"]
WRONG = Path(__file__).parent / "wrong.cpp"
EVERYTHING = "#include <gateway.hpp>\n"
failures = []


def said(*options, source="-", text=None):
    """What the compiler says that refuses it; None where it takes it."""
    command = [*COMPILE, *options, source]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return None if ended.returncode == 0 else ended.stderr


def expect(what, so):
    if not so:
        failures.append(what)


def check_what_is_refused():
    numbers = [int(it) for it in re.findall(r"^#elif WRONG == (\d+)$", WRONG.read_text(), re.MULTILINE)]
    expect("wrong.cpp has its numbers in order", numbers == list(range(1, len(numbers) + 1)) and numbers)
    for number in [0, *numbers]:
        errors = said("-std=c++17", "-fsyntax-only", f"-DWRONG={number}", source=str(WRONG))
        expect(f"wrong.cpp, {number}: {errors or 'it was taken'}", (errors is None) == (number == 0))


def check_options():
    for option, why in [("-std=c++14", "for C++17 and later"), ("-fno-exceptions", "not with -fno-exceptions")]:
        errors = said("-std=c++17", "-fsyntax-only", option, text=EVERYTHING) or ""
        expect(f"{option}: {errors}", why in errors)
    for option in ["-fno-rtti", "-std=c++20", "-std=c++2b"]:
        errors = said("-std=c++17", "-fsyntax-only", option, text=EVERYTHING)
        expect(f"{option}: {errors}", errors is None)


def check_visibility():
    """An error of one shared object is caught, and compared, in another, also where both hide what is inline."""
    use = (
        EVERYTHING + 'void use() { if (gateway::error(-1).code() == gateway::errc::io) throw gateway::error(-2, ""); }'
    )
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.o"
        errors = said(
            "-std=c++17", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-c", "-o", str(made), text=use
        )
        expect(f"visibility: {errors}", errors is None)
        symbols = subprocess.run(["readelf", "-sW", made], capture_output=True, text=True, check=True).stdout
    for name in ["_ZN7gateway8categoryEv", "_ZTIN7gateway5errorE"]:
        lines = [line for line in symbols.splitlines() if line.endswith(f" {name}")]
        expect(f"{name}: {lines}", lines and all(" DEFAULT " in line for line in lines))


check_what_is_refused()
check_options()
check_visibility()
for failure in failures:
    print(f"compile.py: {failure}", file=sys.stderr)
sys.exit(1 if failures else 0)
