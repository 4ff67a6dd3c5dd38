"""The outbox of what goes out by email and push, and the states that a notification can have with it.

What was stored as pending before is settled as cancelled: it must not be sent now. It has no delivery that could be.

The filter of the index of what cannot be read knows the new states. It is an index of another name, so that the old one
serves until the new one is built; no released version asks for the old one.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

from migrations.mongodb.backfill import backfill

BYTEWISE = {"locale": "simple"}
OPTIONAL_DATE = {"bsonType": ["date", "null"]}
OLD_STATES = ["pending", "sending", "sent", "failed", "cancelled", "suppressed"]
STATES = [
    *("bounced", "cancelled", "complained", "expired", "failed"),
    *("pending", "scheduled", "sending", "sent", "suppressed"),
]
UNREADABLE = [("userId", 1), ("_id", 1)]
UNSENT = {"delivery.state": {"$in": ["pending", "sending"]}}
SETTLED = {
    "$set": {"delivery.state": "cancelled", "delivery.reason": "predates_delivery"},
    "$unset": {"delivery.nextAttemptAt": ""},
}


def _validator(states: list[str], **more: Any) -> dict[str, Any]:
    return {
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
                        "state": {"enum": states},
                        **more,
                        "attempts": {"bsonType": ["int", "long"]},
                        "scheduledAt": OPTIONAL_DATE,
                        "nextAttemptAt": OPTIONAL_DATE,
                        "lastAttemptAt": OPTIONAL_DATE,
                    },
                },
            },
        }
    }


VALIDATOR = _validator(STATES, reason={"bsonType": "string"}, byChannel={"bsonType": "object"})
OLD_VALIDATOR = _validator(OLD_STATES)


# Types of BSON by number, all but those that fit: a list of any never does.
def _no(field: str, *fitting: int) -> dict[str, Any]:
    return {field: {"$type": [number for number in (*range(1, 20), -1, 127) if number not in fitting]}}


def _none_of(field: str, *values: str) -> list[dict[str, Any]]:
    between = [{field: {"$gt": low, "$lt": high}} for low, high in itertools.pairwise(values)]
    return [{field: {"$lt": values[0]}}, *between, {field: {"$gt": values[-1]}}]


def _no_date(field: str) -> list[dict[str, Any]]:
    return [_no(field, 9, 6, 10), {field: {"$lt": FIRST}}, {field: {"$gt": LAST}}]


FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_000)  # noqa: DTZ001
TEXTS, NAMES, NOTHING = (2, 13, 14, 15), (2, 14), (6, 10)
DATES = ("createdAt", "updatedAt", "seenAt", "readAt", "archivedAt", "sentAt", "delivery.scheduledAt")


def _filter(states: list[str]) -> dict[str, Any]:
    return {
        "$or": [
            {"unreadable": True},
            *({field: None} for field in ("userId", "title", "message", "type", "createdAt")),
            _no("_id", 7),
            *(_no(field, *TEXTS) for field in ("userId", "title", "message")),
            _no("type", *NAMES),
            *_none_of("type", "email", "in-app", "push"),
            _no("category", *TEXTS, *NOTHING),
            _no("data", 3, *NOTHING),
            *(_no(field, 8, *NOTHING) for field in ("seen", "read", "archived")),
            *(condition for field in DATES for condition in _no_date(field)),
            _no("delivery", 3, 12, *NOTHING),
            _no("delivery.state", *NAMES, *NOTHING),
            *_none_of("delivery.state", *sorted(states)),
        ]
    }


COUNT, TEXT, DATE = {"bsonType": ["int", "long"]}, {"bsonType": "string"}, {"bsonType": "date"}
DELIVERIES = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "kind", "channel", "state", "attempts", "createdAt", "updatedAt", "rev"],
        "properties": {
            "_id": TEXT,
            "kind": {"enum": ["notification", "digest", "direct"]},
            "notificationId": {"bsonType": "objectId"},
            "userId": TEXT,
            "channel": {"enum": ["email", "push"]},
            "category": TEXT,
            "state": {"enum": STATES},
            "reason": TEXT,
            "reasonDetail": TEXT,
            "dueAt": DATE,
            "deferral": TEXT,
            "attempts": COUNT,
            "log": {"bsonType": "array"},
            "lease": TEXT,
            "leasedAt": DATE,
            "expiresAt": DATE,
            "sentAt": DATE,
            "finishedAt": DATE,
            "collapseKey": TEXT,
            "critical": {"bsonType": "bool"},
            "createdAt": DATE,
            "updatedAt": DATE,
            "rev": COUNT,
        },
    }
}
OPEN = {"dueAt": {"$exists": True}}
NEWEST_FIRST = [("createdAt", -1), ("_id", -1)]
ASKED_FOR = ("channel", "kind", "reason", "deferral", "category", "finishedAt")
INDEXES: Any = (
    ("claim", [("channel", 1), ("dueAt", 1)], OPEN),
    ("collapse", [("userId", 1), ("channel", 1), ("collapseKey", 1)], {"collapseKey": {"$exists": True}, **OPEN}),
    ("of_notification", [("notificationId", 1), *NEWEST_FIRST], {"notificationId": {"$exists": True}}),
    ("of_user", [("userId", 1), *NEWEST_FIRST], None),
    ("of_address", [("log.addressHash", 1), *NEWEST_FIRST], {"log.addressHash": {"$exists": True}}),
    ("of_message", [("log.providerMessageId", 1), *NEWEST_FIRST], {"log.providerMessageId": {"$exists": True}}),
    ("listed", [("state", 1), *NEWEST_FIRST, *((field, 1) for field in ASKED_FOR)], None),
)


async def up(database: Any) -> None:
    # Made here: a collection that a transaction has to make itself costs it a lock.
    if "deliveries" not in await database.list_collection_names():
        await database.create_collection("deliveries")
    strict = {"validationLevel": "strict", "validationAction": "error"}
    await database.command("collMod", "deliveries", validator=DELIVERIES, **strict)
    for name, keys, held in INDEXES:
        options = {} if held is None else {"partialFilterExpression": held}
        await database.deliveries.create_index(keys, name=name, collation=BYTEWISE, **options)
    notifications = database.notifications
    await database.command("collMod", "notifications", validator=VALIDATOR, validationLevel="moderate")
    await notifications.create_index(
        UNREADABLE, name="unreadable_rows", partialFilterExpression=_filter(STATES), collation=BYTEWISE
    )
    if "unreadable" in await notifications.index_information():
        await notifications.drop_index("unreadable")
    await backfill(notifications, UNSENT, SETTLED)


async def down(database: Any) -> None:
    await database.drop_collection("deliveries")
    notifications = database.notifications
    await notifications.create_index(
        UNREADABLE, name="unreadable", partialFilterExpression=_filter(OLD_STATES), collation=BYTEWISE
    )
    await notifications.drop_index("unreadable_rows")
    await database.command("collMod", "notifications", validator=OLD_VALIDATOR, validationLevel="moderate")
