"""Scheduled notifications: a collection of those that wait for their time.

What stands in the feed with a time to come was visible before, and stays so.
"""

from __future__ import annotations

from typing import Any

BYTEWISE = {"locale": "simple"}


async def up(database: Any) -> None:
    # Made here: a collection that a transaction has to make itself costs it a lock.
    if "scheduled_notifications" not in await database.list_collection_names():
        await database.create_collection("scheduled_notifications")
    collection = database.scheduled_notifications
    await collection.create_index([("dueAt", 1)], name="due", collation=BYTEWISE)
    keys = [("userId", 1), ("delivery.scheduledAt", 1), ("_id", 1)]
    await collection.create_index(keys, name="of_user", collation=BYTEWISE)


async def down(database: Any) -> None:
    await database.drop_collection("scheduled_notifications")
