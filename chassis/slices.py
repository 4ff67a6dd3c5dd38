"""Slices: work on many items goes a slice at a time, so that other calls have their turn (docs/decisions/0067)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Seconds that a slice holds the event loop. Calls of other kinds take several turns of the loop each.
SLICE_SECONDS: Final = 0.001


class Slices:
    """Works on the items of batches; one for a process, because only one batch is worked on at a time.

    Otherwise each of them would hold the loop for a slice in every turn.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def map(self, convert: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return what ``convert`` makes of each item, in their order. Raises what it raises, and converts no more."""
        done: list[R] = []
        async with self._turn:
            until = monotonic() + SLICE_SECONDS
            for item in items:
                done.append(convert(item))
                if monotonic() >= until:
                    await asyncio.sleep(0)
                    until = monotonic() + SLICE_SECONDS
        return done
