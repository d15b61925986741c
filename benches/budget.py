#!/usr/bin/env python3
"""Does a request cost more than benches/budget.toml allows?  `--renew` writes what it costs now.

Instructions and system calls are counted, never time.  Instructions are compared where they can
be: on the architecture of the budget, and with AVX2, by which libgateway chooses its routines.
"""

import argparse
import os
import platform
import re
import sys
import tempfile
import tomllib
from pathlib import Path

import count
from ask import SCENARIOS
from servers import Programs, Server, first_number

BUDGET = Path(__file__).parent / "budget.toml"
ABOVE = 1.03
BELOW = 0.90


def here():
    return {
        "architecture": platform.machine(),
        "rustc": first_number(["rustc", "--version"]),
        "libc": " ".join(platform.libc_ver()),
    }


def comparable(counted):
    """Why instructions cannot be compared on this machine, or nothing."""
    if platform.machine() != counted["architecture"]:
        return f"this is {platform.machine()}, the budget is of {counted['architecture']}"
    if " avx2 " not in Path("/proc/cpuinfo").read_text().replace("\n", " "):
        return "this CPU has no AVX2, the budget's has"
    return None


def measure(servers, name):
    """{"instructions": per request, "system_calls": per request}"""
    make = servers.makers["libgateway"]
    env = os.environ | {"GLIBC_TUNABLES": count.BASELINE}
    with Server("libgateway", make) as server:
        calls = count.syscalls(server, SCENARIOS[name])
    found = count.instructions("libgateway", make, SCENARIOS[name], env)
    if calls is None or found is None:
        sys.exit("budget: strace and valgrind must be here, and strace allowed: make setup")
    return {"instructions": found, "system_calls": sum(calls.values())}


def written(what, value):
    return f"{value:.0f}" if what == "instructions" else f"{value:.3f}"


def judge(name, what, value, limits):
    """One line for people, and whether it is within the budget."""
    budget = limits["budget"]
    line = f"  {name:9} {what:13} {written(what, value):>7}   budget {written(what, budget):>7}"
    line += f"   {(value / budget - 1) * 100:+6.1f} %"
    if "goal" in limits and value > limits["goal"]:
        line += f"   goal {limits['goal']}"
    if value > budget * ABOVE:
        return line + "   TOO MUCH", False
    if value < budget * BELOW:
        line += "   the budget is too generous: make budget"
    return line, True


def renew(found):
    """The file with new budgets; goals and comments stay."""
    section, lines = None, []
    for line in BUDGET.read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif key := re.match(r"(\w+) = ", line):
            if section == "counted":
                line = f'{key[1]} = "{here()[key[1]]}"'
            elif section in found:
                value = written(key[1], found[section][key[1]])
                line = re.sub(r"(budget = )[\d.]+", rf"\g<1>{value}", line)
        lines.append(line)
    BUDGET.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/c"))
    parser.add_argument("--renew", action="store_true", help="write what is measured now")
    args = parser.parse_args()
    budget = tomllib.loads(BUDGET.read_text())
    counted = budget.pop("counted")
    obstacle = comparable(counted)
    if obstacle and args.renew:
        sys.exit(f"budget: not written: {obstacle}")

    found, over = {}, False
    print("counts per request, libgateway:")
    with tempfile.TemporaryDirectory() as where:
        servers = Programs(args.programs, Path("none"), Path(where))
        for name, limits in budget.items():
            found[name] = measure(servers, name)
            for what, value in found[name].items():
                if what == "instructions" and obstacle:
                    continue
                line, within = judge(name, what, value, limits[what])
                print(line, flush=True)
                over |= not within
    if args.renew:
        renew(found)
        print(f"written to {BUDGET}: commit it with the reason")
        return
    if obstacle:
        print(f"INSTRUCTIONS NOT CHECKED: {obstacle}")
    if counted != here():
        print(f"counted here with {here()}, in the budget with {counted}")
    if over:
        sys.exit(
            f"budget: a request costs more than {(ABOVE - 1) * 100:.0f} % above {BUDGET}.\n"
            "budget: if that is wanted, `make budget` writes what is measured now."
        )


if __name__ == "__main__":
    main()
