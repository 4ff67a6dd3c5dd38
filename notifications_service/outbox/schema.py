"""The schema of the collection `deliveries`, as the migrations make it: indexes and the validator."""

from __future__ import annotations

from typing import Any, Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.schema import Index

COLLECTION: Final = "deliveries"
# Names of the indexes that statements ask for.
CLAIM_INDEX: Final = "claim"
COLLAPSE_INDEX: Final = "collapse"
NOTIFICATION_INDEX: Final = "of_notification"
USER_INDEX: Final = "of_user"
NEWEST_INDEX: Final = "newest"
# Its expireAfterSeconds is that of the notifications: see ``migrations.keeping``.
TTL_INDEX: Final = "finishedAt_1"

_OPEN: Final[Document] = {"dueAt": {"$exists": True}}


def _partial(filter_: Document) -> tuple[tuple[str, Any], ...]:
    return (("partialFilterExpression", filter_),)


INDEXES: Final = (
    Index("_id_", (("_id", 1),)),
    # What is open, in the order in which it is due: a claim reads as many keys as it takes rows.
    Index(CLAIM_INDEX, (("channel", 1), ("dueAt", 1)), _partial(_OPEN)),
    # What a newer one of the same key may replace.
    Index(
        COLLAPSE_INDEX,
        (("userId", 1), ("channel", 1), ("collapseKey", 1)),
        _partial({"collapseKey": {"$exists": True}, **_OPEN}),
    ),
    Index(NOTIFICATION_INDEX, (("notificationId", 1),), _partial({"notificationId": {"$exists": True}})),
    Index(USER_INDEX, (("userId", 1), ("createdAt", -1), ("_id", -1))),
    Index(NEWEST_INDEX, (("createdAt", -1), ("_id", -1))),
    Index(TTL_INDEX, (("finishedAt", 1),)),
)

_COUNT: Final = {"bsonType": ["int", "long"]}
_TEXT: Final = {"bsonType": "string"}
_DATE: Final = {"bsonType": "date"}

VALIDATOR: Final[Document] = {
    "$jsonSchema": {
        "bsonType": "object",
        "required": ["_id", "kind", "channel", "state", "attempts", "createdAt", "updatedAt", "rev"],
        "properties": {
            "_id": _TEXT,
            "kind": {"enum": ["notification", "digest", "direct"]},
            "notificationId": {"bsonType": "objectId"},
            "userId": _TEXT,
            "channel": {"enum": ["email", "push"]},
            "category": _TEXT,
            "state": {"enum": sorted(state.value for state in DeliveryState)},
            "reason": _TEXT,
            "reasonDetail": _TEXT,
            "dueAt": _DATE,
            "deferral": _TEXT,
            "attempts": _COUNT,
            "log": {"bsonType": "array"},
            "lease": _TEXT,
            "leasedAt": _DATE,
            "expiresAt": _DATE,
            "sentAt": _DATE,
            "finishedAt": _DATE,
            "collapseKey": _TEXT,
            "critical": {"bsonType": "bool"},
            "createdAt": _DATE,
            "updatedAt": _DATE,
            "rev": _COUNT,
        },
    }
}

OPTIONS: Final[Document] = {
    "validator": VALIDATOR,
    "validationLevel": "strict",
    "validationAction": "error",
}
