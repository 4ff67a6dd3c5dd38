"""The schema of the collection `deliveries`, as the migrations make it: indexes and the validator."""

from __future__ import annotations

from typing import Any, Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.schema import Index

COLLECTION: Final = "deliveries"
# Tokens of each channel's rate.
RATES: Final = "delivery_rates"
# Names of the indexes that statements ask for.
CLAIM_INDEX: Final = "due"
COLLAPSE_INDEX: Final = "collapse"
NOTIFICATION_INDEX: Final = "of_notification"
USER_INDEX: Final = "of_user"
ADDRESS_INDEX: Final = "of_address"
MESSAGE_INDEX: Final = "of_message"
LIST_INDEX: Final = "listed"
ERASE_INDEX: Final = "erase"
FOR_DIGEST_INDEX: Final = "for_digest"
IN_DIGEST_INDEX: Final = "in_digest"
GATHERING_INDEX: Final = "gathering"
FOLLOW_INDEX: Final = "to_follow"
# Statements fail without these.
NAMED: Final = frozenset(
    {
        CLAIM_INDEX,
        COLLAPSE_INDEX,
        NOTIFICATION_INDEX,
        USER_INDEX,
        ADDRESS_INDEX,
        MESSAGE_INDEX,
        LIST_INDEX,
        ERASE_INDEX,
        FOR_DIGEST_INDEX,
        IN_DIGEST_INDEX,
        GATHERING_INDEX,
        FOLLOW_INDEX,
    }
)
# Its expireAfterSeconds is that of the notifications: see ``migrations.keeping``.
TTL_INDEX: Final = "finishedAt_1"

_OPEN: Final[Document] = {"dueAt": {"$exists": True}}


_NEWEST_FIRST: Final = (("createdAt", -1), ("_id", -1))
_GROUP: Final = (("userId", 1), ("category", 1))
_ASKED_FOR: Final = ("channel", "kind", "reason", "deferral", "category", "finishedAt")


def _partial(filter_: Document) -> tuple[tuple[str, Any], ...]:
    return (("partialFilterExpression", filter_),)


_PRIMARY: Final = Index("_id_", (("_id", 1),))
RATES_INDEXES: Final = (_PRIMARY,)
INDEXES: Final = (
    _PRIMARY,
    # What is open, lane by lane in the order in which it is due: a claim reads as many keys as it takes rows.
    Index(CLAIM_INDEX, (("channel", 1), ("lane", 1), ("dueAt", 1)), _partial(_OPEN)),
    # What waits for a digest, by whose it is and what it is about.
    Index(FOR_DIGEST_INDEX, (*_GROUP, ("state", 1), ("digestAt", 1)), _partial({"lane": "digest"})),
    Index(
        IN_DIGEST_INDEX,
        (("digestDeliveryId", 1), ("state", 1), ("_id", 1)),
        _partial({"digestDeliveryId": {"$exists": True}}),
    ),
    # One digest of a user and a category is put together at a time.
    Index(GATHERING_INDEX, _GROUP, (("unique", True), *_partial({"gathering": True}))),
    # Digests whose items are still to be brought to their state.
    Index(FOLLOW_INDEX, (("followAt", 1),), _partial({"followAt": {"$exists": True}})),
    # What a newer one of the same key may replace.
    Index(
        COLLAPSE_INDEX,
        (("userId", 1), ("channel", 1), ("collapseKey", 1)),
        _partial({"collapseKey": {"$exists": True}, **_OPEN}),
    ),
    Index(NOTIFICATION_INDEX, (("notificationId", 1), *_NEWEST_FIRST), _partial({"notificationId": {"$exists": True}})),
    Index(USER_INDEX, (("userId", 1), *_NEWEST_FIRST)),
    Index(ADDRESS_INDEX, (("log.addressHash", 1), *_NEWEST_FIRST), _partial({"log.addressHash": {"$exists": True}})),
    Index(
        MESSAGE_INDEX,
        (("log.providerMessageId", 1), *_NEWEST_FIRST),
        _partial({"log.providerMessageId": {"$exists": True}}),
    ),
    # Lists and counts of everybody's: one range for each state, merged in order, and the rest told by the keys.
    Index(LIST_INDEX, (("state", 1), *_NEWEST_FIRST, *((field, 1) for field in _ASKED_FOR))),
    Index(ERASE_INDEX, (("eraseAt", 1),), _partial({"eraseAt": {"$exists": True}})),
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
            "lane": {"enum": ["digest", "carried"]},
            "digestAt": _DATE,
            "queuedAt": _DATE,
            "digestDeliveryId": _TEXT,
            "gathering": {"bsonType": "bool"},
            "followAt": _DATE,
        },
    }
}

OPTIONS: Final[Document] = {
    "validator": VALIDATOR,
    "validationLevel": "strict",
    "validationAction": "error",
}
