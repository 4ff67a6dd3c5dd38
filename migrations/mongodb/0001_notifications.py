"""The `notifications` collection: validator and indexes of the source's own system.

But its third, the TTL index on `createdAt`: `migrate up` makes that with the retention of its setting, since one made
here with another would delete documents until it is changed.
"""

from __future__ import annotations

from typing import Any

OPTIONAL_DATE = {"bsonType": ["date", "null"]}

# Types only: that system writes to the same collection, and sets no limits to the length of texts.
VALIDATOR: dict[str, Any] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "title", "message", "type", "userId", "createdAt"],
        "properties": {
            "_id": {"bsonType": "objectId"},
            "title": {"bsonType": "string"},
            "message": {"bsonType": "string"},
            "type": {"enum": ["email", "push", "in-app"]},
            "userId": {"bsonType": "string"},
            "category": {"bsonType": "string"},
            "data": {"bsonType": "object"},
            "seen": {"bsonType": "bool"},
            "seenAt": OPTIONAL_DATE,
            "read": {"bsonType": "bool"},
            "readAt": OPTIONAL_DATE,
            "archived": {"bsonType": "bool"},
            "archivedAt": OPTIONAL_DATE,
            "sentAt": OPTIONAL_DATE,
            "createdAt": {"bsonType": "date"},
            "updatedAt": OPTIONAL_DATE,
            "rev": {"bsonType": ["int", "long"]},
            "delivery": {
                "bsonType": "object",
                "required": ["state"],
                "properties": {
                    "state": {"enum": ["pending", "sending", "sent", "failed", "cancelled", "suppressed"]},
                    "attempts": {"bsonType": ["int", "long"]},
                    "scheduledAt": OPTIONAL_DATE,
                    "nextAttemptAt": OPTIONAL_DATE,
                    "lastAttemptAt": OPTIONAL_DATE,
                },
            },
        },
    }
}


async def up(database: Any) -> None:
    # The collection may be there already, made and filled by the source's own system.
    if "notifications" not in await database.list_collection_names():
        await database.create_collection("notifications")
    # moderate: rows that are there and break the rules can still be marked and deleted.
    await database.command("collMod", "notifications", validator=VALIDATOR, validationLevel="moderate")
    collection = database.notifications
    await collection.create_index([("userId", 1), ("createdAt", -1)])
    await collection.create_index([("read", 1)])


async def down(database: Any) -> None:
    await database.drop_collection("notifications")
