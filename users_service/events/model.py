"""The model of events of users: what happened to whom, and its place in the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class UserEventKind(StrEnum):
    """What happened to a user, as stored."""

    CREATED = "created"
    CHANGED = "changed"
    DISABLED = "disabled"
    ENABLED = "enabled"
    DELETED = "deleted"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    SESSION_STOLEN = "session_stolen"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of events: after event number ``seq`` of a history; 0: before the first.

    ``stamp``: when that event got the number, in microseconds since 1970, by which it is told from another one with the
    same number; 0: not known, since the event was purged.
    """

    epoch: bytes
    seq: int
    stamp: int

    def contradicts(self, other: Place) -> bool:
        """Say whether another place with the same number is of another event."""
        return self.epoch != other.epoch or (self.stamp != other.stamp and 0 not in (self.stamp, other.stamp))


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Something that happened to a user; ``place``: right after it."""

    place: Place
    user_id: str
    # As stored: a process of a later version may have written one that this one does not know.
    kind: str
    # None: the user is gone.
    revision: int | None
    session_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class OrderState:
    """How far the order goes: the ``last`` place given, and some ids of events that have none, in their order.

    Everything up to number ``purged`` is gone.
    """

    last: Place
    purged: int
    pending: Sequence[int]

    @property
    def reached(self) -> int:
        """The last number, once those that are pending have theirs."""
        return self.last.seq + len(self.pending)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events one after the other, of a history of which everything up to ``purged`` is gone."""

    epoch: bytes
    purged: int
    events: Sequence[UserEvent]


class PlaceLost(Exception):
    """What follows a place is not known any more; the text says why."""
