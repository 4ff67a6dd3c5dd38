"""Puts the purge of the server together; for the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, NoReturn

from chassis.background import repeat
from chassis.logs import logging
from users_service.mysql.database import Database
from users_service.mysql.database_clock import DatabaseClock
from users_service.purge.service import Purge, PurgeRunning
from users_service.purge.settings import PurgeSettings

log = logging.get("users_service.purge")


def purging(settings: PurgeSettings, database: Database, clock: DatabaseClock) -> Coroutine[Any, Any, NoReturn]:
    """Return the endless work that purges at each interval."""
    purge = Purge(database, keep=timedelta(days=settings.purge_keep_days))

    async def once() -> None:
        try:
            # Not by this process's clock: were it ahead, sessions that others extend would be removed.
            await purge.run(await database.query(clock))
        except PurgeRunning:
            # Another process does this round.
            return
        for table, left in purge.left.items():
            log.warning("rows left by the purge: other tables refer to them", table=table, rows=left.count)

    return repeat("purge", once, lambda: asyncio.sleep(settings.purge_interval_ms / 1000))
