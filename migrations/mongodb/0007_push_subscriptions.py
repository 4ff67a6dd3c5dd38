"""Where users' push messages go: subscriptions of browsers, their endpoints and keys sealed."""

from __future__ import annotations

from typing import Any

BYTEWISE = {"locale": "simple"}


async def up(database: Any) -> None:
    # Made here: a collection that a transaction has to make itself costs it a lock.
    if "push_subscriptions" not in await database.list_collection_names():
        await database.create_collection("push_subscriptions")
    collection = database.push_subscriptions
    await collection.create_index([("endpointHash", 1)], name="endpoint", unique=True, collation=BYTEWISE)
    keys = [("userId", 1), ("createdAt", -1), ("_id", -1)]
    await collection.create_index(keys, name="user", collation=BYTEWISE)
    await collection.create_index([("keyId", 1)], name="key", collation=BYTEWISE)
    await collection.create_index([("expiresAt", 1)], name="expiresAt_1", expireAfterSeconds=0)


async def down(database: Any) -> None:
    await database.drop_collection("push_subscriptions")
