"""How long notifications are kept: said once, by the TTL index of the collection.

The sweeper of MongoDB removes rows some time after they are due, so every read leaves out by itself what is
older than ``cutoff()``.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.statements import named
from notifications_service import documents, schema
from notifications_service.drivers import Collection

DAY: Final = 86_400
# How often the index is looked at: a `migrate up` with another retention reaches running servers within it.
_REFRESH: Final = 30.0


class NotMigrated(Exception):
    """The collection has no TTL index: its migrations have not been carried out."""


class Retention:
    """The retention as last read from the database."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._kept: timedelta | None = None
        self._read_at = -_REFRESH

    def cutoff(self) -> datetime:
        """Return the time (naive UTC) from which on, exclusive, notifications are visible."""
        return datetime.min if self._kept is None else documents.now() - self._kept  # noqa: DTZ901

    async def refresh(self) -> None:
        """Read the retention anew if it was not read lately. Raises ``NotMigrated``."""
        if time.monotonic() - self._read_at < _REFRESH:
            return
        seconds = await stored_seconds(self._collection)
        if seconds is None:
            raise NotMigrated("the database is not migrated: run `notifications-service migrate up`")
        self._kept = timedelta(seconds=seconds)
        self._read_at = time.monotonic()


@named
async def stored_seconds(collection: Any) -> int | None:
    """Return the retention that the TTL index says, in seconds; None where there is no such index."""
    index = (await collection.index_information()).get(schema.TTL_INDEX, {})
    seconds = index.get("expireAfterSeconds")
    return None if seconds is None else int(seconds)


async def store(database: Any, days: int) -> None:
    """Change the retention in place; no row is touched."""
    index = {"name": schema.TTL_INDEX, "expireAfterSeconds": days * DAY}
    await database.command("collMod", documents.COLLECTION, index=index)
