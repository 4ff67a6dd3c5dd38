"""Snapshots of a user's unread notifications at one cluster time (read concern "snapshot").

A snapshot contains exactly what was committed by that time, so a stream from that time on misses and repeats nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from bson import ObjectId, Timestamp

from chassis.batching.coalesce import Coalescer
from chassis.context.statements import named
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database, QueryResult
from notifications_service.notification import as_of, filters, messages, schema, unreadable
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import State
from notifications_service.notification.visibility import Visibility
from notifications_service.watch.moments import BEGINNING, at_of, concern, repeated

# Documents fetched at a time.
_PART: Final = 100


@dataclass(frozen=True, slots=True)
class FeedSnapshot:
    """The ids of notifications, oldest first, at a cluster time; ``truncated``: older ones were left out.

    ``seen``: what the snapshot has seen.
    """

    ids: list[ObjectId]
    seen: AsOf
    truncated: bool

    @property
    def at(self) -> Timestamp:
        """The cluster time."""
        return self.seen.at


class Snapshots:
    """Draws snapshots; every read may raise DatabaseUnavailable or CallDeadlineExceeded."""

    def __init__(self, database: Database, shown: Callable[[], Visibility]) -> None:
        """``shown``: tells which notifications are shown now."""
        self._database = database
        self._shown = shown
        self._moments: Coalescer[Timestamp, Timestamp] = Coalescer(self._read_moment)

    async def now(self, after: Timestamp | None = None) -> Timestamp:
        """Return a cluster time: everything acknowledged before this call was committed by then.

        ``after``: the time is not before this one, which a new primary might be. Calls at the same time share a read.
        """
        moment = await self._moments.get(after or BEGINNING)
        if moment is None:
            raise RuntimeError("a read has a moment")
        return moment

    @named
    async def _read_moment(self, after: list[Timestamp]) -> dict[Timestamp, Timestamp]:
        query = {"filter": {"_id": 0}, "projection": {"_id": 1}, "limit": 1}
        return dict.fromkeys(after, at_of(await self._find(query, concern(after=max(after)))))

    @named
    async def draw(self, user_id: str, chosen: Filter, limit: int, after: Timestamp | None) -> FeedSnapshot:
        """Choose the newest unread notifications of a user that match, at most ``limit``."""
        query = {
            "filter": filters.query(user_id, replace(chosen, highest=State.SEEN), self._shown()) | unreadable.PASSED_BY,
            "projection": {"_id": 1, "createdAt": 1},
            "sort": {"createdAt": -1, "_id": -1},
            "hint": schema.FEED_INDEX,
            "limit": limit + 1,
        }
        cursor = await self._find(query, concern(after=after))
        rows = cursor["firstBatch"]
        ids = [row["_id"] for row in rows[:limit]]
        return FeedSnapshot(ids[::-1], as_of.seen_by(at_of(cursor), rows), truncated=len(rows) > limit)

    async def read(self, user_id: str, snapshot: FeedSnapshot) -> AsyncIterator[list[Document]]:
        """Yield the documents of a user's snapshot, oldest first, in parts."""
        for start in range(0, len(snapshot.ids), _PART):
            yield await self._read_part(user_id, snapshot.ids[start : start + _PART], snapshot.at)

    @named
    async def _read_part(self, user_id: str, ids: list[ObjectId], at: Timestamp) -> list[Document]:
        found: dict[ObjectId, Document] = {}
        left = ids
        while left:
            rows, cut, _ = await repeated(partial(self._read, user_id, left, at))
            found |= {row["_id"]: row for row in rows}
            left = [identity for identity in left if identity not in found] if cut else []
        return [found[identity] for identity in ids if identity in found]

    async def _read(self, user_id: str, ids: list[ObjectId], at: Timestamp) -> QueryResult:
        query = {"_id": {"$in": ids}, "userId": user_id}
        return await self._database.find(
            schema.COLLECTION,
            query,
            limit=len(ids),
            hint="_id_",
            projection=messages.LISTED_PROJECTION,
            readConcern=concern(at=at),
        )

    async def _find(self, query: Document, read_concern: Document) -> Document:
        """Find rows of which little is asked for: they fit into one batch."""
        command = {
            "find": schema.COLLECTION,
            **query,
            "batchSize": query["limit"],
            "singleBatch": True,
            "readConcern": read_concern,
            "collation": BYTEWISE,
        }
        return await repeated(partial(self._run, command))

    async def _run(self, command: Document) -> Document:
        answer: Any = await self._database.run(lambda: self._database.command(command), command)
        cursor: Document = answer["cursor"]
        return cursor
