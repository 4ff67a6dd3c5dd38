"""Makes the calls that the outbox holds: at least once each, however long the other side is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, NoReturn

from chassis import logging
from users_service.background import repeat
from users_service.clock import Clock
from users_service.database import Database
from users_service.outbox import repository
from users_service.outbox.model import Entry

# Makes the call of one kind of entry; what it raises means that the call is to be made again.
Handler = Callable[[Entry], Awaitable[object]]

BATCH: Final = 20
# Longer than any handler takes, so that no entry is taken by two relays.
LEASE: Final = timedelta(seconds=60)
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)

log = logging.get("users_service.outbox")


class Relay:
    """Takes due entries by lease, so that several processes share the work, and calls the handler of their kind."""

    def __init__(self, database: Database, handlers: Mapping[str, Handler], clock: Clock, *, poll: timedelta) -> None:
        """``poll``: how often to look for entries that became due, or that another process left."""
        self._database = database
        self._handlers = handlers
        self._clock = clock
        self._poll = poll.total_seconds()
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Look for entries now: one has just been committed."""
        self._due.set()

    async def run(self) -> NoReturn:
        """Relay for ever."""
        await repeat("outbox", self.drain, self._wait)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    async def drain(self) -> None:
        """Make all calls that are due."""
        while entries := await self._lease():
            await asyncio.gather(*(self._make(entry) for entry in entries))

    async def _lease(self) -> list[Entry]:
        now = self._clock()
        return await self._database.transaction(
            lambda connection: repository.lease(connection, now, now + LEASE, BATCH)
        )

    async def _make(self, entry: Entry) -> None:
        try:
            await self._handlers[entry.kind](entry)
        except Exception as error:  # noqa: BLE001 - whatever it was, the call is still to be made
            await self._postpone(entry, error)
            return
        await self._database.transaction(lambda connection: repository.remove(connection, entry))
        log.info("outbox entry done", entry=entry.id, kind=entry.kind, attempts=entry.attempts)

    async def _postpone(self, entry: Entry, error: Exception) -> None:
        pause = backoff(entry.attempts)
        log.warning(
            "outbox entry postponed",
            entry=entry.id,
            kind=entry.kind,
            attempts=entry.attempts,
            error=type(error).__name__,
            seconds=round(pause.total_seconds(), 1),
        )
        until = self._clock() + pause
        await self._database.transaction(lambda connection: repository.postpone(connection, entry, until))


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many failures: doubling up to five minutes, with half of it at random."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(attempts - 1, 16)
    return min(LONGEST_PAUSE, doubled) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
