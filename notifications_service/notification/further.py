"""Further fields, which only some notifications have: conversion from the contract to what is stored, and back.

A field that was not given is not stored, so that other rows do not pay for it. Of another system's rows
`expiresAt` and `threadKey`, by which rows are found, must be right, or the row is unreadable (``unreadable``); whatever
else is not of its form counts as not given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb

from chassis.contract import timestamps
from notifications_service.mongodb.codec import Document
from notifications_service.notification.times import floor
from notifications_service.notification.words import TYPE_TO_PROTO, URGENCY_TO_PROTO

_TYPES: Final = {number: word for word, number in TYPE_TO_PROTO.items()}
_URGENCIES: Final = {number: word for word, number in URGENCY_TO_PROTO.items()}
# Field of the content, of EmailChannel or PushChannel: its stored name.
_MAIL: Final = {"subject": "subject", "text": "text", "html": "html", "reply_to": "replyTo"}
_PUSH: Final = {"title": "title", "body": "body", "url": "url", "icon": "icon"}
_SECOND: Final = 1_000
# What the contract allows: the longest delay of a mail, in milliseconds, and TTL of a push message, in seconds.
_LONGEST_DELAY: Final = 7 * 86_400 * _SECOND
_LONGEST_TTL: Final = 28 * 86_400


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name where it is stored, and its conversions.

    ``store`` takes the value of a set field of `NotificationContent` or `Notification`; ``read`` a stored value that is
    not null, for a field of `Notification`.
    """

    stored: str
    store: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _stored_mail(channel: pb.EmailChannel) -> Document:
    found = _stored_texts(channel.content, _MAIL)
    if channel.HasField("delay"):
        found["delay"] = channel.delay.seconds * _SECOND + channel.delay.nanos // 1_000_000
    if channel.unless_read:
        found["unlessRead"] = True
    return found


def _stored_push(channel: pb.PushChannel) -> Document:
    found = _stored_texts(channel.content, _PUSH)
    if channel.HasField("ttl"):
        found["ttl"] = channel.ttl.seconds
    return found


def _stored_texts(content: Message, names: Mapping[str, str]) -> Document:
    return {stored: text for name, stored in names.items() if (text := getattr(content, name))}


def _mail(value: object) -> pb.EmailChannel | None:
    if not isinstance(value, dict):
        return None
    made = pb.EmailChannel(unless_read=value.get("unlessRead") is True)
    if texts := _texts(value, _MAIL):
        made.content.CopyFrom(pb.EmailContent(**texts))
    if (delay := _whole_number(value.get("delay"), _LONGEST_DELAY)) is not None:
        made.delay.CopyFrom(Duration(seconds=delay // _SECOND, nanos=delay % _SECOND * 1_000_000))
    return made


def _push(value: object) -> pb.PushChannel | None:
    if not isinstance(value, dict):
        return None
    made = pb.PushChannel()
    if texts := _texts(value, _PUSH):
        made.content.CopyFrom(pb.PushContent(**texts))
    if (ttl := _whole_number(value.get("ttl"), _LONGEST_TTL)) is not None:
        made.ttl.CopyFrom(Duration(seconds=ttl))
    return made


def _texts(value: Document, names: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, stored in names.items() if (text := _text(value.get(stored)))}


def _whole_number(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _channels(value: object) -> list[pb.NotificationType.ValueType]:
    words = value if isinstance(value, list) else []
    return [TYPE_TO_PROTO[word] for word in words if type(word) is str and word in TYPE_TO_PROTO]


def _urgency(value: object) -> pb.NotificationUrgency.ValueType:
    return URGENCY_TO_PROTO.get(_text(value), pb.NOTIFICATION_URGENCY_UNSPECIFIED)


def _text(value: object) -> str:
    # Code of the driver is a text, too, but for looking things up.
    return value if type(value) is str else ""


def _required_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _required_time(value: object) -> Timestamp:
    if not isinstance(value, datetime):
        raise TypeError("no date")
    return timestamps.to_proto(value)


def _as_given(value: Any) -> Any:
    return value


FIELDS: Final[Mapping[str, Field]] = {
    "channels": Field("channels", lambda value: [_TYPES[number] for number in value], _channels),
    "email": Field("email", _stored_mail, _mail),
    "push": Field("push", _stored_push, _push),
    "urgency": Field("urgency", lambda value: _URGENCIES[value], _urgency),
    "critical": Field("critical", _as_given, lambda value: value is True),
    "expires_at": Field("expiresAt", floor, _required_time),
    "collapse_key": Field("collapseKey", _as_given, _text),
    "thread_key": Field("threadKey", _as_given, _required_text),
    "locale": Field("locale", _as_given, _text),
}
# These can be large, and are for whoever sends: lists leave them out unless they are asked for, and so do watches.
LARGE: Final = ("email", "push")
LISTED: Final[Mapping[str, Field]] = {name: field for name, field in FIELDS.items() if name not in LARGE}
_WITH_PRESENCE: Final = ("expires_at", *LARGE)
_STORED: Final = tuple(field.stored for field in FIELDS.values())


def stored(values: Any, names: Collection[str] = FIELDS.keys()) -> Document:
    """Return what is set of these fields in a content or a notification, by its stored name."""
    # Most say nothing, and listing what is set makes an object of each part of a message.
    if not (_says_words(values) or any(map(values.HasField, _WITH_PRESENCE)) or values.channels):
        return {}
    return {
        FIELDS[field.name].stored: FIELDS[field.name].store(value)
        for field, value in values.ListFields()
        if field.name in names
    }


def _says_words(values: Any) -> bool:
    return bool(values.thread_key or values.urgency or values.critical or values.collapse_key or values.locale)


def any_in(document: Document) -> bool:
    """Whether a document has any of these fields."""
    return not document.keys().isdisjoint(_STORED)


def write(message: pb.Notification, document: Document, fields: Mapping[str, Field]) -> None:
    """Write these fields of a document into a message. Raises TypeError or ValueError where the row is unreadable."""
    message.MergeFrom(pb.Notification(**{name: converted(document, name) for name in fields}))


def converted(document: Document, name: str) -> Any:
    """Return the value of one field of a message, None where it is not set; raises as ``write``."""
    value = document.get(FIELDS[name].stored)
    return None if value is None else FIELDS[name].read(value)
