"""All queries on the `notifications` collection. Why each has the index it names: docs/decisions/0010."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Int64, MaxKey, MinKey, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo import ReturnDocument
from pymongo.errors import BulkWriteError, OperationFailure, WriteError
from pymongo.results import UpdateResult

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.errors import AsOfInvalid
from notifications_service.mongodb.assigning import assigned
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database, QueryResult
from notifications_service.mongodb.driver_errors import NO_SNAPSHOT, of_write
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.secondaries import Reader
from notifications_service.notification import documents, filters, messages, schema, states, unreadable
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter
from notifications_service.notification.retention import Retention
from notifications_service.notification.schema import FEED_INDEX, UNREADABLE_INDEX
from notifications_service.notification.states import Transition
from notifications_service.notification.visibility import Visibility

NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}
# Rows that one command marks or deletes at most: it ends well within the query timeout.
MARK_BATCH: Final = 2_000
DELETE_BATCH: Final = 2_000
# Notifications of the last minutes that a mark of all looks for by the time of its `as_of`.
LATELY: Final = 1_000

# Unreadable rows that one command looks for: among all users of a count, and then of one user; and how many of them
# one command subtracts.
UNREADABLE_LOOK: Final = 100
UNREADABLE_BATCH: Final = 10_000
OFF_BATCH: Final = 10_000

# The server's code for a cluster time that it has not reached (InvalidOptions).
_NOT_COME: Final = 72

_IDS: Final = {"_id": 1}
_KEYS: Final = {"_id": 1, "createdAt": 1}
_SUMMED: Final = {"delivery.byChannel": 1}
# Rows without a place in the order of lists: where the user or the time is a list, any element matches, and ids of
# other types sort before or after all others of their millisecond.
_LIST_OF_USERS: Final = {"userId": {"$type": "array"}}
_PLACELESS: Final = (_LIST_OF_USERS, {"createdAt": {"$type": "array"}}, {"_id": {"$not": {"$type": "objectId"}}})

_BELOW: Final = MinKey()
_ABOVE: Final = MaxKey()

# Milliseconds since 1970 and id of a row. It is no datetime, since the year of a broken row may be out of its range.
PageKey = tuple[int, ObjectId]
# The filter of a page, and the key after which it begins.
PageStart = tuple[Filter, PageKey | None]

# A `rev` that this service does not write counts as none, as in etags, and must not make an update of many rows fail.
_COUNTS: Final = {"$in": [{"$type": "$rev"}, ["int", "long"]]}, {"$gt": ["$rev", 0]}, {"$lt": ["$rev", Int64(2**62)]}
_NEXT_REV: Final = {"$cond": [{"$and": list(_COUNTS)}, {"$add": ["$rev", 1]}, 1]}


class FeedRepository:
    """Reads and writes notifications; no method sees rows past their retention, or their `expiresAt`."""

    def __init__(
        self,
        database: Database,
        retention: Retention,
        clock: MillisecondClock,
        *,
        lists: Reader | None = None,
        counts: Reader | None = None,
    ) -> None:
        """``lists``, ``counts``: carry out these reads; None: the database itself does."""
        self._database = database
        self._lists = lists or database
        self._counts = counts or database
        self._retention = retention
        self._clock = clock
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def insert_each(self, new: Sequence[Document]) -> dict[int, Exception]:
        """Store notifications in one round trip, each by itself; return the errors of those that were refused."""
        try:
            await self._database.run(lambda: self._insert(new), {"documents": new})
        except WriteError as error:
            return {0: WriteError("refused", error.code)}
        except BulkWriteError as error:
            refused = ((item["index"], item["code"]) for item in error.details["writeErrors"])
            return {index: of_write(code) or WriteError("refused", code) for index, code in refused}
        return {}

    async def _insert(self, new: Sequence[Document]) -> None:
        if len(new) == 1:
            # The driver's ``insert_many`` takes a tenth of a millisecond more.
            await self._rows.insert_one(new[0])
        else:
            await self._rows.insert_many(new, ordered=False)

    @named
    async def insert_in(self, session: ClientSession, new: Sequence[Document]) -> None:
        """Store several notifications within a transaction of the caller's."""
        await self._rows.insert_many(new, session=session)

    @named
    async def get_many(self, keys: Sequence[ObjectId]) -> dict[ObjectId, Document]:
        """Return those of the notifications that exist."""
        left, rows = sorted(keys), dict[ObjectId, Document]()
        while left:
            query = {"_id": {"$in": left}}
            found = await self._database.find(schema.COLLECTION, query, limit=len(left), hint="_id_")
            shown = self._retention.visibility()
            rows |= {row["_id"]: row for row in found.rows if shown.shows(row)}
            # They come in the order of the index, so the missing ones are after the last one.
            left = [key for key in left if key > found.rows[-1]["_id"]] if found.cut else []
        return rows

    @named
    async def page(
        self, user_id: str, chosen: Filter, after: PageKey | None, limit: int, projection: Document | None
    ) -> QueryResult:
        """Return up to ``limit`` of a user's notifications that match, newest first, after the key ``after``.

        Without a projection rows have all that lists show. With one, unreadable rows are left out, because the
        projected fields may not show that they are.
        There are fewer rows where they are so large that MongoDB ends its answer.
        """
        query = _query_beyond(user_id, chosen, after, self._retention.visibility())
        if projection is not None:
            query["$nor"] += unreadable.CONDITIONS
        return await self._lists.find(
            schema.COLLECTION,
            query,
            limit=limit,
            hint=FEED_INDEX,
            sort=NEWEST_FIRST,
            projection=messages.LISTED_PROJECTION if projection is None else projection,
            snapshot=True,
        )

    @named
    async def pages(self, asked: Mapping[str, PageStart], limit: int) -> dict[str, QueryResult]:
        """Return a page of up to ``limit`` rows of each of several users in one command (``asked``: user → which).

        The filters must not restrict states. The parts of such a command cannot each name an index, and without
        states only the right one fits (docs/decisions/0012).
        """
        if len(asked) > 1 and (found := await self._pages(asked, limit)) is not None:
            return found
        # A command for one page can name its index, and costs the driver less.
        return {user_id: await self.page(user_id, *beginning, limit, None) for user_id, beginning in asked.items()}

    async def _pages(self, asked: Mapping[str, PageStart], limit: int) -> dict[str, QueryResult] | None:
        """Return the pages; None where rows are missing."""
        shown = self._retention.visibility()
        parts = [self._page(user_id, *beginning, limit, shown) for user_id, beginning in asked.items()]
        rest = [{"$unionWith": {"coll": schema.COLLECTION, "pipeline": part}} for part in parts[1:]]
        found = await self._lists.aggregate(schema.COLLECTION, parts[0] + rest, hint=FEED_INDEX, snapshot=True)
        if found.cut:
            return None
        pages = {user_id: QueryResult([], at=found.at) for user_id in asked}
        for row in found.rows:
            pages[row["userId"]].rows.append(row)
        return pages

    @named
    async def group(self, users: Sequence[str], by: Document, chosen: Filter = filters.EVERYTHING) -> QueryResult:
        """Count users' notifications that match by user and ``by``: rows of ``_id`` (their values) and ``n``.

        Unreadable rows are first counted with the rest, from the keys of the index alone, and then subtracted by rows
        whose ``n`` is negative.
        """
        query = self._query("", chosen) | {"userId": {"$in": list(users)}}
        off = await self._unreadable(users)
        counted = await self._grouped(query, by, FEED_INDEX)
        for part, hint in _taken_off(off):
            counted.rows.extend(row | {"n": -row["n"]} for row in (await self._grouped(query | part, by, hint)).rows)
        return counted

    async def _grouped(self, query: Document, by: Document, hint: str) -> QueryResult:
        pipeline = [{"$match": query}, {"$group": {"_id": {"userId": "$userId", **by}, "n": {"$sum": 1}}}]
        found = await self._counts.aggregate(schema.COLLECTION, pipeline, hint=hint, snapshot=True)
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
        return await self._counts.find(
            schema.COLLECTION, {}, limit=limit, hint=UNREADABLE_INDEX, projection=_IDS, **bounds
        )

    @named
    async def flag(self, keys: Sequence[ObjectId]) -> None:
        """Flag rows as unreadable that the conditions of the index do not find."""
        await self._update_many({"_id": {"$in": list(keys)}}, {"$set": {unreadable.FLAG: True}}, "_id_")

    @named
    async def unflag(self, keys: Sequence[ObjectId]) -> None:
        """Remove the flag from rows that can be read again."""
        query = {"_id": {"$in": list(keys)}, unreadable.FLAG: True}
        await self._update_many(query, {"$unset": {unreadable.FLAG: ""}}, "_id_")

    @named
    async def update(self, key: ObjectId, changes: Document, conditions: Document) -> Document | None:
        """Set fields of a notification that meets the conditions; return it as it is now, or None.

        A field whose value is None is removed.
        """
        query = {"_id": key, **self._retention.visibility().of_any_row, **conditions}
        update = _pipeline(assigned(changes), self._clock())
        options: dict[str, Any] = {"return_document": ReturnDocument.AFTER, "collation": BYTEWISE}
        return await self._database.run(lambda: self._rows.find_one_and_update(query, update, **options), query)

    @named
    async def mark(self, user_id: str, ids: Sequence[ObjectId], change: Transition) -> int:
        """Move a user's notifications to a state; return how many were not in it yet."""
        query = self._query(user_id, filters.EVERYTHING)
        query["_id"] = {"$in": list(ids)}
        return await self._mark(query, change, hint="_id_")

    @named
    async def seen_lately(self, user_id: str, as_of: AsOf) -> list[ObjectId]:
        """Return a user's newest notifications that were there at ``as_of``, of those whose stamps may not tell.

        Returns none where the database no longer keeps that time, after some minutes. Raises AsOfInvalid where it has
        not come yet: it is another database's.
        """
        query: Document = {"userId": user_id, "createdAt": {"$gt": as_of.unsettled_since}, "$nor": [*_PLACELESS]}
        # What has expired since is not to be marked, and takes nobody's place.
        query["expiresAt"] = self._retention.visibility().unexpired
        concern = {"level": "snapshot", "atClusterTime": as_of.at}
        try:
            found = await self._database.find(
                schema.COLLECTION,
                query,
                limit=LATELY,
                hint=FEED_INDEX,
                sort=NEWEST_FIRST,
                projection=_IDS,
                readConcern=concern,
            )
        except OperationFailure as error:
            if error.code == _NOT_COME:
                raise AsOfInvalid from None
            if error.code not in NO_SNAPSHOT:
                raise
            return []
        return [row["_id"] for row in found.rows]

    @named
    async def mark_all(
        self,
        user_id: str,
        chosen: Filter,
        bound: Document,
        change: Transition,
        *,
        limit: int,
        after: PageKey | None = None,
    ) -> tuple[int, PageKey | None]:
        """Move up to ``limit`` of a user's notifications that match to a state, newest first, after the key ``after``.

        ``bound``: one more condition on them. Returns how many moved, and the key after which the next batch begins;
        None: there is none.
        """
        query = _query_beyond(user_id, chosen, after, self._retention.visibility())
        query["$and"] = [*_standing_on(query, change), bound]
        found = await self._database.find(
            schema.COLLECTION, query, limit=limit, hint=FEED_INDEX, sort=NEWEST_FIRST, projection=_KEYS
        )
        moved = await self.mark(user_id, [row["_id"] for row in found.rows], change) if found.rows else 0
        return moved, page_key(found.rows[-1]) if len(found.rows) == limit or found.cut else None

    @named
    async def delete(self, key: ObjectId, conditions: Document) -> Document | None:
        """Delete a notification that meets the conditions; return what it summed up of its deliveries, or None."""
        query = {"_id": key, **self._retention.visibility().of_any_row, **conditions}
        options: dict[str, Any] = {"projection": _SUMMED, "collation": BYTEWISE}
        return await self._database.run(lambda: self._rows.find_one_and_delete(query, **options), query)

    @named
    async def delete_of_user(self, user_id: str, *, visible: bool, limit: int) -> tuple[int, bool]:
        """Delete up to ``limit`` of a user's notifications; return how many went, and whether more may be left.

        ``visible``: only those that lists show; otherwise all, also expired and unreadable ones.
        """
        # But no row of another system whose list of users contains this one.
        query: Document = {"userId": user_id, "$nor": [_LIST_OF_USERS]}
        if visible:
            query = self._query(user_id, filters.EVERYTHING) | unreadable.PASSED_BY
        found, gone = await self._database.run(lambda: self._delete_batch(query, limit), query)
        return gone, found == limit

    def _page(
        self, user_id: str, chosen: Filter, after: PageKey | None, limit: int, shown: Visibility
    ) -> list[Document]:
        query = _query_beyond(user_id, chosen, after, shown)
        return [{"$match": query}, {"$sort": NEWEST_FIRST}, {"$limit": limit}, {"$project": messages.LISTED_PROJECTION}]

    async def _mark(self, query: Document, change: Transition, hint: str) -> int:
        # Rows that are in that state already do not match, so the matched rows are those that changed.
        query["$and"] = _standing_on(query, change)
        query |= unreadable.PASSED_BY
        at = self._clock()
        update = _pipeline(states.transition(change.target, at), at)
        return (await self._update_many(query, update, hint)).modified_count

    async def _update_many(self, query: Document, update: Any, hint: str) -> UpdateResult:
        return await self._database.run(
            lambda: self._rows.update_many(query, update, hint=hint, collation=BYTEWISE), query
        )

    async def _delete_batch(self, query: Document, limit: int) -> tuple[int, int]:
        """Delete a batch; return how many rows were found, and how many were deleted."""
        rows = self._rows.find(query, _IDS, limit=limit, hint=FEED_INDEX, collation=BYTEWISE)
        ids = [row["_id"] async for row in rows]
        gone = (await self._rows.delete_many({"_id": {"$in": ids}})).deleted_count if ids else 0
        return len(ids), gone

    def _query(self, user_id: str, chosen: Filter) -> Document:
        return filters.query(user_id, chosen, self._retention.visibility())


def _query_beyond(user_id: str, chosen: Filter, after: PageKey | None, shown: Visibility) -> Document:
    query = filters.query(user_id, chosen, shown)
    query["$nor"] = [*_PLACELESS]
    if after is not None:
        time, key = DatetimeMS(after[0]), after[1]
        query["createdAt"]["$lte"] = time
        # Of the key's own millisecond only rows after its id. It is a `$nor`, since an `$or` would let the planner
        # choose indexes of its branches, and pages that share a command cannot name theirs.
        query["$nor"].append({"createdAt": time, "_id": {"$not": {"$lt": key}}})
    return query


def page_key(row: Document) -> PageKey:
    """Return the key after which the next rows begin."""
    created = row["createdAt"]
    return documents.milliseconds(created) if isinstance(created, datetime) else int(created), row["_id"]


def _standing_on(query: Document, change: Transition) -> list[Document]:
    """Return the conditions of a query, and that a row stands where the change moves it from."""
    return [*query.get("$and", ()), *states.one_of(change.sources)] or [{}]


def _taken_off(ids: Sequence[Any]) -> Iterator[tuple[Document, str]]:
    """Yield the conditions, and the index for each, that together find the rows with these ids."""
    proper = [key for key in ids if isinstance(key, ObjectId)]
    for start in range(0, len(proper), OFF_BATCH):
        yield {"_id": {"$in": proper[start : start + OFF_BATCH]}}, "_id_"
    if len(proper) < len(ids):
        # All others are unreadable, and their ids may not be found again after the driver has decoded them.
        yield {"_id": {"$not": {"$type": "objectId"}}}, FEED_INDEX


def _pipeline(changes: Document, at: datetime) -> list[dict[str, Any]]:
    return [{"$set": {**changes, "rev": _NEXT_REV, "updatedAt": at}}]
