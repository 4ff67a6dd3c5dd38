"""One watcher of users."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vibework.users.v1 import user_service_pb2 as pb

from chassis.watching.watcher import QueuedWatcher
from users_service.events.model import Place

# Kinds of the contract; empty: all.
Kinds = Collection[pb.UserEventKind.ValueType]


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it goes over the wire; all watchers share it."""

    place: Place
    response: pb.WatchUsersResponse


class Watcher(QueuedWatcher[Event]):
    """The queue of one WatchUsers call, which the hub fills; ``joined_at``: what comes after it is queued."""

    __slots__ = ("joined_at", "kinds")

    def __init__(self, limit: int, kinds: Kinds = ()) -> None:
        """``limit``: events that wait in memory; ``kinds``: of what to tell."""
        super().__init__(limit)
        self.kinds = frozenset(kinds)
        self.joined_at = Place(b"", 0, 0)

    def join(self, place: Place) -> None:
        """Begin to take events after a place."""
        self.joined_at = place
        self.begin()

    def wants(self, event: Event) -> bool:
        """Say whether an event is of a kind that this watcher asked for."""
        return not self.kinds or event.response.user_event.kind in self.kinds
