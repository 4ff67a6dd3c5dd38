"""Conversion of a watch's request: its filter, and the interval of its heartbeats."""

from __future__ import annotations

from typing import Final

from vibework.notifications.v1 import notification_service_pb2 as pb

from notifications_service.notification.filters import Filter
from notifications_service.notification.words import TYPE_TO_PROTO

DEFAULT_HEARTBEAT: Final = 30.0

_TYPES: Final = {number: name for name, number in TYPE_TO_PROTO.items()}


def filter_of(message: pb.WatchNotificationsRequest.WatchFilter) -> Filter:
    """Convert a filter; equal for the same conditions in any order."""
    types = sorted(str(_TYPES[channel]) for channel in message.types)
    return Filter(types=tuple(types), categories=tuple(sorted(message.categories)))


def interval_of(request: pb.WatchNotificationsRequest) -> float:
    """Return after how many seconds without an event a heartbeat is due."""
    if not request.HasField("heartbeat_interval"):
        return DEFAULT_HEARTBEAT
    return request.heartbeat_interval.seconds + request.heartbeat_interval.nanos / 1e9
