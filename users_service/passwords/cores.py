"""The number of hashing processes: by the cores that we may use, and the workers that share them."""

from __future__ import annotations

import os
from typing import Final

# Each worker may use this many times its even share of the cores: sign-ins are never spread evenly over workers.
SHARES: Final = 2
# An upper limit: the event loop of one service cannot keep more of them busy.
MOST: Final = 64


def processes_for(wanted: int, workers: int = 1) -> int:
    """Return how many processes each of ``workers`` may have: ``wanted``, or where that is 0, by the cores."""
    cores = _cores()
    # Rounded up.
    return wanted or min(cores, -(-SHARES * cores // workers), MOST)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
