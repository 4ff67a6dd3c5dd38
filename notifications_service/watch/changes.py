"""Change events of MongoDB, their order, and the points from which a stream of them can be resumed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NewType

from bson import ObjectId, Timestamp

from notifications_service.mongodb.codec import Document

# A position in a change stream: the `_data` of its resume token, hexadecimal digits that sort as the events happened.
StreamPosition = NewType("StreamPosition", str)


class ChangeKind(Enum):
    """The kind of a change to a notification."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """One change to a user's notification; ``document`` is the notification right after it, None when it was deleted.

    ``before``: what a watch's filter tests of the notification right before it; None where that is not known, or when
    the notification was created.
    ``at`` is the cluster time of its commit; events of one transaction share it.
    """

    position: StreamPosition
    at: Timestamp
    kind: ChangeKind
    id: ObjectId
    user_id: str
    document: Document | None
    before: Document | None = None


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A point from which a watch can resume: after ``position``, and after everything committed by ``floor``.

    A watch that starts now, or with a snapshot, begins at a cluster time that is somewhat ahead of the position that
    the shared stream has reached. Events up to that time, which the stream still brings, are not for this watch.
    """

    position: StreamPosition
    floor: Timestamp | None = None

    def covers(self, position: StreamPosition, at: Timestamp) -> bool:
        """Whether the event is before this point."""
        return position <= self.position or (self.floor is not None and at <= self.floor)


# True in an image of which only the owner was read.
TOO_LARGE: Final = "tooLarge"


class HistoryLost(Exception):
    """Events were missed, or it is not known to whom they belong; only a new list helps."""


_KINDS: Final = {
    "insert": ChangeKind.CREATED,
    "update": ChangeKind.UPDATED,
    "replace": ChangeKind.UPDATED,
    "delete": ChangeKind.DELETED,
}
OPERATIONS: Final = (*_KINDS, "invalidate")


def position_of(token: Mapping[str, Any] | None) -> StreamPosition | None:
    """Return the position in a resume token of the driver; None where it has no usable one.

    Tokens with type bits occur only for ids that are numbers, which no notification has.
    """
    if token is None or "_typeBits" in token:
        return None
    return StreamPosition(token["_data"])


# A position begins with the cluster time: a type byte, seconds, and the number within the second.
_TIME: Final = struct.Struct(">BII")
_TIME_BYTE: Final = 0x82


def time_of(position: StreamPosition) -> Timestamp:
    """Return the cluster time that a position begins with."""
    _, seconds, number = _TIME.unpack(bytes.fromhex(position[: 2 * _TIME.size]))
    return Timestamp(seconds, number)


def before(time: Timestamp) -> StreamPosition:
    """Return the position before everything that was committed at a time."""
    return StreamPosition(_TIME.pack(_TIME_BYTE, time.time, time.inc).hex().upper())


def parse(event: Mapping[str, Any]) -> tuple[ChangeEvent, ...]:
    """Convert an event of the driver: a change for each user whom it concerns, who may be none.

    A row that went from one user to another is a deletion for the one and a creation for the other. Raises
    ``HistoryLost`` when the collection is gone or the event does not say whose notification it was.
    """
    kind = _KINDS.get(event["operationType"])
    if kind is None:
        raise HistoryLost("the collection was dropped or renamed")
    document, before = event.get("fullDocument"), event.get("fullDocumentBeforeChange")
    if (before if kind is ChangeKind.DELETED else document) is None:
        raise HistoryLost("the change has no image: changeStreamPreAndPostImages is off, or it is too long ago")
    position, identity = position_of(event["_id"]), event["documentKey"]["_id"]
    if position is None or not isinstance(identity, ObjectId):
        return ()
    return tuple(
        ChangeEvent(position, event["clusterTime"], kind, identity, user_id, *images)
        for user_id, kind, *images in _concerned(kind, before, document)
        if isinstance(user_id, str)
    )


def _concerned(
    kind: ChangeKind, before: Document | None, document: Document | None
) -> Iterator[tuple[Any, ChangeKind, Document | None, Document | None]]:
    """Yield whom a change concerns, as what, and the notification after it and before it."""
    old, new = (None if row is None else row.get("userId") for row in (before, document))
    if kind is ChangeKind.UPDATED and before is not None and old != new:
        yield old, ChangeKind.DELETED, None, before
        yield new, ChangeKind.CREATED, document, None
    elif kind is ChangeKind.DELETED:
        yield old, kind, None, before
    else:
        yield new, kind, document, before
