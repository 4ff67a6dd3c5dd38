"""One watcher of a user's notifications."""

from __future__ import annotations

from dataclasses import dataclass

from bson import Timestamp
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.watching.watcher import QueuedWatcher
from notifications_service.notification.filters import EVERYTHING, Filter
from notifications_service.watch.changes import StreamPosition


@dataclass(frozen=True, slots=True)
class Event:
    """A change as it goes over the wire; all watchers of the user with the same filter share it."""

    position: StreamPosition
    at: Timestamp
    response: pb.WatchNotificationsResponse


class Watcher(QueuedWatcher[Event]):
    """The queue of one WatchNotifications call, which the hub fills."""

    __slots__ = ("chosen", "joined_at", "user_id")

    def __init__(self, user_id: str, limit: int, chosen: Filter = EVERYTHING) -> None:
        """``limit``: events that wait in memory; ``chosen``: of what kinds of notifications to tell."""
        super().__init__(limit)
        self.user_id = user_id
        self.chosen = chosen
        self.joined_at = StreamPosition("")

    def join(self, position: StreamPosition) -> None:
        """Begin to take events after a position of the shared stream."""
        self.joined_at = position
        self.begin()
