"""The schema of notifications that the migrations lead to: collections, indexes and the validator.

Migrations do not import this: they are history. A test compares the two. Why these indexes and no others is
in docs/decisions/0010-notifications-indexes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification import unreadable, validators
from notifications_service.notification.delivery_states import DeliveryState

COLLECTION: Final = "notifications"
IDEMPOTENCY_KEYS: Final = "idempotency_keys"
SUPPRESSIONS: Final = "suppressions"
PUSH_SUBSCRIPTIONS: Final = "push_subscriptions"
PREFERENCES: Final = "preferences"
CATEGORIES: Final = "categories"
# Names of the indexes that queries ask for, so that no planner has to guess.
FEED_INDEX: Final = "feed_rows"
UNREADABLE_INDEX: Final = "unreadable"
SUPPRESSIONS_INDEX: Final = "listed"
TTL_INDEX: Final = "createdAt_1"
EXPIRY_INDEX: Final = "expiresAt_1"
# Queries fail without these.
NAMED: Final = frozenset({FEED_INDEX, UNREADABLE_INDEX, TTL_INDEX})
NAMED_OF_PUSH: Final = frozenset({"endpoint", "user", "key"})


@dataclass(frozen=True, slots=True)
class Index:
    """One index: its name, its keys in order, and its options."""

    name: str
    keys: tuple[tuple[str, int], ...]
    options: tuple[tuple[str, Any], ...] = ()


_PRIMARY: Final = Index("_id_", (("_id", 1),))

INDEXES: Final[dict[str, tuple[Index, ...]]] = {
    COLLECTION: (
        _PRIMARY,
        # The three indexes of the source.
        Index("userId_1_createdAt_-1", (("userId", 1), ("createdAt", -1))),
        Index("read_1", (("read", 1),)),
        # Its expireAfterSeconds is a setting of the migrations and compared apart.
        Index(TTL_INDEX, (("createdAt", 1),)),
        Index(
            FEED_INDEX,
            (
                ("userId", 1),
                ("createdAt", -1),
                ("_id", -1),
                ("archived", 1),
                ("read", 1),
                ("seen", 1),
                ("type", 1),
                ("category", 1),
                ("expiresAt", 1),
                ("threadKey", 1),
            ),
        ),
        # Rows that expire by themselves. It holds no others, so that they do not pay for it.
        Index(
            EXPIRY_INDEX,
            (("expiresAt", 1),),
            (("expireAfterSeconds", 0), ("partialFilterExpression", {"expiresAt": {"$type": "date"}})),
        ),
        Index(UNREADABLE_INDEX, (("userId", 1), ("_id", 1)), options=(("partialFilterExpression", unreadable.FILTER),)),
    ),
    IDEMPOTENCY_KEYS: (_PRIMARY, Index("createdAt_1", (("createdAt", 1),), (("expireAfterSeconds", 86_400),))),
    SUPPRESSIONS: (
        _PRIMARY,
        Index(SUPPRESSIONS_INDEX, (("createdAt", -1), ("_id", -1), ("reason", 1), ("expiresAt", 1))),
        Index("ends", (("expiresAt", 1),), (("expireAfterSeconds", 0),)),
    ),
    PUSH_SUBSCRIPTIONS: (
        _PRIMARY,
        Index("endpoint", (("endpointHash", 1),), (("unique", True),)),
        Index("user", (("userId", 1), ("createdAt", -1), ("_id", -1))),
        Index("key", (("keyId", 1),)),
        Index("expiresAt_1", (("expiresAt", 1),), (("expireAfterSeconds", 0),)),
    ),
    PREFERENCES: (_PRIMARY,),
    CATEGORIES: (_PRIMARY,),
}

_TEXT: Final = {"bsonType": "string"}
_OPTIONAL_DATE: Final = {"bsonType": ["date", "null"]}

VALIDATOR: Final[Document] = {
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
            "channels": {"bsonType": "array", "items": {"enum": ["email", "push", "in-app"]}},
            "email": {
                "bsonType": "object",
                "properties": {
                    **dict.fromkeys(("subject", "text", "html", "replyTo"), _TEXT),
                    "delay": {"bsonType": ["int", "long"]},
                    "unlessRead": {"bsonType": "bool"},
                },
            },
            "push": {
                "bsonType": "object",
                "properties": {
                    **dict.fromkeys(("title", "body", "url", "icon"), _TEXT),
                    "ttl": {"bsonType": ["int", "long"]},
                },
            },
            "urgency": {"enum": ["very-low", "low", "normal", "high"]},
            "critical": {"bsonType": "bool"},
            "expiresAt": _OPTIONAL_DATE,
            "collapseKey": {"bsonType": "string"},
            "threadKey": {"bsonType": "string"},
            "locale": {"bsonType": "string"},
            "seen": {"bsonType": "bool"},
            "seenAt": _OPTIONAL_DATE,
            "read": {"bsonType": "bool"},
            "readAt": _OPTIONAL_DATE,
            "archived": {"bsonType": "bool"},
            "archivedAt": _OPTIONAL_DATE,
            "sentAt": _OPTIONAL_DATE,
            "createdAt": {"bsonType": "date"},
            "updatedAt": _OPTIONAL_DATE,
            "rev": {"bsonType": ["int", "long"]},
            "delivery": {
                "bsonType": "object",
                "required": ["state"],
                "properties": {
                    "state": {"enum": sorted(state.value for state in DeliveryState)},
                    "reason": {"bsonType": "string"},
                    "byChannel": {"bsonType": "object"},
                    "attempts": {"bsonType": ["int", "long"]},
                    "scheduledAt": _OPTIONAL_DATE,
                    "nextAttemptAt": _OPTIONAL_DATE,
                    "lastAttemptAt": _OPTIONAL_DATE,
                },
            },
        },
    }
}

SUPPRESSIONS_VALIDATOR: Final[Document] = {
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

# Options of the collections that differ from MongoDB's defaults. The pre-images tell a watch whose notification was
# deleted.
OPTIONS: Final[dict[str, Document]] = {
    COLLECTION: {
        "validator": VALIDATOR,
        "validationLevel": "moderate",
        "validationAction": "error",
        "changeStreamPreAndPostImages": {"enabled": True},
    },
    SUPPRESSIONS: {
        "validator": SUPPRESSIONS_VALIDATOR,
        "validationLevel": "strict",
        "validationAction": "error",
    },
    PREFERENCES: validators.PREFERENCES,
    CATEGORIES: validators.CATEGORIES,
}
