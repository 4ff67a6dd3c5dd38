"""The gate of a pool: a semaphore with as many places as the pool has connections.

Whoever has a place finds a free connection, so nobody waits inside the driver, where a cancellation at the wrong moment
breaks the pool (docs/decisions/0056). Here a caller may stop waiting at any time. And where a pool stays full, callers
get ``PoolFull``, not the error of a database that is away; unless it is away, and the pool is full of those who look
for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from chassis.context import deadline
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable, PoolFull, ServiceError


class PoolGate:
    """Admits ``size`` callers at once; the others wait in the order in which they came.

    For metrics: ``limit``, ``inside``, ``waiting`` and ``timeouts`` (callers that waited in vain so far).
    """

    def __init__(self, size: int, patience: float, is_away: Callable[[], bool] = lambda: False) -> None:
        """``patience``: seconds that a caller waits at most.

        ``is_away``: says whether those inside wait for the database itself, with no way to it.
        """
        self.limit: Final = size
        self.inside = self.timeouts = 0
        self._patience = patience
        self._is_away = is_away
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """The number of callers that wait."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def enter(self) -> None:
        """Take a place, and wait for one if none is free; ``leave`` must be called afterwards.

        Raises PoolFull after ``patience``, DatabaseUnavailable where the database is away then, or CallDeadlineExceeded
        where the call has less time left than that.
        """
        if self.inside < self.limit:
            self.inside += 1
        else:
            await self._wait()

    def leave(self) -> None:
        """Give a place back, or hand it to the caller that has waited longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.inside -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for as long as the context lasts; errors as ``enter``."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        left = deadline.timeout(self._patience)
        timer = loop.call_later(left, self._give_up, waiter, left < self._patience)
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # The place came in the same turn of the loop as the cancellation.
                self.leave()
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiter: asyncio.Future[None], call_ends: bool) -> None:
        if not waiter.done():
            self.timeouts += 1
            waiter.set_exception(CallDeadlineExceeded() if call_ends else self._in_vain())

    def _in_vain(self) -> ServiceError:
        return DatabaseUnavailable() if self._is_away() else PoolFull()
