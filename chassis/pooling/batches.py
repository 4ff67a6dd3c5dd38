"""Batches: a write of many rows goes a batch at a time, for as long as its call has time (docs/decisions/0066).

One statement for all of them fails at the query timeout where they are many: on MongoDB half done, on MySQL rolled
back, and the next call no better. Batches are short, each is acknowledged, and what they changed is known at any time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Final, NamedTuple

from chassis.context import deadline
from chassis.errors import Aborted, DeadlineExceeded, ResourceExhausted, ServiceError, Unavailable
from chassis.logs import logging

# The part of a call's time that is left for its answer to arrive: so many seconds, or a quarter if that is less.
ANSWER_SECONDS: Final = 1.0
# A batch begins only where there is time for so many of the slowest one until then.
_MARGIN: Final = 2
# Rows of the first batch, and how long a batch takes that may grow, or must shrink.
FIRST: Final = 250
QUICK_SECONDS: Final = 0.25
SLOW_SECONDS: Final = 1.0
# Errors that pass: whoever calls again goes on where this call ended.
_PASSING: Final = (Unavailable, DeadlineExceeded, ResourceExhausted, Aborted)

log = logging.get(__name__)


class Batch(NamedTuple):
    """The outcome of one batch: how many rows changed, and whether it was the last one."""

    changed: int
    is_last: bool


Batches = AsyncGenerator[Batch, None]


class Pace:
    """The size of the next batch: small at first, larger while batches are quick, and smaller where they are slow.

    So the first batch ends in time also on a database that does much else.
    """

    def __init__(self, most: int) -> None:
        self.size = self._least = min(FIRST, most)
        self._most = most
        self._begun = monotonic()

    def step(self) -> None:
        """Choose the size anew, when a batch has ended and the next one is about to begin."""
        took, self._begun = monotonic() - self._begun, monotonic()
        if took < QUICK_SECONDS:
            self.size = min(self._most, self.size * 2)
        elif took > SLOW_SECONDS:
            self.size = max(self._least, self.size // 2)


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write: how many rows changed, and whether more may be left (``incomplete``)."""

    changed: int
    incomplete: bool = False


async def write(batches: Batches, stopping: Callable[[], bool] = lambda: False) -> Written:
    """Carry out batches to the last one, or for as long as the caller's deadline and ``stopping`` allow.

    A batch that fails after others have changed rows ends the write as if time were up, because its error would hide
    what was done. Rows that such a batch has changed all the same are not counted. Raises the error of a batch where
    nothing was changed before it.
    """
    changed = 0
    left = deadline.remaining()
    with nullcontext() if left is None else deadline.within(left - min(ANSWER_SECONDS, left / 4)):
        try:
            async with aclosing(_timely(batches, stopping)) as timely:
                async for batch in timely:
                    changed += batch.changed
                    if batch.is_last:
                        return Written(changed)
        except _PASSING as error:
            if not changed:
                raise
            _tell(error, changed)
    return Written(changed, incomplete=True)


async def _timely(batches: Batches, stopping: Callable[[], bool]) -> Batches:
    """Yield batches while there is time for another one."""
    slowest, begun = 0.0, monotonic()
    async with aclosing(batches):
        async for batch in batches:
            slowest = max(slowest, monotonic() - begun)
            yield batch
            left = deadline.remaining()
            if stopping() or (left is not None and left < _MARGIN * slowest):
                return
            begun = monotonic()


def _tell(error: ServiceError, changed: int) -> None:
    log.warning("a write of many rows ended early", reason=error.reason, changed=changed)
