"""`python -m tests.reliability.served PACKAGE`: serves as the command does, with what the suite needs of a process.

SIGUSR2 writes how many tasks there are to the file TASKS_FILE. CLOCK_AHEAD_SECONDS puts its clock ahead; WITHOUT_GUARD
takes one guard away (tests/reliability/mutants.py), so that the checks have something to find.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import chassis.clock


def main() -> None:
    """Serve."""
    ahead = timedelta(seconds=float(os.environ.get("CLOCK_AHEAD_SECONDS", "0")))
    if ahead:
        # Before any module takes the name for its own.
        chassis.clock.utc_now = lambda: datetime.now(UTC) + ahead
    package = sys.argv.pop(1)
    if guard := os.environ.get("WITHOUT_GUARD"):
        from tests.reliability.mutants import MUTANTS

        MUTANTS[guard].remove()
    signal.signal(signal.SIGUSR2, _tell_tasks)
    importlib.import_module(f"{package}.cli").main()


def _tell_tasks(*_: object) -> None:
    path = Path(os.environ["TASKS_FILE"])
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(str(len(asyncio.all_tasks())))
    unfinished.rename(path)


if __name__ == "__main__":
    main()
