"""What notifications say of channels, when they expire, what they replace and what they belong to.

The index of the feed is made anew with what queries test besides: when a notification expires, and its thread. So is
that of what cannot be read, with what is wrong in these two. Each has another name than the one before, which serves
until the new one is built; no released version asks for the old ones. What expires has an index by which it is removed.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

BYTEWISE = {"locale": "simple"}
OPTIONAL_DATE = {"bsonType": ["date", "null"]}
TYPES = ["email", "push", "in-app"]
STATES = [
    *("bounced", "cancelled", "complained", "expired", "failed"),
    *("pending", "scheduled", "sending", "sent", "suppressed"),
]
OLD_FEED = [
    ("userId", 1),
    ("createdAt", -1),
    ("_id", -1),
    ("archived", 1),
    ("read", 1),
    ("seen", 1),
    ("type", 1),
    ("category", 1),
]
FEED = [*OLD_FEED, ("expiresAt", 1), ("threadKey", 1)]
UNREADABLE = [("userId", 1), ("_id", 1)]
TEXT, COUNT = {"bsonType": "string"}, {"bsonType": ["int", "long"]}
FURTHER = {
    "channels": {"bsonType": "array", "items": {"enum": TYPES}},
    "email": {
        "bsonType": "object",
        "properties": {
            **dict.fromkeys(("subject", "text", "html", "replyTo"), TEXT),
            "delay": COUNT,
            "unlessRead": {"bsonType": "bool"},
        },
    },
    "push": {
        "bsonType": "object",
        "properties": {**dict.fromkeys(("title", "body", "url", "icon"), TEXT), "ttl": COUNT},
    },
    "urgency": {"enum": ["very-low", "low", "normal", "high"]},
    "critical": {"bsonType": "bool"},
    "expiresAt": OPTIONAL_DATE,
    "collapseKey": TEXT,
    "threadKey": TEXT,
    "locale": TEXT,
}


def _validator(**further: Any) -> dict[str, Any]:
    return {
        "$jsonSchema": {
            "bsonType": "object",
            "required": ["_id", "title", "message", "type", "userId", "createdAt"],
            "properties": {
                "_id": {"bsonType": "objectId"},
                "title": TEXT,
                "message": TEXT,
                "type": {"enum": TYPES},
                "userId": TEXT,
                "category": TEXT,
                "data": {"bsonType": "object"},
                **further,
                "seen": {"bsonType": "bool"},
                "seenAt": OPTIONAL_DATE,
                "read": {"bsonType": "bool"},
                "readAt": OPTIONAL_DATE,
                "archived": {"bsonType": "bool"},
                "archivedAt": OPTIONAL_DATE,
                "sentAt": OPTIONAL_DATE,
                "createdAt": {"bsonType": "date"},
                "updatedAt": OPTIONAL_DATE,
                "rev": COUNT,
                "delivery": {
                    "bsonType": "object",
                    "required": ["state"],
                    "properties": {
                        "state": {"enum": STATES},
                        "reason": TEXT,
                        "byChannel": {"bsonType": "object"},
                        "attempts": COUNT,
                        "scheduledAt": OPTIONAL_DATE,
                        "nextAttemptAt": OPTIONAL_DATE,
                        "lastAttemptAt": OPTIONAL_DATE,
                    },
                },
            },
        }
    }


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
OLD_DATES = ("createdAt", "updatedAt", "seenAt", "readAt", "archivedAt", "sentAt", "delivery.scheduledAt")


def _filter(texts: tuple[str, ...], dates: tuple[str, ...]) -> dict[str, Any]:
    return {
        "$or": [
            {"unreadable": True},
            *({field: None} for field in ("userId", "title", "message", "type", "createdAt")),
            _no("_id", 7),
            *(_no(field, *TEXTS) for field in ("userId", "title", "message")),
            _no("type", *NAMES),
            *_none_of("type", *sorted(TYPES)),
            *(_no(field, *TEXTS, *NOTHING) for field in texts),
            _no("data", 3, *NOTHING),
            *(_no(field, 8, *NOTHING) for field in ("seen", "read", "archived")),
            *(condition for field in dates for condition in _no_date(field)),
            _no("delivery", 3, 12, *NOTHING),
            _no("delivery.state", *NAMES, *NOTHING),
            *_none_of("delivery.state", *STATES),
        ]
    }


FILTER = _filter(("category", "threadKey"), (*OLD_DATES, "expiresAt"))
OLD_FILTER = _filter(("category",), OLD_DATES)


async def up(database: Any) -> None:
    await database.command("collMod", "notifications", validator=_validator(**FURTHER), validationLevel="moderate")
    notifications = database.notifications
    # Only dates: of a list the sweeper would take the earliest.
    dates = {"expiresAt": {"$type": "date"}}
    await notifications.create_index(
        [("expiresAt", 1)], name="expiresAt_1", expireAfterSeconds=0, partialFilterExpression=dates, collation=BYTEWISE
    )
    await _exchange(notifications, ("feed", "feed_rows"), FEED)
    await _exchange(notifications, ("unreadable_rows", "unreadable"), UNREADABLE, partialFilterExpression=FILTER)


async def down(database: Any) -> None:
    notifications = database.notifications
    await _exchange(notifications, ("unreadable", "unreadable_rows"), UNREADABLE, partialFilterExpression=OLD_FILTER)
    await _exchange(notifications, ("feed_rows", "feed"), OLD_FEED)
    await notifications.drop_index("expiresAt_1")
    await database.command("collMod", "notifications", validator=_validator(), validationLevel="moderate")


async def _exchange(collection: Any, names: tuple[str, str], keys: list[tuple[str, int]], **options: Any) -> None:
    """Build the index with the second name, then drop that with the first; either may have been done before."""
    old, new = names
    await collection.create_index(keys, name=new, collation=BYTEWISE, **options)
    if old in await collection.index_information():
        await collection.drop_index(old)
