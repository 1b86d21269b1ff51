"""All benchmarks: `python -m benchmarks [--data DIR] [--model M] [--limit N]`."""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import cost, invariants, retrieval


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--model")
    parser.add_argument("--limit")
    given = vars(parser.parse_args(argv))
    options = [text for name, value in given.items() if value for text in (f"--{name}", value)]
    codes: list[int] = [command.main(options) for command in (invariants, retrieval, cost)]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
