"""Pauses between the attempts to open a shared stream again."""

from __future__ import annotations

import random
from typing import Final

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0


def pause(failures: int) -> float:
    """Return how many seconds to wait after so many failures: doubling, with half of it at random."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secrecy
