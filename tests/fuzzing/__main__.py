"""``script/fault --fuzz``: requests made from descriptors, right, nearly right and hostile, and attacks below them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from script.local.progress import step
from tests.fuzzing import report
from tests.fuzzing.command import fuzz, own_services

CASES = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the cases; return 0 where all holds, 1 where not."""
    options = _parser().parse_args(arguments)
    numbers = range(options.cases) if options.case is None else [options.case]
    with own_services() as there, step(f"Sending {len(numbers):,} cases, seed {options.seed}"):
        results, memory = fuzz(there, numbers, options.seed)
    print("\n".join(report.lines(results, [str(each) for each in memory])))  # noqa: T201 - what the command is for
    return 1 if results.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/fault --fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help=f"how many; default: {CASES:,}")
    parser.add_argument("--seed", type=int, default=1, help="what they are made from; the same seed, the same cases")
    parser.add_argument("--case", type=int, help="only the case of this number")
    return parser


if __name__ == "__main__":
    sys.exit(main())
