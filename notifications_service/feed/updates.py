"""Conversion of an update to changes of the document: which fields its mask names, by which rules, to which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vibework.notifications.v1.notification_pb2 import Notification, NotificationContent
from vibework.notifications.v1.notification_service_pb2 import UpdateNotificationRequest

from chassis.contract import fieldmask
from chassis.contract.rules import MaskedRules
from chassis.errors import InvalidFields
from notifications_service.clock import MillisecondClock
from notifications_service.errors import NotificationUnreadable
from notifications_service.feed.requests import check_expiry, data_of, schedule
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents, further, messages
from notifications_service.notification.times import floor
from notifications_service.notification.words import TYPE_TO_PROTO

RESOURCE: Final = "notification"
# Fields of Notification that are stored under the same name: their stored values; None: it is removed.
_PLAIN: Final[Mapping[str, Callable[[Notification], Any]]] = {
    "title": lambda values: values.title,
    "message": lambda values: values.message,
    "category": lambda values: values.category or None,
    "data": lambda values: data_of(values.data, f"{RESOURCE}.data") if values.HasField("data") else None,
}
SCHEDULED_AT: Final = "scheduled_at"
CHANGEABLE: Final = frozenset({*_PLAIN, *further.FIELDS, SCHEDULED_AT} - {"channels", "collapse_key"})
# Where the rules that look at several fields find the channels while those of the notification are not known.
_ALL_CHANNELS: Final = NotificationContent(channels=TYPE_TO_PROTO.values())


@dataclass(frozen=True, slots=True)
class Schedule:
    """A change of the time for which one waits; ``lenient``: one that does not wait is changed without it."""

    at: datetime
    lenient: bool


class Updates:
    """Converts updates; a field that is changed keeps the rules that NotificationContent has for it."""

    def __init__(self, clock: MillisecondClock) -> None:
        self._rules = MaskedRules(NotificationContent, RESOURCE)
        self._clock = clock

    def changes_of(self, request: UpdateNotificationRequest) -> Document:
        """Return the new values by stored field; None: the field is removed.

        Raises FieldMaskInvalid or InvalidFields. The time for which it waits is not among them (``schedule_of``).
        """
        paths = _paths(request)
        self._rules.check(request.notification, paths, beside=_ALL_CHANNELS)
        changes = {path: _PLAIN[path](request.notification) for path in sorted(paths & _PLAIN.keys())}
        rare = paths - _PLAIN.keys() - {SCHEDULED_AT}
        changes |= dict.fromkeys(sorted(further.FIELDS[path].stored for path in rare))
        changes |= further.stored(request.notification, rare)
        if (expiry := changes.get("expiresAt")) is not None:
            check_expiry(expiry, f"{RESOURCE}.expires_at", self._clock)
        return changes

    def schedule_of(self, request: UpdateNotificationRequest) -> Schedule | None:
        """Return the new time, if the mask names it; one that is not set is now. Raises InvalidFields."""
        if SCHEDULED_AT not in _paths(request):
            return None
        values, lenient = request.notification, fieldmask.WILDCARD in request.update_mask.paths
        if not values.HasField(SCHEDULED_AT):
            return Schedule(self._clock(), lenient)
        return Schedule(schedule(values.scheduled_at, f"{RESOURCE}.{SCHEDULED_AT}", self._clock), lenient)

    def check_beside(self, request: UpdateNotificationRequest, document: Document) -> None:
        """Raise InvalidFields for what does not go together with the rest of this notification.

        That is what is said of a channel by which it does not go out, a time for one that does not wait, and an expiry
        that comes before that time. Raises NotificationUnreadable where that cannot be told.
        """
        try:
            shown = messages.to_message(document, ("type", "channels", SCHEDULED_AT, "expires_at"))
        except messages.Unreadable:
            raise NotificationUnreadable from None
        paths = _paths(request)
        if SCHEDULED_AT in paths and fieldmask.WILDCARD not in request.update_mask.paths:
            _check_waiting(document)
        beside = NotificationContent(type=shown.type, channels=shown.channels)
        for name in (SCHEDULED_AT, "expires_at"):
            if documents.waits(document) and shown.HasField(name):
                getattr(beside, name).CopyFrom(getattr(shown, name))
        self._rules.check(request.notification, paths, beside=beside)
        if SCHEDULED_AT in paths and "expires_at" not in paths and shown.HasField("expires_at"):
            _check_order(request.notification, shown)


def _check_waiting(document: Document) -> None:
    if not documents.waits(document):
        field = f"{RESOURCE}.{SCHEDULED_AT}"
        raise InvalidFields.of(field, "is visible already, and no longer scheduled", "SCHEDULED_AT_OF_VISIBLE")


def _check_order(changed: Notification, kept: Notification) -> None:
    if floor(changed.scheduled_at) >= floor(kept.expires_at):
        field = f"{RESOURCE}.{SCHEDULED_AT}"
        raise InvalidFields.of(field, "must be before expires_at", "EXPIRES_AT_AFTER_SCHEDULED_AT")


def _paths(request: UpdateNotificationRequest) -> frozenset[str]:
    if not request.update_mask.paths:
        raise InvalidFields.of("update_mask", "must name what to change", "MASK_EMPTY")
    return fieldmask.update_paths(request.update_mask, request.notification, CHANGEABLE)
