"""The whole schema as the code relies on it: that of each feature with a collection of its own.

Migrations do not import this: they are history. A test compares the two.
"""

from __future__ import annotations

from typing import Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification import schema
from notifications_service.notification.schema import Index
from notifications_service.outbox import schema as outbox
from notifications_service.scheduled import schema as scheduled

INDEXES: Final[dict[str, tuple[Index, ...]]] = {
    **schema.INDEXES,
    outbox.COLLECTION: outbox.INDEXES,
    outbox.RATES: outbox.RATES_INDEXES,
    scheduled.COLLECTION: scheduled.INDEXES,
}
OPTIONS: Final[dict[str, Document]] = {**schema.OPTIONS, outbox.COLLECTION: outbox.OPTIONS}
# Indexes without which calls fail or answer what is wrong, by their collections: those that statements name, those that
# keep a value unique, and the one that says how long notifications are kept. Health looks for these.
NEEDED: Final[dict[str, frozenset[str]]] = {
    schema.COLLECTION: schema.NAMED,
    schema.SUPPRESSIONS: frozenset({schema.SUPPRESSIONS_INDEX}),
    schema.PUSH_SUBSCRIPTIONS: schema.NAMED_OF_PUSH,
    outbox.COLLECTION: outbox.NAMED,
    scheduled.COLLECTION: scheduled.NAMED,
}
# TTL indexes that keep rows for as long as notifications are kept, by their collections.
KEPT_ALIKE: Final = {outbox.COLLECTION: outbox.TTL_INDEX}
