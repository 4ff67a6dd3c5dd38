"""How many processes hash at once: by the cores that we may use, and by who else uses them."""

from __future__ import annotations

import os
from typing import Final

# Of a worker's share: connections, and so the sign-ins, are never spread evenly over workers.
SHARES: Final = 2
# More than the event loop of one service can keep at work.
MOST: Final = 64


def processes_for(wanted: int, workers: int = 1) -> int:
    """Return how many processes each of ``workers`` may have: as many as wanted, or for 0 by the cores we may use."""
    cores = _cores()
    # Rounded up.
    return wanted or min(cores, -(-SHARES * cores // workers), MOST)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
