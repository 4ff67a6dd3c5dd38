"""All statements on the collection `deliveries` that create, claim, settle and cancel its rows.

Each is a constant number of round trips, however many rows it is about (docs/decisions/0082).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pymongo
from bson import ObjectId

from chassis.context.statements import named
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable
from chassis.logs import logging
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.assigning import assigned
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.deleting import delete_some
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.sharding import of_rows, of_users
from notifications_service.notification import schema as notifications
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes, following, schema
from notifications_service.outbox.changes import Change
from notifications_service.outbox.due import DueRows
from notifications_service.outbox.model import Lane, Reason
from notifications_service.outbox.rates import ChannelRate

# Rows that one transaction cancels.
CANCEL_BATCH: Final = 1_000

# How long a claim waits for rows that others have locked; longer than any commit takes.
CLAIM_SECONDS: Final = 0.5
# Rows that are counted as due at most, in a fraction of a second.
MOST_COUNTED: Final = 100_000

log = logging.get(__name__)

# What of a row decides nothing about it, and may be large.
_UNDECIDED: Final = {"content": 0, "log": 0}

# Of how many there are, how many may be taken.
Admit = Callable[[int], Awaitable[int]]
# Of a row as it is now, what it becomes; None: it is left as it is.
Decide = Callable[[Document], Change | None]

# An attempt of which nobody knows how it ended.
_LOST: Final = {"startedAt": "$leasedAt", "reason": Reason.OUTCOME_UNKNOWN.value}


class OutboxRepository:
    """Reads and writes deliveries."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        # Called once rows were stored that may be due; the workers of this process hear by it.
        self.stored: Callable[[], None] = lambda: None
        self._rows = database.collection(schema.COLLECTION)
        self._due = DueRows(database)
        self._notifications = database.collection(notifications.COLLECTION)

    def rate(self, channel: str, per_second: float) -> ChannelRate:
        """Return the rate of a channel, which holds for all workers of this database."""
        return ChannelRate(self._database, channel, per_second)

    @named
    async def insert_in(self, session: ClientSession, new: Sequence[Document]) -> None:
        """Store deliveries within a transaction of the caller's; what they replace is cancelled by it."""
        if replacing := [row for row in new if "collapseKey" in row]:
            await self._supersede(session, replacing)
        await self._rows.insert_many(new, session=session)

    async def _supersede(self, session: ClientSession, new: Sequence[Document]) -> None:
        """Cancel what is pending under the keys of new rows; what is being sent is not sent again."""
        keys = {(row["userId"], row["channel"], row["collapseKey"]) for row in new}
        query = {
            "dueAt": {"$exists": True},
            "$or": [{"userId": user, "channel": channel, "collapseKey": key} for user, channel, key in sorted(keys)],
        }
        found = self._rows.find(query, hint=schema.COLLAPSE_INDEX, session=session, collation=BYTEWISE)
        await self._settle(session, [_superseded(row, self._clock()) async for row in found])

    @named
    async def claim(
        self,
        channel: str,
        lease: str,
        limit: int,
        length: timedelta,
        *,
        admit: Admit | None = None,
        lane: Lane | None = None,
        newest: bool = False,
    ) -> list[Document]:
        """Take up to ``limit`` rows of a channel's lane that are due, and return them as they are now.

        The longest due first; ``newest``: those that came due last, if any came after the moment of the longest due.
        They are this lease's for ``length``: nobody else takes them before. A row that another lease has left is taken
        over; its attempt counts, with an unknown outcome. ``admit``: asked once, how many of those that are due may go.
        """
        now = self._clock()
        found = await self._due.find(channel, lane, limit, now, newest=newest)
        admitted = len(found)
        if admitted and admit is not None:
            admitted = await admit(admitted)
        if not admitted:
            return []
        rows = found[:admitted]
        claimed = _claimed(lease, now, now + length)
        pending = DeliveryState.PENDING.value
        waited = [row for row in rows if row.get("state") == pending]
        left = [row for row in rows if row.get("state") != pending]
        # Of two that found a row one changes it; the other's condition no longer holds.
        due = {"dueAt": {"$lte": now}, "lane": lane}
        if waited:
            await self._take(waited, {**due, "state": pending}, _given(claimed))
        if left:
            await self._take(left, {**due, "state": {"$ne": pending}}, _taken_over(claimed))
        return await self.of_lease(lease, [row["_id"] for row in rows], {row.get("userId") for row in rows})

    async def _take(self, rows: Sequence[Document], conditions: Document, update: Any) -> None:
        ids, users = [row["_id"] for row in rows], {row.get("userId") for row in rows}
        try:
            await self._soon({"_id": {"$in": ids}, **of_users(users), **conditions}, update)
        except (CallDeadlineExceeded, DatabaseUnavailable):
            await self._take_free(rows, conditions, update)

    async def _take_free(self, rows: Sequence[Document], conditions: Document, update: Any) -> None:
        """Claim rows one by one, where one of them kept the others waiting.

        A process that was killed within a transaction leaves its rows locked until MongoDB gives the transaction up, a
        minute later. The others do not wait for that.
        """
        locked = 0
        for row in rows:
            try:
                await self._soon({"_id": row["_id"], **of_users([row.get("userId")]), **conditions}, update)
            except (CallDeadlineExceeded, DatabaseUnavailable):
                locked += 1
        log.warning("rows are locked: they are left for later", rows=locked, of=len(rows))

    async def _soon(self, query: Document, update: Any) -> None:
        async def write() -> None:
            with pymongo.timeout(CLAIM_SECONDS):
                await self._rows.update_many(query, update, hint="_id_", collation=BYTEWISE)

        await self._database.run(write, query)

    @named
    async def of_lease(self, lease: str, ids: Sequence[str], users: Collection[str | None]) -> list[Document]:
        """Return those of the rows that a lease holds; ``users``: whose they are, here and below."""
        query = {"_id": {"$in": list(ids)}, "lease": lease, **of_users(users)}
        return (await self._database.find(schema.COLLECTION, query, limit=len(ids), hint="_id_")).rows

    @named
    async def renew(self, lease: str, ids: Collection[str], length: timedelta, users: Collection[str | None]) -> int:
        """Extend a lease on rows by ``length`` from now; return how many of them it still has."""
        query = {"_id": {"$in": list(ids)}, "lease": lease, **of_users(users)}
        return await self._update(query, {"$set": {"dueAt": self._clock() + length}})

    @named
    async def release(self, lease: str, ids: Collection[str], users: Collection[str | None]) -> int:
        """Give back rows on which nothing was tried; return how many. They are due at once, for anybody."""
        query = {"_id": {"$in": list(ids)}, "lease": lease, **of_users(users)}
        now = self._clock()
        update = {
            "$set": {"state": DeliveryState.PENDING.value, "dueAt": now, "updatedAt": now},
            "$unset": {"lease": "", "leasedAt": ""},
            "$inc": {"rev": 1},
        }
        return await self._update(query, update)

    @named
    async def complete(self, lease: str, decisions: Mapping[str, Decide], users: Collection[str | None]) -> set[str]:
        """Settle rows that a lease still has (``decisions``: id → what becomes of it); return the ids of those.

        A row that was purged, or that another lease took over, is left out.
        """
        query = {"_id": {"$in": list(decisions)}, "lease": lease, **of_users(users)}
        found = await self._database.find(
            schema.COLLECTION, query, limit=len(decisions), hint="_id_", projection=_UNDECIDED
        )
        made = {row["_id"]: decisions[row["_id"]](row) for row in found.rows}
        settled = {key for key, change in made.items() if change is None}
        settled |= await self._settle_alone([change for change in made.values() if change and not change.leads])
        # Digests, whose items follow, and what somebody has changed meanwhile.
        left = {key: decisions[key] for key in made.keys() - settled}
        return settled | await self._complete_in_transaction(lease, left, users) if left else settled

    async def _settle_alone(self, made: Sequence[Change]) -> set[str]:
        """Carry out changes of rows by themselves, without a transaction; return the ids of those that held.

        The sum comes first. A worker that dies before the row is written leaves a lease that runs out, and whoever
        settles the row then has a newer `rev`, which corrects the sum.
        """
        if not made:
            return set()
        at = self._clock()
        if sums := changes.sums(made):
            await self._database.run(lambda: self._notifications.bulk_write(sums, ordered=False))
        updates = changes.updates(made, at)
        done = await self._database.run(lambda: self._rows.bulk_write(updates, ordered=False))
        return {change.row["_id"] for change in made} if done.matched_count == len(made) else await self.seen(made)

    async def _complete_in_transaction(
        self, lease: str, decisions: Mapping[str, Decide], users: Collection[str | None]
    ) -> set[str]:
        async def work(session: ClientSession) -> set[str]:
            query = {"_id": {"$in": list(decisions)}, "lease": lease, **of_users(users)}
            found = self._rows.find(query, hint="_id_", session=session)
            rows = [row async for row in found]
            made = [decisions[row["_id"]](row) for row in rows]
            await self._settle(session, [change for change in made if change is not None])
            return {row["_id"] for row in rows}

        return await self._database.transaction(work)

    @named
    async def seen(self, made: Sequence[Change]) -> set[str]:
        """Return the ids of those rows in which the changes of a completion are to be seen."""
        changed = {change.row["_id"]: change for change in made}
        query = {"_id": {"$in": list(changed)}, **of_rows([change.row for change in made])}
        found = await self._database.find(
            schema.COLLECTION, query, limit=len(changed), hint="_id_", projection={"rev": 1, "lease": 1}
        )
        return {row["_id"] for row in found.rows if changed[row["_id"]].is_seen_in(row)}

    @named
    async def settle_in(self, session: ClientSession, made: Sequence[Change]) -> None:
        """Carry out changes of rows that were read in this transaction, and sum them up in their notifications."""
        await self._settle(session, made)

    async def _settle(self, session: ClientSession, made: Sequence[Change]) -> None:
        if not made:
            return
        at = self._clock()
        made = await following.with_items(self._rows, session, made, at)
        await self._rows.bulk_write(changes.updates(made, at), ordered=False, session=session)
        if sums := changes.sums(made):
            await self._notifications.bulk_write(sums, ordered=False, session=session)

    @named
    async def backlog(self, channel: str) -> tuple[int, datetime | None]:
        """Return how many rows of a channel are due, counted up to ``MOST_COUNTED``, and since when the oldest is."""
        due = {"channel": channel, "lane": {"$in": [None, Lane.DIGEST.value]}, "dueAt": {"$lte": self._clock()}}
        total = {"$group": {"_id": "$channel", "n": {"$sum": 1}, "oldest": {"$min": "$dueAt"}}}
        pipeline: list[Any] = [{"$match": due}, {"$limit": MOST_COUNTED}, total]
        found = await self._database.aggregate(schema.COLLECTION, pipeline, hint=schema.CLAIM_INDEX)
        return next(((row["n"], row["oldest"]) for row in found.rows), (0, None))

    @named
    async def follow(self, notification: Document) -> None:
        """Bring what is still to be sent of a notification to what it says now of its category and its expiry."""
        changed = assigned({name: notification.get(name) or None for name in ("category", "critical", "expiresAt")})
        sooner = [at] if (at := notification.get("expiresAt")) is not None else []
        if notification.get("critical"):
            # What is critical waits for no digest.
            sooner.append({"$cond": [{"$eq": ["$lane", Lane.DIGEST.value]}, self._clock(), "$dueAt"]})
        if sooner:
            # A row that is being sent has the end of its lease there.
            waits = {"$eq": ["$state", DeliveryState.PENDING.value]}
            changed["dueAt"] = {"$cond": [waits, {"$min": ["$dueAt", *sooner]}, "$dueAt"]}
        mine = {"notificationId": notification["_id"], "userId": notification["userId"]}
        query = {**mine, "dueAt": {"$exists": True}}
        update = [{"$set": {**changed, "rev": {"$add": ["$rev", 1]}, "updatedAt": self._clock()}}]
        await self._update(query, update, schema.NOTIFICATION_INDEX)

    @named
    async def cancel_of(self, keys: Sequence[ObjectId], user_id: str) -> None:
        """Cancel what is still to be sent of a user's notifications that were deleted.

        What is being sent at this moment is left to its worker, and so is what a digest carries.
        """
        query = {
            "notificationId": {"$in": list(keys)},
            "userId": user_id,
            "state": DeliveryState.PENDING.value,
            "lane": {"$ne": Lane.CARRIED.value},
        }
        await self._cancel(query, schema.NOTIFICATION_INDEX)

    @named
    async def delete_of_user(self, user_id: str, limit: int) -> int:
        """Delete up to ``limit`` of a user's deliveries, direct ones too, in whatever state; return how many.

        The worker of one that is being sent finds it gone when it has been.
        """
        return await delete_some(self._database, schema.COLLECTION, {"userId": user_id}, limit, schema.USER_INDEX)

    async def _cancel(self, query: Document, hint: str) -> None:
        at = self._clock()
        ended = changes.final(DeliveryState.CANCELLED, Reason.NOTIFICATION_GONE, at) | {"updatedAt": at}
        update: Document = {
            "$set": {name: value for name, value in ended.items() if value is not None},
            "$unset": {name: "" for name, value in ended.items() if value is None},
            "$inc": {"rev": 1},
        }
        while True:
            found = await self._database.find(
                schema.COLLECTION, query, limit=CANCEL_BATCH, hint=hint, projection={"_id": 1}
            )
            ids = [row["_id"] for row in found.rows]
            if ids:
                await self._update(query | {"_id": {"$in": ids}}, update)
            if len(ids) < CANCEL_BATCH:
                return

    async def _update(self, query: Document, update: Any, hint: str = "_id_") -> int:
        result = await self._database.run(
            lambda: self._rows.update_many(query, update, hint=hint, collation=BYTEWISE), query
        )
        return result.matched_count


def _claimed(lease: str, now: datetime, until: datetime) -> Document:
    return {
        "state": DeliveryState.SENDING.value,
        "lease": lease,
        "leasedAt": now,
        "dueAt": until,
        "updatedAt": now,
    }


def _given(claimed: Document) -> Document:
    """Return the update of a claimed row that nobody was sending; as a pipeline it would take longer."""
    return {"$set": claimed, "$unset": {"takenOver": ""}, "$inc": {"rev": 1}}


def _taken_over(claimed: Document) -> list[Document]:
    """Return the update of a claimed row that another lease has left, with an attempt whose outcome nobody knows."""
    counted = {
        "attempts": {"$add": ["$attempts", 1]},
        "log": changes.log_with([_LOST]),
        "reason": Reason.OUTCOME_UNKNOWN.value,
        "takenOver": True,
        "rev": {"$add": ["$rev", 1]},
    }
    return [{"$set": {**claimed, **counted}}]


def _superseded(row: Document, at: datetime) -> Change:
    # A digest that carries it may be on its way; whoever sends that next leaves it out.
    if row["state"] == DeliveryState.SENDING.value or row.get("lane") == Lane.CARRIED.value:
        return Change(row, {"superseded": True})
    return Change(row, changes.final(DeliveryState.CANCELLED, Reason.SUPERSEDED, at))
