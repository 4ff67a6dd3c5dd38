"""The stored form of a notification: names, values and times of the `notifications` collection.

The fields of the source's own system keep their names and types; what this service adds is optional, so
that documents written by that system read right. Times are those of ``notifications_service.clock``.

What a caller says of a channel is stored as given: `email` as {subject, text, html, replyTo, delay (milliseconds),
unlessRead}, `push` as {title, body, url, icon, ttl (seconds)}, each field only where it was set; `channels` as values
of ``Type``, `urgency` as one of ``Urgency``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from chassis.contract import etags
from notifications_service.mongodb.codec import Document
from notifications_service.notification.as_of import STAMP, UNSTAMPED
from notifications_service.notification.delivery_states import DeliveryState

# Fields that a change of state may touch, beside `rev` and `updatedAt`.
STATE_FIELDS: Final = ("seen", "seenAt", "read", "readAt", "archived", "archivedAt")

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001


class Type(StrEnum):
    """Channel of a notification, as stored."""

    EMAIL = "email"
    PUSH = "push"
    IN_APP = "in-app"


class Urgency(StrEnum):
    """How soon a push service is to wake the device, as stored, and as RFC 8030 writes it."""

    VERY_LOW = "very-low"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Draft:
    """The part of a new notification that the caller gives.

    ``further``: what only some notifications have, by its stored name and as it is stored: `channels`, `email`, `push`,
    `urgency`, `critical`, `expiresAt`, `collapseKey`, `threadKey`, `locale`. What was not given is not in it.
    """

    user_id: str
    title: str
    message: str
    type: Type
    category: str = ""
    data: Mapping[str, Any] | None = None
    scheduled_at: datetime | None = None
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def goes_out(self) -> bool:
        """Whether it is sent by a channel beside the feed."""
        if self.type is not Type.IN_APP or not self.further:
            return self.type is not Type.IN_APP
        return any(channel != Type.IN_APP for channel in self.further.get("channels", ()))


def from_milliseconds(number: int) -> datetime:
    """Return the naive UTC time of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=number)


def milliseconds(time: datetime) -> int:
    """Return the milliseconds since 1970 of a naive UTC time."""
    # Half the time of a division of the two spans.
    span = time - _EPOCH
    return span.days * 86_400_000 + span.seconds * 1_000 + span.microseconds // 1_000


def new(draft: Draft, at: datetime) -> Document:
    """Build the document of a notification created at ``at`` (naive UTC, whole milliseconds)."""
    document: Document = {
        "_id": ObjectId(),
        "userId": draft.user_id,
        "title": draft.title,
        "message": draft.message,
        "type": draft.type.value,
        "seen": False,
        "read": False,
        "archived": False,
        "createdAt": at,
        "updatedAt": at,
        STAMP: UNSTAMPED,
        "rev": 1,
    }
    if waits := draft.scheduled_at is not None and draft.scheduled_at > at:
        document["dueAt"] = draft.scheduled_at
    elif not draft.goes_out:
        # A notification of the feed is delivered by being stored.
        document["sentAt"] = at
    if draft.category:
        document["category"] = draft.category
    if draft.data is not None:
        document["data"] = draft.data
    if draft.further:
        document.update(draft.further)
    document["delivery"] = _delivery(document, waits=waits)
    if draft.scheduled_at is not None:
        document["delivery"]["scheduledAt"] = draft.scheduled_at
    return document


def waits(document: Mapping[str, Any]) -> bool:
    """Say whether a notification waits for its time; in the feed none does."""
    return "dueAt" in document


def schedule(at: datetime) -> Document:
    """Return the fields that say for which time one waits."""
    return {"delivery.scheduledAt": at, "dueAt": at}


def expiring_after(changed: datetime | None, at: datetime) -> Document:
    """Return the condition that one expires after ``at``, where it is not changed to expire at ``changed``."""
    return {} if changed is not None else {"$nor": [{"expiresAt": {"$lte": at}}]}


def due_before(expiry: datetime | None) -> Document:
    """Return the condition that the time for which one waits comes before it is to expire."""
    return {} if expiry is None else {"delivery.scheduledAt": {"$lt": expiry}}


def visible(waiting: Document, at: datetime) -> Document:
    """Return one that waited as it becomes visible at ``at``: as if it had been created then."""
    document = {**waiting, "createdAt": at, "updatedAt": at, STAMP: UNSTAMPED, "rev": waiting["rev"] + 1}
    del document["dueAt"]
    document["delivery"] = {**_delivery(document, waits=False), "scheduledAt": waiting["delivery"]["scheduledAt"]}
    if not goes_out(document):
        document["sentAt"] = at
    return document


def going_out_by(changes: Mapping[str, Any]) -> Document:
    """Return the condition that a notification goes out by each channel of which changes say something."""
    named = [channel.value for channel in (Type.EMAIL, Type.PUSH) if changes.get(channel.value) is not None]
    if not named:
        return {}
    return {"$and": [{"$or": [{"type": channel}, {"channels": channel}]} for channel in named]}


def outgoing(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels by which a notification goes out, each once: its type and its channels, but the feed."""
    named = dict.fromkeys((document["type"], *document.get("channels", ())))
    return tuple(channel for channel in named if channel != Type.IN_APP)


def goes_out(document: Mapping[str, Any]) -> bool:
    """Say whether a stored notification has deliveries."""
    delivery = document.get("delivery")
    return isinstance(delivery, dict) and "byChannel" in delivery


def ids_of(document: Document) -> Document:
    """Return the ids of a document alone: its own and the user's."""
    return {"_id": document["_id"], "userId": document["userId"]}


def _delivery(document: Document, *, waits: bool) -> Document:
    """Return how a notification sums up its deliveries, of each channel one, when it is created or becomes visible."""
    state = (DeliveryState.SCHEDULED if waits else DeliveryState.PENDING).value
    by_channel = {channel: {"state": state, "rev": 1} for channel in outgoing(document)}
    if by_channel:
        return {"state": state, "byChannel": by_channel}
    return {"state": state if waits else DeliveryState.SENT.value}


def etag(document: Mapping[str, Any]) -> str:
    """Return the etag of this state of the document (AIP-154), as ``chassis.contract.etags`` writes it.

    `rev` counts this service's changes; `updatedAt` also moves when the source's own system writes.
    """
    rev, updated = document.get("rev"), document.get("updatedAt")
    # An invalid value of another system counts as none.
    number = rev if isinstance(rev, int) and rev is not True and rev > 0 else 0
    if isinstance(updated, datetime):
        return f'"{number}.{milliseconds(updated)}"'
    # Of a year that Python does not have.
    return f'"{number}.{int(updated)}"' if isinstance(updated, DatetimeMS) else f'"{number}."'


def etag_query(etag: str) -> Document | None:
    """Return the condition that holds while the document still has this etag; None if it is not one of ours."""
    numbers = etags.read(etag, 2)
    if numbers is None or numbers[0] is None:
        return None
    number, updated = numbers
    # A condition on a list holds if it does on an element.
    whole = {"$type": ["int", "long"], "$not": {"$type": "array"}}
    rev = {**whole, "$eq": number} if number else {"$not": {**whole, "$gt": 0}}
    time = {"$type": "date", "$not": {"$type": "array"}}
    return {"rev": rev, "updatedAt": {"$not": time} if updated is None else {**time, "$eq": DatetimeMS(updated)}}
