"""Change events of MongoDB, their order, and the points from which a stream of them can be resumed."""

from __future__ import annotations

import struct
from collections.abc import Mapping
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
    """One change event; ``document`` is the notification right after it, None when it was deleted.

    ``at`` is the cluster time of its commit; events of one transaction share it.
    """

    position: StreamPosition
    at: Timestamp
    kind: ChangeKind
    id: ObjectId
    user_id: str
    document: Document | None


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


def parse(event: Mapping[str, Any]) -> ChangeEvent | None:
    """Convert an event of the driver; None when it concerns no notification of anyone.

    Raises ``HistoryLost`` when the collection is gone or the event does not say whose notification it was.
    """
    kind = _KINDS.get(event["operationType"])
    if kind is None:
        raise HistoryLost("the collection was dropped or renamed")
    document = event.get("fullDocument")
    owned = document or event.get("fullDocumentBeforeChange")
    if owned is None or (document is None and kind is not ChangeKind.DELETED):
        raise HistoryLost("the change has no image: changeStreamPreAndPostImages is off, or it is too long ago")
    position, identity, user_id = position_of(event["_id"]), event["documentKey"]["_id"], owned.get("userId")
    if position is None or not isinstance(identity, ObjectId) or not isinstance(user_id, str):
        return None
    return ChangeEvent(position, event["clusterTime"], kind, identity, user_id, document)
