"""Unbuilt fields of notifications: the contract has them, and a request that sets one is answered NOT_IMPLEMENTED.

Whoever builds one takes it off the list.
"""

from __future__ import annotations

from typing import Final

from vibework.notifications.v1.notification_pb2 import Notification, NotificationContent
from vibework.notifications.v1.notification_service_pb2 import (
    NotificationFilter,
)
from vibework.notifications.v1.preferences_pb2 import Preferences

from chassis.contract.unbuilt import UnbuiltFields

_CHANNELS: Final = ("channels", "email", "push", "urgency", "critical")
CONTENT: Final = (*_CHANNELS, "expires_at", "collapse_key", "thread_key", "locale")

FIELDS: Final[UnbuiltFields] = {
    NotificationContent: CONTENT,
    # In an update; no answer has them yet.
    Notification: CONTENT,
    NotificationFilter: ("thread_keys",),
    Preferences: ("digest_time",),
}
