"""All statements on the collection `scheduled_notifications`: notifications that wait for their time.

A row has the form of a notification of the feed, and `dueAt`: when the mover has to look at it next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import ObjectId
from pymongo import ReturnDocument

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.assigning import assigned
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.deleting import delete_some
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.sharding import of_rows, of_users
from notifications_service.notification import documents
from notifications_service.notification import schema as notifications
from notifications_service.notification.filters import BoundTime
from notifications_service.outbox import model
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.schema import COLLECTION, DUE_INDEX, USER_INDEX

# Rows that one command deletes at most.
DELETE_BATCH: Final = 2_000

_SOONEST_FIRST: Final = {"delivery.scheduledAt": 1, "_id": 1}
_IDS: Final = {"_id": 1}

# Milliseconds since 1970 of its time, and id of a row.
ScheduledKey = tuple[int, ObjectId]


def scheduled_key(row: Document) -> ScheduledKey:
    """Return the key of a row in lists."""
    return documents.milliseconds(row["delivery"]["scheduledAt"]), row["_id"]


@dataclass(frozen=True, slots=True)
class ScheduledFilter:
    """All given conditions hold together."""

    types: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    after: BoundTime | None = None
    before: BoundTime | None = None

    def query(self, user_id: str) -> Document:
        """Return the query for a user's rows that match."""
        found: Document = {"userId": user_id}
        for name, values in (("type", self.types), ("category", self.categories), ("threadKey", self.threads)):
            if values:
                found[name] = {"$in": list(values)}
        bounds = {"$gte": self.after, "$lt": self.before}
        if given := {operator: bound for operator, bound in bounds.items() if bound is not None}:
            found["delivery.scheduledAt"] = given
        return found


class ScheduledRepository:
    """Reads and writes scheduled notifications, and moves those whose time has come into the feed."""

    def __init__(self, database: Database, outbox: OutboxRepository, clock: MillisecondClock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._rows = database.collection(COLLECTION)
        self._notifications = database.collection(notifications.COLLECTION)

    @named
    async def insert(self, document: Document) -> None:
        """Store one."""
        await self._database.run(lambda: self._rows.insert_one(document))

    @named
    async def insert_in(self, session: ClientSession, new: Sequence[Document]) -> None:
        """Store several within a transaction of the caller's."""
        await self._rows.insert_many(new, session=session)

    @named
    async def get(self, key: ObjectId, user_id: str = "") -> Document | None:
        """Return one, of that user if one is named; None: it does not wait, or not any more."""
        query = {"_id": key, **of_users([user_id] if user_id else ())}
        found = await self._database.find(COLLECTION, query, limit=1, hint="_id_")
        return found.rows[0] if found.rows else None

    @named
    async def update(self, key: ObjectId, changes: Document, conditions: Document) -> Document | None:
        """Set fields of one that meets the conditions; return it as it is now, or None. A value None removes."""
        query, at = {"_id": key, **conditions}, self._clock()
        update = [{"$set": {**assigned(changes), "updatedAt": at, "rev": {"$add": ["$rev", 1]}}}]
        options: dict[str, Any] = {"return_document": ReturnDocument.AFTER, "collation": BYTEWISE}
        return await self._database.run(lambda: self._rows.find_one_and_update(query, update, **options), query)

    @named
    async def delete(self, key: ObjectId, conditions: Document) -> bool:
        """Delete one that meets the conditions, which cancels it; say whether there was one."""
        query = {"_id": key, **conditions}
        result = await self._database.run(lambda: self._rows.delete_one(query, collation=BYTEWISE), query)
        return result.deleted_count == 1

    @named
    async def delete_of_user(self, user_id: str, limit: int) -> int:
        """Delete up to ``limit`` of a user's; return how many."""
        return await delete_some(self._database, COLLECTION, {"userId": user_id}, limit, USER_INDEX)

    @named
    async def page(
        self,
        user_id: str,
        chosen: ScheduledFilter,
        after: ScheduledKey | None,
        limit: int,
        projection: Document | None,
    ) -> tuple[list[Document], bool]:
        """Return up to ``limit`` of a user's that match, the earliest first, after a key; and whether some were cut."""
        query = chosen.query(user_id)
        if after is not None:
            query["$and"] = [_beyond(after)]
        found = await self._database.find(
            COLLECTION, query, limit=limit, hint=USER_INDEX, sort=_SOONEST_FIRST, projection=projection
        )
        return found.rows, found.cut

    @named
    async def count(self, user_id: str, chosen: ScheduledFilter) -> int:
        """Return how many of a user's match."""
        pipeline: list[Any] = [{"$match": chosen.query(user_id)}, {"$count": "n"}]
        found = await self._database.aggregate(COLLECTION, pipeline, hint=USER_INDEX)
        return sum(row["n"] for row in found.rows)

    @named
    async def move_due(self, limit: int, beyond: datetime | None = None) -> list[datetime]:
        """Move up to ``limit`` whose time has come into the feed, with their deliveries; return when each was due.

        The longest waiting first; ``beyond``: of those that came due after that moment. One transaction deletes them
        here and inserts them there, so each is in one place at every moment. A change or a deletion at the same time
        comes before the move or after it. Raises ConflictRetry where another process moves them.
        """

        async def work(session: ClientSession) -> list[datetime]:
            due: Document = {"$lte": self._clock()}
            query = {"dueAt": due if beyond is None else due | {"$gt": beyond}}
            found = self._rows.find(
                query, hint=DUE_INDEX, sort={"dueAt": 1}, limit=limit, session=session, collation=BYTEWISE
            )
            rows = [row async for row in found]
            await self._move(session, rows)
            return [row["dueAt"] for row in rows]

        moved = await self._database.transaction(work)
        if moved:
            self._outbox.stored()
        return moved

    @named
    async def move_one(self, key: ObjectId) -> None:
        """Move one whose time has come, by itself."""

        async def work(session: ClientSession) -> None:
            query = {"_id": key, "dueAt": {"$lte": self._clock()}}
            found = self._rows.find(query, hint="_id_", session=session)
            await self._move(session, [row async for row in found])

        await self._database.transaction(work)
        self._outbox.stored()

    @named
    async def due(self, limit: int) -> list[ObjectId]:
        """Return the ids of those whose time has come, up to ``limit``, the earliest first."""
        query = {"dueAt": {"$lte": self._clock()}}
        found = await self._database.find(
            COLLECTION, query, limit=limit, hint=DUE_INDEX, sort={"dueAt": 1}, projection=_IDS
        )
        return [row["_id"] for row in found.rows]

    @named
    async def put_off(self, key: ObjectId, until: datetime) -> None:
        """Leave one that cannot be moved alone until a later time."""
        query = {"_id": key}
        put_off = {"$set": {"dueAt": until}}
        await self._database.run(lambda: self._rows.update_many(query, put_off, hint="_id_", collation=BYTEWISE), query)

    async def _move(self, session: ClientSession, rows: Sequence[Document]) -> None:
        if not rows:
            return
        at = self._clock()
        visible = [documents.visible(row, at) for row in rows]
        outgoing = {row["_id"]: row for row in visible if documents.goes_out(row)}
        deliveries = [
            delivery
            for row in outgoing.values()
            for delivery in model.of_notification(row, row["delivery"]["scheduledAt"])
        ]
        model.collapse(deliveries, outgoing)
        gone = {"_id": {"$in": [row["_id"] for row in rows]}, **of_rows(rows)}
        await self._rows.delete_many(gone, hint="_id_", session=session, collation=BYTEWISE)
        await self._notifications.insert_many(visible, session=session)
        if deliveries:
            await self._outbox.insert_in(session, deliveries)


def _beyond(after: ScheduledKey) -> Document:
    time, key = documents.from_milliseconds(after[0]), after[1]
    return {
        "delivery.scheduledAt": {"$gte": time},
        "$or": [{"delivery.scheduledAt": {"$gt": time}}, {"_id": {"$gt": key}}],
    }
