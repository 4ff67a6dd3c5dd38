"""Waiting for what another process does, with a limit and a word on what was there in its place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


def wait_for(found: Callable[[], Found | None], missing: Callable[[], Exception], seconds: float) -> Found:
    """Return what is found as soon as that is something. Raises ``missing()`` after ``seconds``."""
    ends_at = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while (something := found()) is None:
        left = ends_at - time.monotonic()
        if left <= 0:
            raise missing()
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return something
