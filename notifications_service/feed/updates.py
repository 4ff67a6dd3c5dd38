"""Conversion of an update to changes of the document: which fields its mask names, by which rules, to which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vibework.notifications.v1.notification_pb2 import Notification, NotificationContent
from vibework.notifications.v1.notification_service_pb2 import UpdateNotificationRequest

from chassis.contract import fieldmask
from chassis.contract.rules import MaskedRules
from chassis.errors import InvalidFields, NotImplementedYet
from notifications_service.feed.requests import data_of
from notifications_service.mongodb.codec import Document
from notifications_service.notification import unbuilt

RESOURCE: Final = "notification"
# Field of Notification, which is stored under the same name: its stored value; None: it is removed.
CHANGEABLE: Final[Mapping[str, Callable[[Notification], Any]]] = {
    "title": lambda values: values.title,
    "message": lambda values: values.message,
    "category": lambda values: values.category or None,
    "data": lambda values: data_of(values.data, f"{RESOURCE}.data") if values.HasField("data") else None,
}
# May be changed by the contract, once they are built.
_NOT_YET: Final = frozenset({*unbuilt.CONTENT, "scheduled_at"} - {"channels", "collapse_key"})


class Updates:
    """Converts updates; a field that is changed keeps the rules that NotificationContent has for it."""

    def __init__(self) -> None:
        self._rules = MaskedRules(NotificationContent, RESOURCE)

    def changes_of(self, request: UpdateNotificationRequest) -> Document:
        """Return the new values by stored field; None: the field is removed.

        Raises FieldMaskInvalid, InvalidFields, or NotImplementedYet for a field that cannot be changed yet.
        """
        if not request.update_mask.paths:
            raise InvalidFields.of("update_mask", "must name what to change", "MASK_EMPTY")
        if later := _NOT_YET.intersection(request.update_mask.paths):
            raise NotImplementedYet(f"{RESOURCE}.{min(later)}")
        paths = fieldmask.update_paths(request.update_mask, request.notification, CHANGEABLE)
        self._rules.check(request.notification, paths)
        return {path: CHANGEABLE[path](request.notification) for path in sorted(paths)}
