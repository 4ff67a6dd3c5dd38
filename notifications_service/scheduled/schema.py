"""The schema of scheduled notifications that the migrations lead to: as ``notification.schema`` for the feed."""

from __future__ import annotations

from typing import Final

from notifications_service.notification.schema import Index

COLLECTION: Final = "scheduled_notifications"
# Names of the indexes that queries ask for.
DUE_INDEX: Final = "due"
USER_INDEX: Final = "of_user"
# Statements fail without these.
NAMED: Final = frozenset({DUE_INDEX, USER_INDEX})

INDEXES: Final = (
    Index("_id_", (("_id", 1),)),
    Index(DUE_INDEX, (("dueAt", 1),)),
    Index(USER_INDEX, (("userId", 1), ("delivery.scheduledAt", 1), ("_id", 1))),
)
