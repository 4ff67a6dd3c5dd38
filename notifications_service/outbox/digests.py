"""All statements that put digests together: items join one, are left out of it, and follow its state.

An item is in one digest at a time, since the transaction that puts it there takes it out of its lane.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from pymongo import UpdateMany
from pymongo.errors import DuplicateKeyError

from chassis.context.statements import named
from chassis.errors import ConflictRetry
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes, following, model, schema
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Deferral, Kind, Lane, Reason
from notifications_service.outbox.repository import OutboxRepository

# Items that one transaction puts into digests, beside those of the batch that was claimed.
BATCH: Final = 500
# How long a digest waits for items of its own that another worker has in hand.
PAUSE: Final = timedelta(seconds=1)
# Digests that are looked for at a time, whose items are still to follow.
FOLLOWED: Final = 10
# Times that two processes may begin the same digest at the same moment.
_ATTEMPTS: Final = 3

# Whose a digest is, and of what category; None: without one.
Group: TypeAlias = tuple[str, str | None]
_ITEM: Final = {"digestDeliveryId": 1, "notificationId": 1, "category": 1, "expiresAt": 1, "superseded": 1}


@dataclass(frozen=True, slots=True)
class Gathered:
    """What became of a batch. ``ready``: digests under the batch's lease that nothing can join any more.

    ``unfinished``: those that more items are due for.
    """

    ready: Sequence[Document]
    unfinished: Sequence[str] = ()


@dataclass(slots=True)
class _Gathering:
    """The digests that one transaction works on, by group."""

    lease: str
    now: datetime
    digests: dict[Group, Document] = field(default_factory=dict)

    @property
    def mine(self) -> dict[Group, Document]:
        """Those that are under the lease."""
        return {group: row for group, row in self.digests.items() if row.get("lease") == self.lease}


class DigestRepository:
    """Reads and writes digests and what they carry."""

    def __init__(self, database: Database, outbox: OutboxRepository, clock: MillisecondClock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def gather(self, lease: str, ids: Sequence[str], length: timedelta) -> Gathered:
        """Put items that a lease has into the digests of their groups, with all others that are due for these.

        ``ids``: items, and digests that gather still. A digest that is new is under the lease for ``length``. One of
        which another worker has an item in hand waits for a moment. In a constant number of round trips, however many
        the groups are.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._database.transaction(lambda session: self._gather_in(session, lease, ids, length))
            except DuplicateKeyError:
                # Another process began one of them at the same moment: the next attempt finds it.
                continue
        raise ConflictRetry

    async def _gather_in(self, session: ClientSession, lease: str, ids: Sequence[str], length: timedelta) -> Gathered:
        work = _Gathering(lease, self._clock())
        found = self._rows.find({"_id": {"$in": list(ids)}, "lease": lease}, hint="_id_", session=session)
        rows = [row async for row in found]
        items = [row for row in rows if row["kind"] == Kind.NOTIFICATION.value]
        work.digests = {_group(row): row for row in rows if row["kind"] == Kind.DIGEST.value}
        await self._begin(session, work, {_group(row) for row in items if not row.get("superseded")}, length)
        waiting = await self._waiting(session, work)
        await self._put(session, work, [*items, *waiting])
        if len(waiting) == BATCH:
            return Gathered((), [row["_id"] for row in work.mine.values()])
        return Gathered(await self._close(session, work))

    async def _begin(
        self, session: ClientSession, work: _Gathering, groups: Collection[Group], length: timedelta
    ) -> None:
        """Find the digests that gather for these groups, and begin those that there are none of."""
        missing = groups - work.digests.keys()
        if not missing:
            return
        query = {"$or": [{"gathering": True, **_of(group)} for group in _sorted(missing)]}
        there = self._rows.find(query, hint=schema.GATHERING_INDEX, session=session, collation=BYTEWISE)
        work.digests |= {_group(row): row async for row in there}
        taken = {"lease": work.lease, "leasedAt": work.now, "dueAt": work.now + length}
        new = {group: model.digest(*group, work.now) | taken for group in _sorted(missing - work.digests.keys())}
        if new:
            await self._rows.insert_many(list(new.values()), session=session)
            work.digests |= new

    async def _waiting(self, session: ClientSession, work: _Gathering) -> list[Document]:
        """Return further items that are due for the digests under the lease."""
        if not work.mine:
            return []
        due = {
            "state": DeliveryState.PENDING.value,
            "digestAt": {"$lte": work.now},
            "kind": Kind.NOTIFICATION.value,
            "critical": {"$ne": True},
        }
        query = {"$or": [{**_of(group), "lane": Lane.DIGEST.value, **due} for group in _sorted(work.mine)]}
        found = self._rows.find(query, limit=BATCH, hint=schema.FOR_DIGEST_INDEX, session=session, collation=BYTEWISE)
        return [row async for row in found]

    async def _put(self, session: ClientSession, work: _Gathering, items: Sequence[Document]) -> None:
        replaced = [row for row in items if row.get("superseded")]
        ended = changes.final(DeliveryState.CANCELLED, Reason.SUPERSEDED, work.now)
        await self._outbox.settle_in(session, [Change(row, ended) for row in replaced])
        by_digest = dict[str, list[str]]()
        for row in items:
            if not row.get("superseded"):
                by_digest.setdefault(work.digests[_group(row)]["_id"], []).append(row["_id"])
        writes = [
            UpdateMany({"_id": {"$in": keys}}, _carried(digest, work.now), hint="_id_")
            for digest, keys in by_digest.items()
        ]
        # A digest of another worker's that is about to be closed conflicts with this.
        others = [row["_id"] for row in work.digests.values() if row.get("lease") != work.lease]
        if others:
            writes.append(UpdateMany({"_id": {"$in": others}, "gathering": True}, _touched(work.now), hint="_id_"))
        if writes:
            await self._rows.bulk_write(writes, ordered=False, session=session)

    async def _close(self, session: ClientSession, work: _Gathering) -> list[Document]:
        """Let nothing join any more those digests of which nobody else has an item in hand; return these."""
        held = await self._held(session, work)
        ready = [row for group, row in work.mine.items() if group not in held]
        late = [row["_id"] for group, row in work.mine.items() if group in held]
        writes = []
        if ready:
            keys = [row["_id"] for row in ready]
            writes.append(UpdateMany({"_id": {"$in": keys}}, _touched(work.now, "gathering"), hint="_id_"))
        if late:
            writes.append(UpdateMany({"_id": {"$in": late}}, _put_off(work.now), hint="_id_"))
        if writes:
            await self._rows.bulk_write(writes, ordered=False, session=session)
        return ready

    async def _held(self, session: ClientSession, work: _Gathering) -> Collection[Group]:
        """Return those groups of which another worker has an item in hand that may join."""
        if not work.mine:
            return ()
        held = {
            "lane": Lane.DIGEST.value,
            "state": DeliveryState.SENDING.value,
            "kind": Kind.NOTIFICATION.value,
            "lease": {"$ne": work.lease},
        }
        query = {"$or": [{**_of(group), **held} for group in _sorted(work.mine)]}
        found = self._rows.find(
            query,
            {"userId": 1, "category": 1},
            limit=BATCH,
            hint=schema.FOR_DIGEST_INDEX,
            session=session,
            collation=BYTEWISE,
        )
        rows = [row async for row in found]
        return work.mine if len(rows) == BATCH else {_group(row) for row in rows}

    @named
    async def items_of(self, digests: Sequence[str], beyond: str, limit: int) -> list[Document]:
        """Return items that digests carry and have not sent yet, in order of their ids, those after ``beyond``."""
        query = {
            "digestDeliveryId": {"$in": list(digests)},
            "state": DeliveryState.PENDING.value,
            "_id": {"$gt": beyond},
        }
        found = await self._database.find(
            schema.COLLECTION,
            query,
            limit=limit,
            hint=schema.IN_DIGEST_INDEX,
            sort={"_id": 1},
            projection=_ITEM,
        )
        return found.rows

    @named
    async def leave_out(self, decided: Mapping[str, Callable[[Document], Mapping[str, Any]]]) -> None:
        """Take items out of the digests that carry them (``decided``: id → the values of the row then)."""

        async def work(session: ClientSession) -> None:
            query = {"_id": {"$in": list(decided)}, "lane": Lane.CARRIED.value, "state": DeliveryState.PENDING.value}
            rows = [row async for row in self._rows.find(query, hint="_id_", session=session)]
            out = {"digestDeliveryId": None}
            await self._outbox.settle_in(session, [Change(row, {**decided[row["_id"]](row), **out}) for row in rows])

        await self._database.transaction(work)

    @named
    async def catch_up(self) -> int:
        """Bring items to the states of their digests that did not fit into the transaction; return how many."""
        number = 0
        while True:
            query = {"followAt": {"$lte": self._clock()}}
            found = await self._database.find(
                schema.COLLECTION, query, limit=FOLLOWED, hint=schema.FOLLOW_INDEX, projection={"_id": 1}
            )
            if not found.rows:
                return number
            for row in found.rows:
                number += await self._follow_one(row["_id"])

    async def _follow_one(self, key: str) -> int:
        return await self._database.transaction(lambda session: self._follow(session, key))

    async def _follow(self, session: ClientSession, key: str) -> int:
        found = self._rows.find({"_id": key, "followAt": {"$exists": True}}, hint="_id_", session=session)
        digest = next((row for row in [row async for row in found]), None)
        if digest is None:
            return 0
        items = await following.others(self._rows, session, {key: DeliveryState(digest["state"])})
        made = [following.followed(item, digest) for item in items]
        if len(items) < following.BATCH:
            made.append(Change(digest, {"followAt": None}))
        await self._outbox.settle_in(session, made)
        return len(items)


def _group(row: Mapping[str, Any]) -> Group:
    return row["userId"], row.get("category")


def _of(group: Group) -> Document:
    return {"userId": group[0], "category": group[1]}


def _sorted(groups: Collection[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (group[0], group[1] or ""))


def _carried(digest: str, at: datetime) -> Document:
    return {
        "$set": {
            "state": DeliveryState.PENDING.value,
            "lane": Lane.CARRIED.value,
            "digestDeliveryId": digest,
            "dueAt": at,
            "updatedAt": at,
        },
        "$unset": dict.fromkeys(("deferral", "digestAt", "lease", "leasedAt", "takenOver"), ""),
        "$inc": {"rev": 1},
    }


def _touched(at: datetime, *gone: str) -> Document:
    update: Document = {"$set": {"updatedAt": at}, "$inc": {"rev": 1}}
    return update | ({"$unset": dict.fromkeys(gone, "")} if gone else {})


def _put_off(at: datetime) -> Document:
    values = changes.pending(at + PAUSE, Deferral.DIGEST, None) | {"updatedAt": at, "digestAt": None}
    return {
        "$set": {name: value for name, value in values.items() if value is not None},
        "$unset": {name: "" for name, value in values.items() if value is None},
        "$inc": {"rev": 1},
    }
