"""From stored documents to the answers of the feed: masks, rows that cannot be read, statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1.notification_service_pb2 import GetNotificationStatsResponse

from chassis import fieldmask, logging
from notifications_service import messages
from notifications_service.documents import Document
from notifications_service.errors import NotificationUnreadable
from notifications_service.feed import states
from notifications_service.feed.states import State

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

Answers: TypeAlias = "RepeatedCompositeFieldContainer[notification_pb2.Notification]"
TypeStats = GetNotificationStatsResponse.TypeStats

_DESCRIPTOR: Final = notification_pb2.Notification.DESCRIPTOR


class ReadMask:
    """Which fields of `Notification` are asked for (AIP-157). Raises FieldMaskInvalid for one that is none."""

    __slots__ = ("_fields", "_paths", "projection")

    def __init__(self, mask: FieldMask) -> None:
        self._paths = fieldmask.read_paths(mask, _DESCRIPTOR)
        self._fields = frozenset(path.partition(".")[0] for path in self._paths) or None
        self.projection = None if self._fields is None else messages.projection(self._fields)

    def apply(self, document: Document) -> notification_pb2.Notification:
        """Convert a document. Raises ``messages.Unreadable``."""
        message = messages.to_message(document, self._fields)
        fieldmask.prune(message, self._paths)
        return message

    def append(self, answers: Answers, document: Document) -> None:
        """Convert a document into a new message at the end. Raises ``messages.Unreadable``."""
        if self._fields is None:
            messages.append(answers, document)
        else:
            answers.append(self.apply(document))


EVERYTHING: Final = ReadMask(FieldMask())


def one(document: Document, mask: ReadMask = EVERYTHING) -> notification_pb2.Notification:
    """Convert a document. Raises NotificationUnreadable, and logs what is wrong with it."""
    try:
        return mask.apply(document)
    except messages.Unreadable as error:
        logging.get(__name__).error("notification unreadable", document=str(error))
        raise NotificationUnreadable from None


def fill(answers: Answers, rows: Iterable[Document], mask: ReadMask = EVERYTHING) -> None:
    """Convert documents; one that cannot be read is left out and logged, so that it never hides the others."""
    for row in rows:
        try:
            mask.append(answers, row)
        except messages.Unreadable as error:
            logging.get(__name__).error("notification unreadable", document=str(error))


def stats(groups: Sequence[Document]) -> GetNotificationStatsResponse:
    """Sum up rows of ``_id`` (type, archived, read, seen) and ``n``, by type and altogether."""
    by_type: dict[notification_pb2.NotificationType.ValueType, TypeStats] = {}
    total = TypeStats()
    for group in groups:
        channel = messages.TYPE_TO_PROTO.get(group["_id"].get("type"))
        if channel is None:
            # Such rows are in no list either; each is logged where it is read.
            continue
        entry = by_type.setdefault(channel, TypeStats(type=channel))
        state = states.state_of(group["_id"])
        _add(entry, state, group["n"])
        _add(total, state, group["n"])
    return GetNotificationStatsResponse(types=[by_type[channel] for channel in sorted(by_type)], total=total)


def _add(entry: TypeStats, state: State, number: int) -> None:
    entry.total += number
    entry.archived += number * (state >= State.ARCHIVED)
    entry.read += number * (state >= State.READ)
    entry.seen += number * (state >= State.SEEN)
    entry.unread += number * (state < State.READ)
    entry.unseen += number * (state < State.SEEN)
