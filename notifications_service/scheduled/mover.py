"""The mover: makes scheduled notifications visible at their time, in every server process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, NoReturn

from bson import ObjectId
from pymongo.errors import PyMongoError

from chassis.background import repeat
from chassis.errors import ConflictRetry, ServiceError
from chassis.logs import logging
from notifications_service.clock import MillisecondClock
from notifications_service.scheduled.repository import ScheduledRepository

# Rows that one transaction moves: it ends well within the query timeout, and its deliveries are due soon.
BATCH: Final = 100
# After how long a row that could not be moved is tried again.
PUT_OFF: Final = timedelta(minutes=10)

log = logging.get(__name__)


class Mover:
    """Moves what is due, a batch at a time, the longest waiting first.

    What came due after the moment of these has every other turn: it does not wait for all of one moment.
    """

    def __init__(self, repository: ScheduledRepository, clock: MillisecondClock, *, poll: timedelta) -> None:
        """``poll``: how often to look."""
        self._repository = repository
        self._clock = clock
        self._poll = poll.total_seconds()

    async def run(self) -> NoReturn:
        """Move for ever."""
        await repeat("scheduled notifications", self.drain, lambda: asyncio.sleep(self._poll))

    async def drain(self) -> None:
        """Move all that are due. Of several processes one moves a batch; the others look again after a pause."""
        try:
            # Looking first costs less than a transaction that finds nothing.
            while await self._repository.due(1):
                moved = await self._repository.move_due(BATCH)
                if len(moved) == BATCH:
                    await self._repository.move_due(BATCH, moved[-1])
        except ConflictRetry:
            return
        except ServiceError:
            raise
        except PyMongoError as error:
            log.warning("a batch could not be moved", kind=type(error).__name__)
            await self._one_by_one()

    async def _one_by_one(self) -> None:
        """Move the batch row by row: what is wrong with one holds up no other."""
        for key in await self._repository.due(BATCH):
            try:
                await self._repository.move_one(key)
            except ConflictRetry:
                continue
            except PyMongoError as error:
                await self._put_off(key, error)

    async def _put_off(self, key: ObjectId, error: PyMongoError) -> None:
        log.error("a scheduled notification could not be moved", id=str(key), kind=type(error).__name__)
        await self._repository.put_off(key, self._clock() + PUT_OFF)
