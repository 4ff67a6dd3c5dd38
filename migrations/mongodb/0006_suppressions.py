"""The suppression list: addresses to which nothing is sent, sealed, each found by its keyed hash.

One row for each address and reason. A bounce ends by itself, so its row is swept then; a complaint stays.
"""

from __future__ import annotations

from typing import Any

VALIDATOR: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "reason", "createdAt"],
        "properties": {
            "_id": {"bsonType": "string"},
            "reason": {"enum": ["bounce", "complaint"]},
            "address": {"bsonType": "binData"},
            "deliveryId": {"bsonType": "string"},
            "detail": {"bsonType": "string"},
            "createdAt": {"bsonType": "date"},
            "expiresAt": {"bsonType": "date"},
        },
    }
}


async def up(database: Any) -> None:
    # Made here: a collection that a transaction has to make itself costs it a lock.
    if "suppressions" not in await database.list_collection_names():
        await database.create_collection("suppressions")
    await database.command("collMod", "suppressions", validator=VALIDATOR, validationLevel="strict")
    collection = database.suppressions
    listed = [("createdAt", -1), ("_id", -1), ("reason", 1), ("expiresAt", 1)]
    await collection.create_index(listed, name="listed")
    await collection.create_index([("expiresAt", 1)], name="ends", expireAfterSeconds=0)


async def down(database: Any) -> None:
    await database.drop_collection("suppressions")
