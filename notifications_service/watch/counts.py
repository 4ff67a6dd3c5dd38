"""Counts of a user's notifications at a cluster time, for watches that tell them with their events.

Watches that ask together share commands, of which a few run at a time, so that however much happens, and however many
watch, the database counts only so much at once. Counts serve every event that was committed by their cluster time, so
a watch with a burst of events to tell has them counted once (docs/decisions/0080).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from bson import MaxKey, MinKey, ObjectId, Timestamp

from chassis.batching.coalesce import Coalescer
from chassis.context.statements import named
from chassis.errors import Unavailable
from chassis.watching.errors import WatchInterrupted
from notifications_service.mongodb import codec
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.notification import filters, schema, unreadable
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import State
from notifications_service.notification.visibility import Visibility
from notifications_service.watch.moments import BEGINNING, at_of, concern, repeated

# Few users a command, so that one with very many rows delays few others.
_USERS: Final = 16
_IN_FLIGHT: Final = 2
# Unreadable rows of the users of a command whose ids the count leaves out; with more it looks at each row.
_UNREADABLE: Final = 100
# Seconds, at most, until a count is tried again while the database is away.
_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Badges:
    """How many notifications were unread and unseen at a cluster time."""

    at: Timestamp
    unread: int
    unseen: int


# Whose notifications, and which of them.
CountedKey = tuple[str, Filter]


class Counts:
    """Counts users' notifications."""

    def __init__(self, database: Database, shown: Callable[[], Visibility], outage: float) -> None:
        """``shown``: tells which notifications are shown now.

        ``outage``: how many seconds the database may be away.
        """
        self._database = database
        self._shown = shown
        self._outage = outage
        # No count is of an earlier time: it is that of the latest event, or count, that a watch has told.
        self._reached = BEGINNING
        self._reads: Coalescer[CountedKey, Badges] = Coalescer(self._read, max_batch=_USERS, max_in_flight=_IN_FLIGHT)

    async def after(self, user_id: str, chosen: Filter, moment: Timestamp | None) -> Badges:
        """Count a user's notifications that match at a cluster time that is not before a moment, nor before this call.

        Raises ``WatchInterrupted`` when the database was away for too long.
        """
        self._reached = max(self._reached, moment or BEGINNING)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._outage
        while True:
            try:
                counted = await self._reads.get((user_id, chosen))
            except Unavailable:
                if loop.time() > until:
                    raise WatchInterrupted from None
                await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.0))  # noqa: S311 - spread, not secrecy
                continue
            if counted is None:
                raise RuntimeError("everybody is counted")
            return counted

    async def _read(self, keys: list[CountedKey]) -> dict[CountedKey, Badges]:
        users: dict[Filter, list[str]] = {}
        for user_id, chosen in keys:
            users.setdefault(chosen, []).append(user_id)
        counted: dict[CountedKey, Badges] = {}
        # One after another: those of a process have few connections.
        for chosen, names in users.items():
            at, found = await self._count(names, chosen)
            self._reached = max(self._reached, at)
            counted |= {(user_id, chosen): found.get(user_id, Badges(at, 0, 0)) for user_id in names}
        return counted

    async def _count(self, users: Sequence[str], chosen: Filter) -> tuple[Timestamp, dict[str, Badges]]:
        unread = filters.query("", replace(chosen, highest=State.SEEN), self._shown())
        at, groups = await self._group(users, unread, concern(after=self._reached))
        if (off := await self._unreadable(users, at)) is not None:
            _, groups = await self._group(users, unread | off, concern(at=at))
        counted: dict[str, Badges] = {}
        for group in groups:
            user_id, is_seen = group["_id"]["userId"], group["_id"].get("seen") is True
            before = counted.get(user_id, Badges(at, 0, 0))
            unseen = before.unseen if is_seen else before.unseen + group["n"]
            counted[user_id] = Badges(at, before.unread + group["n"], unseen)
        return at, counted

    @named
    async def _group(
        self, users: Sequence[str], unread: Document, read_concern: Document
    ) -> tuple[Timestamp, list[Document]]:
        """Count users' unread notifications by whether they are seen, from the keys of the index alone."""
        match = unread | {"userId": {"$in": list(users)}}
        group = {"_id": {"userId": "$userId", "seen": "$seen"}, "n": {"$sum": 1}}
        command: Document = {
            "aggregate": schema.COLLECTION,
            "pipeline": [{"$match": match}, {"$group": group}],
            "hint": schema.FEED_INDEX,
            "collation": BYTEWISE,
            # Few groups: by the values of a flag, of which readable rows have three.
            "cursor": {"batchSize": 10_000},
            "readConcern": read_concern,
        }
        cursor = await repeated(partial(self._run, command))
        return at_of(cursor), cursor["firstBatch"]

    async def _run(self, command: Document) -> Document:
        database = self._database.default
        answer: Any = await self._database.run(
            lambda: database.command(command, codec_options=codec.CODEC_OPTIONS), command
        )
        cursor: Document = answer["cursor"]
        return cursor

    @named
    async def _unreadable(self, users: Sequence[str], at: Timestamp) -> Document | None:
        """Return the condition that leaves out unreadable rows; None where the users have none, as nearly always."""
        # By bounds, since for a query the planner uses a partial index only if the query contains its whole filter.
        bounds: dict[str, Any] = {
            "min": {"userId": min(users), "_id": MinKey()},
            "max": {"userId": max(users), "_id": MaxKey()},
        }
        find = partial(
            self._database.find,
            schema.COLLECTION,
            {"userId": users[0]} if len(users) == 1 else {},
            limit=_UNREADABLE,
            hint=schema.UNREADABLE_INDEX,
            projection={"_id": 1},
            readConcern=concern(at=at),
            **bounds,
        )
        ids = [row["_id"] for row in (await repeated(find)).rows]
        if not ids:
            return None
        if len(ids) < _UNREADABLE and all(isinstance(key, ObjectId) for key in ids):
            return {"_id": {"$nin": ids}}
        # Ids of other types may not be found again after the driver has decoded them.
        return dict(unreadable.PASSED_BY)
