"""The retention of notifications, which the TTL index of the collection defines.

MongoDB's sweeper removes rows some time after they have expired, so every read leaves out what ``visibility()`` does
not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.context.statements import named
from chassis.schema import SchemaLacking
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.drivers import Collection
from notifications_service.notification import schema
from notifications_service.notification.visibility import Visibility

DAY: Final = 86_400


class Retention:
    """The retention as last read from the database; the health probe of a server reads it."""

    def __init__(self, collection: Collection, clock: MillisecondClock) -> None:
        self._collection = collection
        self._clock = clock
        self._kept: timedelta | None = None

    def visibility(self) -> Visibility:
        """Return what is shown now."""
        now = self._clock()
        return Visibility(datetime.min if self._kept is None else now - self._kept, now)  # noqa: DTZ901

    def learn(self, index: Mapping[str, Any]) -> None:
        """Take the retention from the TTL index, as the server lists it; one without changes nothing."""
        if (seconds := index.get("expireAfterSeconds")) is not None:
            self._kept = timedelta(seconds=int(seconds))

    async def refresh(self) -> None:
        """Read the retention. Raises SchemaLacking where there is no such index."""
        seconds = await stored_seconds(self._collection)
        if seconds is None:
            raise not_migrated()
        self._kept = timedelta(seconds=seconds)


def not_migrated() -> SchemaLacking:
    """Return the error for a collection without a TTL index: its migrations have not been carried out."""
    return SchemaLacking("the database is not migrated: run `notifications-service migrate up`")


@named
async def stored_seconds(collection: Any) -> int | None:
    """Return the retention that the TTL index says, in seconds; None where there is no such index."""
    index = (await collection.index_information()).get(schema.TTL_INDEX, {})
    seconds = index.get("expireAfterSeconds")
    return None if seconds is None else int(seconds)


async def store(database: Any, days: int) -> None:
    """Change the retention in place; no row is touched."""
    index = {"name": schema.TTL_INDEX, "expireAfterSeconds": days * DAY}
    await database.command("collMod", schema.COLLECTION, index=index)
