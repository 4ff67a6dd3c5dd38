"""Counts of notifications that agree with lists about rows that cannot be read (docs/decisions/0058)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bson import MaxKey, MinKey, ObjectId

from chassis.context.statements import named
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database, QueryResult
from notifications_service.mongodb.secondaries import Reader
from notifications_service.notification import filters, schema, unreadable
from notifications_service.notification.filters import Filter
from notifications_service.notification.retention import Retention
from notifications_service.notification.schema import FEED_INDEX, UNREADABLE_INDEX

# Unreadable rows that one command looks for: among all users of a count, and then of one user; and how many of them
# one command subtracts.
UNREADABLE_LOOK: Final = 100
UNREADABLE_BATCH: Final = 10_000
OFF_BATCH: Final = 10_000

_IDS: Final = {"_id": 1}
_BELOW: Final = MinKey()
_ABOVE: Final = MaxKey()


class FeedCounts:
    """Counts notifications, and flags rows that only a read found unreadable; sees none past retention or expiry."""

    def __init__(self, database: Database, retention: Retention, reader: Reader | None = None) -> None:
        """``reader``: carries out the counts; None: the database itself does."""
        self._database = database
        self._reader = reader or database
        self._retention = retention
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def group(self, users: Sequence[str], by: Document, chosen: Filter = filters.EVERYTHING) -> QueryResult:
        """Count users' notifications that match by user and ``by``: rows of ``_id`` (their values) and ``n``.

        Unreadable rows are first counted with the rest, from the keys of the index alone, and then subtracted by rows
        whose ``n`` is negative.
        """
        query = filters.query("", chosen, self._retention.visibility()) | {"userId": {"$in": list(users)}}
        off = await self._unreadable(users)
        counted = await self._grouped(query, by, FEED_INDEX)
        for part, hint in _taken_off(off):
            counted.rows.extend(row | {"n": -row["n"]} for row in (await self._grouped(query | part, by, hint)).rows)
        return counted

    async def _grouped(self, query: Document, by: Document, hint: str) -> QueryResult:
        pipeline = [{"$match": query}, {"$group": {"_id": {"userId": "$userId", **by}, "n": {"$sum": 1}}}]
        found = await self._reader.aggregate(schema.COLLECTION, pipeline, hint=hint, snapshot=True)
        if found.cut:
            raise RuntimeError("groups have few values each")
        return found

    async def _unreadable(self, users: Sequence[str]) -> list[Any]:
        """Return the ids, of whatever type, of users' unreadable rows, from the keys of the index alone."""
        if len(users) > 1:
            # One query for all users between the first and the last, which hardly ever finds anything.
            found = await self._listed_unreadable(min(users), _BELOW, max(users), limit=UNREADABLE_LOOK)
            if len(found.rows) < UNREADABLE_LOOK:
                return [row["_id"] for row in found.rows]
        return [key for user_id in users for key in await self._unreadable_of(user_id)]

    async def _unreadable_of(self, user_id: str) -> list[Any]:
        ids: list[Any] = []
        found = await self._listed_unreadable(user_id, _BELOW, user_id, limit=UNREADABLE_BATCH)
        while found.rows:
            ids += [row["_id"] for row in found.rows]
            found = await self._listed_unreadable(user_id, ids[-1], user_id, limit=UNREADABLE_BATCH)
            del found.rows[:1]
        return ids

    async def _listed_unreadable(self, first: str, beyond: Any, last: str, *, limit: int) -> QueryResult:
        # By bounds, since for a query the planner uses a partial index only if the query contains its whole filter.
        bounds: dict[str, Any] = {"min": {"userId": first, "_id": beyond}, "max": {"userId": last, "_id": _ABOVE}}
        # One user's are on one shard.
        query = {"userId": first} if first == last else {}
        return await self._reader.find(
            schema.COLLECTION, query, limit=limit, hint=UNREADABLE_INDEX, projection=_IDS, **bounds
        )

    @named
    async def flag(self, keys: Sequence[ObjectId]) -> None:
        """Flag rows as unreadable that the conditions of the index do not find."""
        await self._update({"_id": {"$in": list(keys)}}, {"$set": {unreadable.FLAG: True}})

    @named
    async def unflag(self, keys: Sequence[ObjectId]) -> None:
        """Remove the flag from rows that can be read again."""
        query = {"_id": {"$in": list(keys)}, unreadable.FLAG: True}
        await self._update(query, {"$unset": {unreadable.FLAG: ""}})

    async def _update(self, query: Document, update: Document) -> None:
        await self._database.run(lambda: self._rows.update_many(query, update, hint="_id_", collation=BYTEWISE), query)


def _taken_off(ids: Sequence[Any]) -> Iterator[tuple[Document, str]]:
    """Yield the conditions, and the index for each, that together find the rows with these ids."""
    proper = [key for key in ids if isinstance(key, ObjectId)]
    for start in range(0, len(proper), OFF_BATCH):
        yield {"_id": {"$in": proper[start : start + OFF_BATCH]}}, "_id_"
    if len(proper) < len(ids):
        # All others are unreadable, and their ids may not be found again after the driver has decoded them.
        yield {"_id": {"$not": {"$type": "objectId"}}}, FEED_INDEX
