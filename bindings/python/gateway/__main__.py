"""python -m gateway, and the program `gateway`."""

import sys


def main() -> int:
    """The status to exit with."""
    from .command import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
