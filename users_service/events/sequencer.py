"""The sequencer: gives committed events their numbers, in any number of processes at once.

It reads, in one statement, the last number and the committed events without one, and gives these the next numbers, in
one statement again. Where another process was faster a number is taken, the statement fails as a whole, and it looks
anew. No lock outlives a statement, so nobody waits for a process that is gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.errors import ConflictRetry, DatabaseUnavailable
from chassis.logs import logging
from users_service.events import repository
from users_service.events.model import OrderState, Place, Stretch
from users_service.mysql.database import Database

T = TypeVar("T")

# How often it looks anew where others are faster: each time one of them has got further.
ATTEMPTS: Final = 50

log = logging.get(__name__)


class Sequencer:
    """Numbers events and reads them by number, on the primary.

    Each method raises DatabaseUnavailable, CallDeadlineExceeded or Overloaded where the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # How many events this process has brought into the order.
        self.sequenced = 0

    async def look(self) -> OrderState:
        """Return how far the order goes."""
        return await self._database.query(_look)

    async def sequence(self) -> OrderState:
        """Number everything that is committed now, and return how far that reaches.

        Raises ConflictRetry where others were faster again and again.
        """
        for _ in range(ATTEMPTS):
            state, done = await self._database.query(self._once)
            if done and len(state.pending) < repository.BATCH:
                return state
        raise ConflictRetry

    async def _once(self, connection: AsyncConnection) -> tuple[OrderState, bool]:
        state = await _look(connection)
        if not state.pending:
            return state, True
        done = await repository.number(connection, state)
        self.sequenced += len(state.pending) if done else 0
        return state, done

    async def following(self, place: Place, limit: int) -> Stretch:
        """Return the event of a place, if it is still there, and those after it, ``limit`` in all at most."""
        read = partial(repository.following, seq=place.seq, limit=limit)
        return await self._database.query(lambda connection: _there(connection, read))


async def _look(connection: AsyncConnection) -> OrderState:
    return await _there(connection, repository.look)


async def _there(connection: AsyncConnection, read: Callable[[AsyncConnection], Awaitable[T | None]]) -> T:
    """Read what needs the row of ``event_sequence``, and write that first where there is none."""
    found = await read(connection)
    if found is None:
        log.info("a new history of events begins")
        await repository.begin_history(connection, secrets.token_bytes(16))
        found = await read(connection)
    if found is None:
        raise DatabaseUnavailable
    return found
