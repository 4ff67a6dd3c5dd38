"""Digests: modes and times in preferences, lanes and digests in the outbox.

Claims ask for what is due of a lane, so their index has the lane. The one without it goes: no released version asks for
it.
"""

from __future__ import annotations

from typing import Any

BYTEWISE = {"locale": "simple"}
WHOLE = {"bsonType": ["int", "long"]}
TEXT, DATE, TRUTH = {"bsonType": "string"}, {"bsonType": "date"}, {"bsonType": "bool"}
SINGLE = ["on", "off"]
MODES = [*SINGLE, "digest_daily", "digest_hourly", "digest_weekly"]
STATES = [
    *("bounced", "cancelled", "complained", "expired", "failed"),
    *("pending", "scheduled", "sending", "sent", "suppressed"),
]


def _exact(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"bsonType": "object", "required": required, "additionalProperties": False, "properties": properties}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"bsonType": "array", "items": items}


def _preferences(modes: list[str], **more: Any) -> dict[str, Any]:
    entry = {"channel": {"enum": ["", "email", "push"]}, "category": TEXT, "mode": {"enum": modes}}
    span = {"start": WHOLE, "end": WHOLE, "weekdays": _list_of({"enum": [1, 2, 3, 4, 5, 6, 7]})}
    properties = {
        "_id": TEXT,
        "entries": _list_of(_exact(["channel", "category", "mode"], entry)),
        "timeZone": TEXT,
        "quietHours": _list_of(_exact(["start", "end", "weekdays"], span)),
        "locale": TEXT,
        "updatedAt": DATE,
        "rev": WHOLE,
    }
    return {"$jsonSchema": _exact(["_id", "updatedAt", "rev"], properties | more)}


def _categories(modes: list[str]) -> dict[str, Any]:
    default = _exact(["channel", "mode"], {"channel": {"enum": ["email", "push"]}, "mode": {"enum": modes}})
    properties = {
        "_id": TEXT,
        "title": TEXT,
        "description": TEXT,
        "defaults": _list_of(default),
        "mandatory": TRUTH,
        "commercial": TRUTH,
        "deletedAt": DATE,
        "createdAt": DATE,
        "updatedAt": DATE,
        "rev": WHOLE,
    }
    return {"$jsonSchema": _exact(["_id", "title", "createdAt", "updatedAt", "rev"], properties)}


def _deliveries(**more: Any) -> dict[str, Any]:
    return {
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
                "attempts": WHOLE,
                "log": {"bsonType": "array"},
                "lease": TEXT,
                "leasedAt": DATE,
                "expiresAt": DATE,
                "sentAt": DATE,
                "finishedAt": DATE,
                "collapseKey": TEXT,
                "critical": TRUTH,
                "createdAt": DATE,
                "updatedAt": DATE,
                "rev": WHOLE,
                **more,
            },
        }
    }


DIGEST_TIME = _exact(["minute", "weekday"], {"minute": WHOLE, "weekday": {"enum": [0, 1, 2, 3, 4, 5, 6, 7]}})
NEW: Any = {
    "preferences": _preferences(MODES, digestTime=DIGEST_TIME),
    "categories": _categories(MODES),
    "deliveries": _deliveries(
        lane={"enum": ["digest", "carried"]},
        digestAt=DATE,
        queuedAt=DATE,
        digestDeliveryId=TEXT,
        gathering=TRUTH,
        followAt=DATE,
    ),
}
OLD: Any = {"preferences": _preferences(SINGLE), "categories": _categories(SINGLE), "deliveries": _deliveries()}
OPEN = {"dueAt": {"$exists": True}}
CLAIM: Any = ("claim", [("channel", 1), ("dueAt", 1)], OPEN)
GROUP = [("userId", 1), ("category", 1)]
INDEXES: Any = (
    ("due", [("channel", 1), ("lane", 1), ("dueAt", 1)], OPEN),
    ("for_digest", [*GROUP, ("state", 1), ("digestAt", 1)], {"lane": "digest"}),
    ("in_digest", [("digestDeliveryId", 1), ("state", 1), ("_id", 1)], {"digestDeliveryId": {"$exists": True}}),
    ("gathering", GROUP, {"gathering": True}),
    ("to_follow", [("followAt", 1)], {"followAt": {"$exists": True}}),
)
# One digest of a user and a category is put together at a time.
UNIQUE = {"gathering"}


async def up(database: Any) -> None:
    await _validate(database, NEW)
    for index in INDEXES:
        await _create(database, *index)
    if "claim" in await database.deliveries.index_information():
        await database.deliveries.drop_index("claim")


async def down(database: Any) -> None:
    await _create(database, *CLAIM)
    for name, _, _ in INDEXES:
        await database.deliveries.drop_index(name)
    await _validate(database, OLD)


async def _validate(database: Any, validators: Any) -> None:
    for name, validator in validators.items():
        await database.command("collMod", name, validator=validator, validationLevel="strict", validationAction="error")


async def _create(database: Any, name: str, keys: Any, held: Any) -> None:
    options = {"unique": True} if name in UNIQUE else {}
    await database.deliveries.create_index(keys, name=name, partialFilterExpression=held, collation=BYTEWISE, **options)
