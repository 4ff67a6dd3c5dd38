"""Rates of channels: a bucket of tokens for each, in the database, from which all workers of the fleet take.

A worker takes once for each batch that it claims. Time is the database's, so clocks of workers do not matter.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo import ReturnDocument

from chassis.context.statements import named
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.outbox.schema import RATES

_NEVER_LESS: Final = 1.0


class ChannelRate:
    """The rate of one channel: ``per_second`` deliveries, and at once as many as of one second."""

    def __init__(self, database: Database, channel: str, per_second: float) -> None:
        self._database = database
        self._channel = channel
        self._per_second = per_second
        self._rows = database.collection(RATES)

    @named
    async def take(self, wanted: int) -> int:
        """Take up to so many tokens; return how many there were."""
        query = {"_id": self._channel}
        options: dict[str, Any] = {"upsert": True, "return_document": ReturnDocument.AFTER, "collation": BYTEWISE}
        update = _taken(wanted, self._per_second, max(_NEVER_LESS, self._per_second))
        row = await self._database.run(lambda: self._rows.find_one_and_update(query, update, **options), query)
        return 0 if row is None else int(row["granted"])


def _taken(wanted: int, per_second: float, most: float) -> list[Document]:
    """Return the update: what came since the last time is added, and what is wanted taken, as far as there is some."""
    milliseconds = {"$subtract": ["$$NOW", {"$ifNull": ["$at", "$$NOW"]}]}
    come = {"$multiply": [per_second / 1000, milliseconds]}
    return [
        {"$set": {"tokens": {"$min": [most, {"$add": [{"$ifNull": ["$tokens", most]}, come]}]}, "at": "$$NOW"}},
        {"$set": {"granted": {"$min": [wanted, {"$floor": "$tokens"}]}}},
        {"$set": {"tokens": {"$subtract": ["$tokens", "$granted"]}}},
    ]
