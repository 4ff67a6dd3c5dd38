"""The relay of the outbox: makes each call at least once, however long the other side is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.background import repeat
from chassis.clock import Clock
from chassis.logs import logging
from users_service.mysql.database import Database
from users_service.outbox import repository
from users_service.outbox.model import OutboxEntry

# Makes the call of one kind of entry; if it raises, the call is made again later.
EntryHandler = Callable[[OutboxEntry], Awaitable[object]]

BATCH: Final = 20
# Longer than any handler takes, so that no entry is taken by two relays.
LEASE: Final = timedelta(seconds=60)
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)

log = logging.get("users_service.outbox")


class Relay:
    """Takes due entries by lease, so that several processes share the work, and calls the handler of their kind."""

    def __init__(
        self, database: Database, handlers: Mapping[str, EntryHandler], clock: Clock, *, poll: timedelta
    ) -> None:
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
        """Make all calls that are due. Where the outcome cannot be recorded, the leases run out and calls repeat."""
        while entries := await self._lease():
            errors = await asyncio.gather(*(self._call(entry) for entry in entries))
            await self._record(entries, errors)

    async def _lease(self) -> list[OutboxEntry]:
        now = self._clock()
        return await self._database.transaction(
            lambda connection: repository.lease(connection, now, now + LEASE, BATCH)
        )

    async def _call(self, entry: OutboxEntry) -> Exception | None:
        try:
            await self._handlers[entry.kind](entry)
        except Exception as error:  # noqa: BLE001 - whatever it was, the call is still to be made
            return error
        return None

    async def _record(self, entries: Sequence[OutboxEntry], errors: Sequence[Exception | None]) -> None:
        """Remove entries that are done and postpone the others, in one transaction, which spares the pool."""
        done = [entry for entry, error in zip(entries, errors, strict=True) if error is None]
        put_off = {entry: backoff(entry.attempts) for entry in entries if entry not in done}
        now = self._clock()

        async def work(connection: AsyncConnection) -> None:
            await repository.remove(connection, [entry.id for entry in done])
            for entry, pause in put_off.items():
                await repository.postpone(connection, entry, now + pause)

        await self._database.transaction(work)
        for entry, error in zip(entries, errors, strict=True):
            _log(entry, error, put_off.get(entry))


def _log(entry: OutboxEntry, error: Exception | None, pause: timedelta | None) -> None:
    told = log.bind(entry=entry.id, kind=entry.kind, attempts=entry.attempts)
    if error is None or pause is None:
        told.info("outbox entry done")
    else:
        told.warning("outbox entry postponed", error=type(error).__name__, seconds=round(pause.total_seconds(), 1))


def backoff(attempts: int) -> timedelta:
    """Return how long to wait after so many failures: doubling up to five minutes, with half of it at random."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(attempts - 1, 16)
    return min(LONGEST_PAUSE, doubled) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
