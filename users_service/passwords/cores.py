"""The number of hashing processes: by the cores that we may use, the workers that share them, and the memory."""

from __future__ import annotations

import os
from typing import Final

# Each worker may use this many times its even share of the cores: sign-ins are never spread evenly over workers.
SHARES: Final = 2
# An upper limit: the event loop of one service cannot keep more of them busy.
MOST: Final = 64


def processes_for(wanted: int, workers: int = 1, *, room: int = MOST) -> int:
    """Return how many processes each of ``workers`` may have: ``wanted``, or where that is 0, by the cores.

    ``room``: as many as the memory of each worker bears.
    """
    cores = _cores()
    # Rounded up.
    return wanted or max(1, min(cores, -(-SHARES * cores // workers), room, MOST))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
