"""Words by which the database names what the contract's enums number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vibework.notifications.v1 import notification_pb2 as pb

TYPE_TO_PROTO: Final[Mapping[str, pb.NotificationType.ValueType]] = {
    "email": pb.NOTIFICATION_TYPE_EMAIL,
    "push": pb.NOTIFICATION_TYPE_PUSH,
    "in-app": pb.NOTIFICATION_TYPE_IN_APP,
}
# As RFC 8030 writes them.
URGENCY_TO_PROTO: Final[Mapping[str, pb.NotificationUrgency.ValueType]] = {
    "very-low": pb.NOTIFICATION_URGENCY_VERY_LOW,
    "low": pb.NOTIFICATION_URGENCY_LOW,
    "normal": pb.NOTIFICATION_URGENCY_NORMAL,
    "high": pb.NOTIFICATION_URGENCY_HIGH,
}
