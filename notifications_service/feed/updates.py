"""Conversion of an update to changes of the document: which fields its mask names, by which rules, to which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vibework.notifications.v1.notification_pb2 import Notification, NotificationContent
from vibework.notifications.v1.notification_service_pb2 import UpdateNotificationRequest

from chassis.contract import fieldmask
from chassis.contract.rules import MaskedRules
from chassis.errors import InvalidFields, NotImplementedYet
from notifications_service.clock import MillisecondClock
from notifications_service.errors import NotificationUnreadable
from notifications_service.feed.requests import check_expiry, data_of
from notifications_service.mongodb.codec import Document
from notifications_service.notification import further, messages
from notifications_service.notification.words import TYPE_TO_PROTO

RESOURCE: Final = "notification"
# Fields of Notification that are stored under the same name: their stored values; None: it is removed.
_PLAIN: Final[Mapping[str, Callable[[Notification], Any]]] = {
    "title": lambda values: values.title,
    "message": lambda values: values.message,
    "category": lambda values: values.category or None,
    "data": lambda values: data_of(values.data, f"{RESOURCE}.data") if values.HasField("data") else None,
}
CHANGEABLE: Final = frozenset({*_PLAIN, *further.FIELDS} - {"channels", "collapse_key"})
# Also changeable by the contract, once notifications can wait for it.
_NOT_YET: Final = frozenset({"scheduled_at"})
# Where the rules that look at several fields find the channels while those of the notification are not known.
_ALL_CHANNELS: Final = NotificationContent(channels=TYPE_TO_PROTO.values())


class Updates:
    """Converts updates; a field that is changed keeps the rules that NotificationContent has for it."""

    def __init__(self, clock: MillisecondClock) -> None:
        self._rules = MaskedRules(NotificationContent, RESOURCE)
        self._clock = clock

    def changes_of(self, request: UpdateNotificationRequest) -> Document:
        """Return the new values by stored field; None: the field is removed.

        Raises FieldMaskInvalid, InvalidFields, or NotImplementedYet for a field that cannot be changed yet.
        """
        paths = _paths(request)
        self._rules.check(request.notification, paths, beside=_ALL_CHANNELS)
        changes = {path: _PLAIN[path](request.notification) for path in sorted(paths & _PLAIN.keys())}
        rare = paths - _PLAIN.keys()
        changes |= dict.fromkeys(sorted(further.FIELDS[path].stored for path in rare))
        changes |= further.stored(request.notification, rare)
        if (expiry := changes.get("expiresAt")) is not None:
            check_expiry(expiry, f"{RESOURCE}.expires_at", self._clock)
        return changes

    def check_channels(self, request: UpdateNotificationRequest, document: Document) -> None:
        """Raise InvalidFields for what is said of a channel by which this notification does not go out.

        Raises NotificationUnreadable where that cannot be told.
        """
        try:
            shown = messages.to_message(document, ("type", "channels"))
        except messages.Unreadable:
            raise NotificationUnreadable from None
        beside = NotificationContent(type=shown.type, channels=shown.channels)
        self._rules.check(request.notification, _paths(request), beside=beside)


def _paths(request: UpdateNotificationRequest) -> frozenset[str]:
    if not request.update_mask.paths:
        raise InvalidFields.of("update_mask", "must name what to change", "MASK_EMPTY")
    if later := _NOT_YET.intersection(request.update_mask.paths):
        raise NotImplementedYet(f"{RESOURCE}.{min(later)}")
    return fieldmask.update_paths(request.update_mask, request.notification, CHANGEABLE)
