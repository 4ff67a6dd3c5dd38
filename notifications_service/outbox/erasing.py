"""Erasing of what SendDirect was given, at the time by which it must be gone, whatever became of the delivery."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chassis.background import end
from chassis.context.statements import named
from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.outbox import schema

# Seconds between two looks, at most.
EVERY: Final = 60.0
# Rows that one command erases.
BATCH: Final = 1_000

log = logging.get(__name__)


class Eraser:
    """Erases what is due."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def erase(self) -> int:
        """Remove contents and addresses whose time has come; return of how many deliveries."""
        query, erased = {"eraseAt": {"$lte": self._clock()}}, 0
        while True:
            found = await self._database.find(
                schema.COLLECTION, query, limit=BATCH, hint=schema.ERASE_INDEX, projection={"_id": 1}
            )
            if not found.rows:
                return erased
            erased += await self._erase(query | {"_id": {"$in": [row["_id"] for row in found.rows]}})

    async def _erase(self, due: Document) -> int:
        update = {"$unset": {"content": "", "address": "", "eraseAt": ""}}
        result = await self._database.run(
            lambda: self._rows.update_many(due, update, hint="_id_", collation=BYTEWISE), due
        )
        return result.modified_count

    async def run(self) -> None:
        """Erase, for ever."""
        while True:
            # Processes that start together look at different times.
            await asyncio.sleep(EVERY * random.random())  # noqa: S311 - spreads load, hides nothing
            try:
                await self.erase()
            except ServiceError as error:
                log.warning("sealed contents not erased yet", reason=error.reason)
            except Exception:
                log.exception("sealed contents not erased yet")


@asynccontextmanager
async def erasing(eraser: Eraser) -> AsyncIterator[None]:
    """Erase in the background for as long as the context lasts."""
    task = asyncio.create_task(eraser.run())
    try:
        yield
    finally:
        await end([task])
