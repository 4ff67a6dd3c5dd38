"""All queries on the `notifications` collection but counts. Why each has the index it names: docs/decisions/0010."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo import ReturnDocument
from pymongo.errors import BulkWriteError, OperationFailure, WriteError
from pymongo.results import UpdateResult

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.errors import AsOfInvalid
from notifications_service.feed.counts import FeedCounts
from notifications_service.feed.paging import PageKey, PageStart, page_key
from notifications_service.mongodb.assigning import assigned
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database, QueryResult
from notifications_service.mongodb.driver_errors import NO_SNAPSHOT, of_write
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.secondaries import Reader
from notifications_service.mongodb.sharding import of_users
from notifications_service.notification import filters, messages, schema, states, unreadable
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter
from notifications_service.notification.retention import Retention
from notifications_service.notification.schema import FEED_INDEX
from notifications_service.notification.states import Transition
from notifications_service.notification.visibility import Visibility

NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}
# Rows that one command marks or deletes at most: it ends well within the query timeout.
MARK_BATCH: Final = 2_000
DELETE_BATCH: Final = 2_000
# Notifications of the last minutes that a mark of all looks for by the time of its `as_of`.
LATELY: Final = 1_000

# The server's code for a cluster time that it has not reached (InvalidOptions).
_NOT_COME: Final = 72

_IDS: Final = {"_id": 1}
_KEYS: Final = {"_id": 1, "createdAt": 1}
_SUMMED: Final = {"delivery.byChannel": 1, "userId": 1}
# Rows without a place in the order of lists: where the user or the time is a list, any element matches, and ids of
# other types sort before or after all others of their millisecond.
_LIST_OF_USERS: Final = {"userId": {"$type": "array"}}
_PLACELESS: Final = (_LIST_OF_USERS, {"createdAt": {"$type": "array"}}, {"_id": {"$not": {"$type": "objectId"}}})

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
        self.counts: Final = FeedCounts(database, retention, counts)
        self._database = database
        self._lists = lists or database
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
    async def get_many(
        self, keys: Sequence[ObjectId], projection: Document | None = None, *, users: Collection[str] = ()
    ) -> dict[ObjectId, Document]:
        """Return those of the notifications that exist. A projection must have `createdAt` and `expiresAt`.

        ``users``: whose they are, if that is known; others' are then left out.
        """
        left, rows = sorted(keys), dict[ObjectId, Document]()
        while left:
            query = {"_id": {"$in": left}, **of_users(users)}
            found = await self._database.find(
                schema.COLLECTION, query, limit=len(left), hint="_id_", projection=projection
            )
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
        """Delete a notification that meets the conditions; return whose it was, and its sum of deliveries, or None."""
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
        mine = {"_id": {"$in": ids}, "userId": query["userId"]}
        gone = (await self._rows.delete_many(mine, hint="_id_", collation=BYTEWISE)).deleted_count if ids else 0
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


def _standing_on(query: Document, change: Transition) -> list[Document]:
    """Return the conditions of a query, and that a row stands where the change moves it from."""
    return [*query.get("$and", ()), *states.one_of(change.sources)] or [{}]


def _pipeline(changes: Document, at: datetime) -> list[dict[str, Any]]:
    return [{"$set": {**changes, "rev": _NEXT_REV, "updatedAt": at}}]
