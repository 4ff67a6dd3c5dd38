"""Conversion of a watch's request: its filter."""

from __future__ import annotations

from typing import Final

from vibework.notifications.v1 import notification_service_pb2 as pb

from notifications_service.notification.filters import Filter
from notifications_service.notification.words import TYPE_TO_PROTO

_TYPES: Final = {number: name for name, number in TYPE_TO_PROTO.items()}


def filter_of(message: pb.WatchNotificationsRequest.WatchFilter) -> Filter:
    """Convert a filter; equal for the same conditions in any order."""
    types = sorted(str(_TYPES[channel]) for channel in message.types)
    return Filter(types=tuple(types), categories=tuple(sorted(message.categories)))
