"""All queries on the `notifications` collection. Why each has the index it names: docs/decisions/0010."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo import ReturnDocument
from pymongo.errors import BulkWriteError, WriteError

from chassis.statements import named
from notifications_service import documents
from notifications_service.database import Database
from notifications_service.documents import Document
from notifications_service.drivers import Session
from notifications_service.feed import filters, states
from notifications_service.feed.filters import Filter
from notifications_service.feed.states import Change
from notifications_service.retention import Retention
from notifications_service.schema import FEED_INDEX
from notifications_service.secondaries import Reader

NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}
# Rows that one command deletes: each finishes well within the query timeout.
DELETE_BATCH: Final = 5_000

# Milliseconds since 1970 and id of a row. No datetime: a spoilt row may bear a year that Python does not know.
Position = tuple[int, ObjectId]
# Which rows of a user, and the row beyond which they begin.
Beginning = tuple[Filter, Position | None]

# A `rev` that another writer spoilt must not make the update of all its neighbours fail.
_NEXT_REV: Final = {"$cond": [{"$isNumber": "$rev"}, {"$add": ["$rev", 1]}, 1]}


class FeedRepository:
    """Reads and writes notifications; rows past their retention are not there for any method."""

    def __init__(
        self, database: Database, retention: Retention, *, lists: Reader | None = None, counts: Reader | None = None
    ) -> None:
        """``lists``, ``counts``: carry out those reads, where it is not the database itself."""
        self._database = database
        self._lists = lists or database
        self._counts = counts or database
        self._retention = retention
        self._rows = database.collection(documents.COLLECTION)

    @named
    async def insert_each(self, new: Sequence[Document]) -> dict[int, Exception]:
        """Store notifications in one round trip, each by itself; return the errors of those that were refused."""
        try:
            await self._database.run(lambda: self._insert(new), {"documents": new})
        except WriteError as error:
            return {0: WriteError("refused", error.code)}
        except BulkWriteError as error:
            return {item["index"]: WriteError("refused", item["code"]) for item in error.details["writeErrors"]}
        return {}

    async def _insert(self, new: Sequence[Document]) -> None:
        if len(new) == 1:
            # The driver's way for many takes a tenth of a millisecond more.
            await self._rows.insert_one(new[0])
        else:
            await self._rows.insert_many(new, ordered=False)

    @named
    async def insert_in(self, session: Session, new: Sequence[Document]) -> None:
        """Store several notifications within a transaction of the caller's."""
        await self._rows.insert_many(new, session=session)

    @named
    async def get_many(self, keys: Sequence[ObjectId]) -> dict[ObjectId, Document]:
        """Return those of the notifications that are there."""
        query = {"_id": {"$in": list(keys)}}
        found = await self._database.find(documents.COLLECTION, query, limit=len(keys), hint="_id_")
        return {row["_id"]: row for row in found if self._is_kept(row)}

    @named
    async def page(
        self, user_id: str, chosen: Filter, after: Position | None, limit: int, projection: Document | None
    ) -> list[Document]:
        """Return up to ``limit`` of a user's notifications that match, newest first, beyond ``after``."""
        query = self._query_beyond(user_id, chosen, after)
        return await self._lists.find(
            documents.COLLECTION, query, limit=limit, hint=FEED_INDEX, sort=NEWEST_FIRST, projection=projection
        )

    @named
    async def pages(self, asked: Mapping[str, Beginning], limit: int) -> dict[str, list[Document]]:
        """Return a page of up to ``limit`` rows of each of several users in one command (``asked``: user → which).

        The filters say nothing of states: no index can be named for each part of such a command, and none but the
        right one fits then (docs/decisions/0012).
        """
        if len(asked) == 1:
            [(user_id, beginning)] = asked.items()
            # The command for one page can name its index, and the driver has less to do.
            return {user_id: await self.page(user_id, *beginning, limit, None)}
        parts = [self._page(user_id, *beginning, limit) for user_id, beginning in asked.items()]
        rest = [{"$unionWith": {"coll": documents.COLLECTION, "pipeline": part}} for part in parts[1:]]
        found: dict[str, list[Document]] = {user_id: [] for user_id in asked}
        for row in await self._lists.aggregate(self._rows, parts[0] + rest, hint=FEED_INDEX):
            found[row["userId"]].append(row)
        return found

    @named
    async def group(self, users: Sequence[str], by: Document, chosen: Filter = filters.EVERYTHING) -> list[Document]:
        """Count users' notifications that match by user and ``by``: rows of ``_id`` (their values) and ``n``."""
        query = self._query("", chosen) | {"userId": {"$in": list(users)}}
        pipeline = [{"$match": query}, {"$group": {"_id": {"userId": "$userId", **by}, "n": {"$sum": 1}}}]
        return await self._counts.aggregate(self._rows, pipeline, hint=FEED_INDEX)

    @named
    async def update(self, key: ObjectId, changes: Document, conditions: Document) -> Document | None:
        """Set fields of a notification that meets the conditions and return it as stored now, or None."""
        query = {"_id": key, **self._kept(), **conditions}
        literal = {name: {"$literal": value} for name, value in changes.items()}
        update = _pipeline(literal, documents.now())
        return await self._database.run(
            lambda: self._rows.find_one_and_update(query, update, return_document=ReturnDocument.AFTER), query
        )

    @named
    async def mark(self, user_id: str, ids: Sequence[ObjectId], change: Change) -> int:
        """Move those of a user's notifications that are not there yet; return how many moved."""
        query = self._query(user_id, filters.EVERYTHING)
        query["_id"] = {"$in": list(ids)}
        return await self._mark(query, change, hint="_id_")

    @named
    async def mark_all(self, user_id: str, chosen: Filter, up_to: datetime, change: Change) -> int:
        """Move all of a user's notifications that match and were created at ``up_to`` or before; say how many."""
        query = filters.query(user_id, chosen, self._retention.cutoff(), up_to=up_to)
        return await self._mark(query, change, hint=FEED_INDEX)

    @named
    async def delete(self, key: ObjectId, conditions: Document) -> bool:
        """Delete a notification that meets the conditions; say whether there was one."""
        query = {"_id": key, **self._kept(), **conditions}
        result = await self._database.run(lambda: self._rows.delete_one(query), query)
        return result.deleted_count == 1

    @named
    async def delete_of_user(self, user_id: str) -> int:
        """Delete everything of a user, in batches; return how many visible rows that were."""
        visible = await self._delete_batches(self._query(user_id, filters.EVERYTHING))
        await self._delete_batches({"userId": user_id})
        return visible

    def _page(self, user_id: str, chosen: Filter, after: Position | None, limit: int) -> list[Document]:
        query = self._query_beyond(user_id, chosen, after)
        return [{"$match": query}, {"$sort": NEWEST_FIRST}, {"$limit": limit}]

    async def _mark(self, query: Document, change: Change, hint: str) -> int:
        # What is in that state already does not match, so what matched is what changed.
        query["$and"] = [*query.get("$and", ()), *states.one_of(change.sources)] or [{}]
        at = documents.now()
        update = _pipeline(states.transition(change.target, at), at)
        result = await self._database.run(lambda: self._rows.update_many(query, update, hint=hint), query)
        return result.modified_count

    async def _delete_batches(self, query: Document) -> int:
        deleted = 0
        while True:
            found, gone = await self._database.run(lambda: self._delete_batch(query), query)
            deleted += gone
            if found < DELETE_BATCH:
                return deleted

    async def _delete_batch(self, query: Document) -> tuple[int, int]:
        """Delete a batch; return how many rows were found, and how many were deleted."""
        ids = [row["_id"] async for row in self._rows.find(query, {"_id": 1}, limit=DELETE_BATCH, hint=FEED_INDEX)]
        gone = (await self._rows.delete_many({"_id": {"$in": ids}})).deleted_count if ids else 0
        return len(ids), gone

    def _query_beyond(self, user_id: str, chosen: Filter, after: Position | None) -> Document:
        query = self._query(user_id, chosen)
        if after is not None:
            time, key = DatetimeMS(after[0]), after[1]
            query["createdAt"]["$lte"] = time
            # Of its own millisecond only what is beyond the id. By what it is not: an `$or` would offer the planner the
            # indexes of its branches, and where pages share a command none can be named.
            query["$nor"] = [{"createdAt": time, "_id": {"$not": {"$lt": key}}}]
        return query

    def _query(self, user_id: str, chosen: Filter) -> Document:
        return filters.query(user_id, chosen, self._retention.cutoff())

    def _kept(self) -> Document:
        # Also true of a row that has no date, so that a spoilt one can be deleted by its id.
        return {"createdAt": {"$not": {"$lte": self._retention.cutoff()}}}

    def _is_kept(self, document: Document) -> bool:
        # A row without a date is never swept; that it is unreadable is told where it is converted.
        created = document.get("createdAt")
        return not isinstance(created, datetime) or created > self._retention.cutoff()


def _pipeline(changes: Document, at: datetime) -> list[dict[str, Any]]:
    return [{"$set": {**changes, "rev": _NEXT_REV, "updatedAt": at}}]
