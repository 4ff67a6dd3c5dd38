"""All statements on the collection `push_subscriptions`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, cast

from bson import Binary
from pymongo import ReturnDocument

from chassis.context.statements import named
from chassis.contract.ids import new_id
from chassis.contract.keyset import TimeAndId
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification.schema import PUSH_SUBSCRIPTIONS
from notifications_service.push_subscriptions.model import (
    ID_PREFIX,
    MOST_OF_USER,
    NewSubscription,
    PushTarget,
    Seal,
    endpoint_hash,
)

USER_INDEX: Final = "user"
ENDPOINT_INDEX: Final = "endpoint"
KEY_INDEX: Final = "key"
NEWEST_FIRST: Final = {"createdAt": -1, "_id": -1}
# Users whose subscriptions one command reads: 50 of each, of at most 3 KB, stay within one answer of MongoDB.
USERS_BATCH: Final = 50
# Rows of a user that are looked at when one is too many; more are there only while many register at once.
_LOOKED_AT: Final = 1_000


class PushSubscriptionRepository:
    """Reads and writes subscriptions; no method shows one whose end, as its browser told it, has passed."""

    def __init__(self, database: Database, seal: Seal, clock: MillisecondClock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock
        self._rows = database.collection(PUSH_SUBSCRIPTIONS)

    @named
    async def of_users(self, user_ids: Collection[str]) -> dict[str, list[PushTarget]]:
        """Return the subscriptions of each user, at most ``MOST_OF_USER``, newest first; a user without has no entry.

        One whose seal cannot be opened is there, and is not ``is_opened``.
        """
        targets: dict[str, list[PushTarget]] = {}
        users = sorted(set(user_ids))
        for start in range(0, len(users), USERS_BATCH):
            for row in await self._of(users[start : start + USERS_BATCH]):
                theirs = targets.setdefault(row["userId"], [])
                if len(theirs) < MOST_OF_USER:
                    theirs.append(self._seal.target(row))
        return targets

    async def _of(self, users: Sequence[str]) -> list[Document]:
        found = await self._database.find(
            PUSH_SUBSCRIPTIONS,
            {"userId": {"$in": list(users)}, **self._live()},
            limit=_LOOKED_AT * len(users),
            hint=USER_INDEX,
            sort={"userId": 1, **NEWEST_FIRST},
        )
        if found.cut and len(users) > 1:
            half = len(users) // 2
            return await self._of(users[:half]) + await self._of(users[half:])
        return found.rows

    @named
    async def remove(self, ids: Collection[str]) -> None:
        """Delete subscriptions that their push services no longer know."""
        query = {"_id": {"$in": sorted(ids)}}
        await self._database.run(lambda: self._rows.delete_many(query, hint="_id_", collation=BYTEWISE), query)

    @named
    async def used(self, ids: Collection[str], at: datetime) -> None:
        """Note that push services accepted messages for these at ``at``."""
        query = {"_id": {"$in": sorted(ids)}}
        update = {"$max": {"lastUsedAt": at, "aliveAt": at}}
        await self._database.run(lambda: self._rows.update_many(query, update, hint="_id_", collation=BYTEWISE), query)

    @named
    async def put(self, new: NewSubscription, session: ClientSession | None = None) -> Document:
        """Store a subscription, or renew the one with its endpoint; return the row.

        One that another user had becomes this user's, with nothing left of the other's but its id. DuplicateKeyError
        passes: another call stored the same endpoint at this moment.
        """
        query = {"endpointHash": endpoint_hash(new.endpoint)}
        update = [{"$set": self._fields(new, self._clock())}]
        options: dict[str, Any] = {"upsert": True, "return_document": ReturnDocument.AFTER, "collation": BYTEWISE}

        async def write() -> Document:
            row = await self._rows.find_one_and_update(query, update, session=session, **options)
            return cast("Document", row)  # an upsert leaves none out

        return await write() if session is not None else await self._database.run(write, query)

    def _fields(self, new: NewSubscription, at: datetime) -> Document:
        same = {"$eq": ["$userId", {"$literal": new.user_id}]}
        return {
            "_id": {"$ifNull": ["$_id", new_id(ID_PREFIX)]},
            "userId": {"$literal": new.user_id},
            "sealed": self._seal.close(new),
            "keyId": {"$literal": new.key_id},
            "userAgent": {"$literal": new.user_agent},
            "createdAt": {"$cond": [same, "$createdAt", at]},
            "lastUsedAt": {"$cond": [same, "$lastUsedAt", "$$REMOVE"]},
            # When it was registered or used last: of a user's subscriptions the one longest silent gives way.
            "aliveAt": at,
            "expiresAt": new.expires_at or "$$REMOVE",
        }

    @named
    async def trim(self, user_id: str) -> None:
        """Delete those of a user's subscriptions beyond ``MOST_OF_USER`` that were used longest ago.

        Calls that trim at once choose the same ones, and one that is renewed meanwhile stays.
        """
        found = await self._database.find(
            PUSH_SUBSCRIPTIONS,
            {"userId": user_id, **self._live()},
            limit=_LOOKED_AT,
            hint=USER_INDEX,
            projection={"aliveAt": 1},
        )
        newest = sorted(found.rows, key=lambda row: (row["aliveAt"], row["_id"]), reverse=True)
        silent = newest[MOST_OF_USER:]
        if not silent:
            return
        query = {
            "_id": {"$in": [row["_id"] for row in silent]},
            "userId": user_id,
            "aliveAt": {"$lte": silent[0]["aliveAt"]},
        }
        await self._database.run(lambda: self._rows.delete_many(query, hint="_id_", collation=BYTEWISE), query)

    @named
    async def page(self, user_id: str, after: TimeAndId | None, limit: int) -> list[Document]:
        """Return up to ``limit`` of a user's rows, newest first, after the key ``after``."""
        query: Document = {"userId": user_id, **self._live()}
        if after is not None:
            created, id_ = after
            query["createdAt"] = {"$lte": created}
            query["$or"] = [{"createdAt": {"$lt": created}}, {"_id": {"$lt": id_}}]
        found = await self._database.find(PUSH_SUBSCRIPTIONS, query, limit=limit, hint=USER_INDEX, sort=NEWEST_FIRST)
        return found.rows

    @named
    async def delete(self, user_id: str, id_: str) -> bool:
        """Delete a user's subscription by its id; say whether there was one."""
        return await self._delete({"_id": id_, "userId": user_id}, "_id_")

    @named
    async def delete_endpoint(self, user_id: str, endpoint: str) -> bool:
        """Delete a user's subscription by its endpoint; say whether there was one."""
        return await self._delete({"endpointHash": endpoint_hash(endpoint), "userId": user_id}, ENDPOINT_INDEX)

    @named
    async def seals_after(self, id_: str, limit: int) -> list[Document]:
        """Return the seals of up to ``limit`` rows in the order of ids, after the id ``id_``; ended ones, too."""
        shown = {"sealed": 1, "endpointHash": 1}
        query = {"_id": {"$gt": id_}}
        found = await self._database.find(
            PUSH_SUBSCRIPTIONS, query, limit=limit, hint="_id_", sort={"_id": 1}, projection=shown
        )
        return found.rows

    @named
    async def reseal(self, row: Document, sealed: Binary) -> bool:
        """Put another seal in place of the one that was read; say whether nobody had done so meanwhile."""
        query = {"_id": row["_id"], "sealed": row["sealed"]}
        update = {"$set": {"sealed": sealed}}
        done = await self._database.run(
            lambda: self._rows.update_many(query, update, hint="_id_", collation=BYTEWISE), query
        )
        return bool(done.modified_count)

    @named
    async def delete_of_user(self, user_id: str) -> None:
        """Delete all of a user's subscriptions; may be repeated."""
        query = {"userId": user_id}
        await self._database.run(lambda: self._rows.delete_many(query, hint=USER_INDEX, collation=BYTEWISE), query)

    async def _delete(self, query: Document, hint: str) -> bool:
        query = {**query, **self._live()}
        done = await self._database.run(lambda: self._rows.delete_one(query, hint=hint, collation=BYTEWISE), query)
        return bool(done.deleted_count)

    def _live(self) -> Document:
        return {"expiresAt": {"$not": {"$lte": self._clock()}}}


@named
async def key_beside(database: Database, known: Collection[str]) -> str | None:
    """Return the id of a key that is none of these and that a subscription was made with; None: there is none.

    It costs one look into the index for each key, however many subscriptions there are.
    """
    shown = {"_id": 0, "keyId": 1}
    query = {"keyId": {"$nin": sorted(known)}}
    found = await database.find(PUSH_SUBSCRIPTIONS, query, limit=1, hint=KEY_INDEX, projection=shown)
    return found.rows[0]["keyId"] if found.rows else None
