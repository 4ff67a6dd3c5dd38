"""Conversion of a stored document to the `Notification` of the contract, whole or only some fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bson import DBRef, ObjectId
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb

from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents, further, structs
from notifications_service.notification.words import TYPE_TO_PROTO

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_MICROSECOND: Final = timedelta(microseconds=1)

DELIVERY_STATE_TO_PROTO: Final[Mapping[str | None, pb.DeliveryState.ValueType]] = {
    None: pb.DELIVERY_STATE_UNSPECIFIED,
    "scheduled": pb.DELIVERY_STATE_SCHEDULED,
    "pending": pb.DELIVERY_STATE_PENDING,
    "sending": pb.DELIVERY_STATE_SENDING,
    "sent": pb.DELIVERY_STATE_SENT,
    "bounced": pb.DELIVERY_STATE_BOUNCED,
    "complained": pb.DELIVERY_STATE_COMPLAINED,
    "failed": pb.DELIVERY_STATE_FAILED,
    "expired": pb.DELIVERY_STATE_EXPIRED,
    "cancelled": pb.DELIVERY_STATE_CANCELLED,
    "suppressed": pb.DELIVERY_STATE_SUPPRESSED,
}

_NO_DELIVERY: Final[Document] = {}
_WRONG: Final = (KeyError, TypeError, ValueError, OverflowError, AttributeError)

Convert = Callable[[Document], Any]


class Unreadable(Exception):
    """A stored document is no valid notification; the text names its id and the fields, never a value.

    ``is_hidden``: the conditions of ``unreadable`` do not find it; only converting it does.
    """

    def __init__(self, document: Document, broken: Collection[str], *, is_hidden: bool) -> None:
        super().__init__(f"{document.get('_id')!r}: {', '.join(broken)}")
        self.is_hidden = is_hidden


def too_large(document: Document) -> Unreadable:
    """Return the error for a notification that is larger than an answer may be."""
    return Unreadable(document, ["larger than a message"], is_hidden=True)


def to_message(document: Document, fields: Iterable[str] | None = None) -> pb.Notification:
    """Convert a document; ``fields`` are names of `Notification` fields, all when None.

    Raises ``Unreadable`` when a requested field has an invalid value.
    """
    if fields is None or fields is LISTED:
        try:
            return _whole(document, pb.Notification, further.FIELDS if fields is None else further.LISTED)
        except _WRONG:
            fields = fields or _CONVERTERS
    names = tuple(fields)
    try:
        return pb.Notification(**{name: _CONVERTERS[name](document) for name in names})
    except _WRONG:
        broken = [name for name in names if not _converts(name, document)]
        is_hidden = broken == ["data"] and isinstance(document["data"], dict | DBRef)
        raise Unreadable(document, broken, is_hidden=is_hidden) from None


def append(
    messages: RepeatedCompositeFieldContainer[pb.Notification], document: Document, *, listed: bool = False
) -> None:
    """Convert a whole document into a new message at the end, which saves the copy of appending a message.

    ``listed``: only what lists show of it. If it raises ``Unreadable``, the messages are unchanged.
    """
    number = len(messages)
    try:
        _whole(document, messages.add, further.LISTED if listed else further.FIELDS)
    except _WRONG:
        del messages[number:]
        messages.append(to_message(document, LISTED if listed else None))


def _whole(  # noqa: C901 - flat: fast
    document: Document, make: Callable[..., pb.Notification], rare: Mapping[str, further.Field] = further.FIELDS
) -> pb.Notification:
    """Convert all fields at once, in less than half the time that the table below takes: pages have many messages.

    ``rare``: which to convert of those that only some notifications have.

    A test compares it with that table, which also finds the invalid field when this fails.
    """
    get = document.get
    seen, read, archived = get("seen"), get("read"), get("archived")
    if not (_is_flag(seen) and _is_flag(read) and _is_flag(archived)):
        raise TypeError
    read = read or archived or False
    seen = seen or read
    delivery: Any = get("delivery")
    if delivery is None:
        delivery = _NO_DELIVERY
    user_id, title, message = document["userId"], document["title"], document["message"]
    category = get("category")
    if category is None:
        category = ""
    # The constructor would take None for a field that was not given, and bytes for text.
    if not (type(user_id) is type(title) is type(message) is type(category) is str):
        raise TypeError
    created, updated, sent = document["createdAt"], get("updatedAt"), get("sentAt")
    if created is None:
        raise TypeError
    created_at = _parts(created)
    # Read whatever the state is, since a wrong value is an error in any state.
    seen_at, read_at, archived_at = get("seenAt"), get("readAt"), get("archivedAt")
    if seen_at is not None:
        seen_at = _parts(seen_at)
    if read_at is not None:
        read_at = _parts(read_at)
    if archived_at is not None:
        archived_at = _parts(archived_at)
    made = make(
        id=_id(document),
        user_id=user_id,
        title=title,
        message=message,
        type=TYPE_TO_PROTO[document["type"]],
        category=category,
        seen=seen,
        read=read,
        archived=archived or False,
        seen_at=seen_at if seen else None,
        read_at=read_at if read else None,
        archived_at=archived_at if archived else None,
        # Most notifications were sent when they were created.
        sent_at=created_at if sent == created else _parts(sent),
        scheduled_at=_parts(delivery.get("scheduledAt")),
        delivery_state=DELIVERY_STATE_TO_PROTO[delivery.get("state")],
        created_at=created_at,
        updated_at=created_at if updated == created else _parts(updated),
        etag=documents.etag(document),
    )
    if (data := get("data")) is not None:
        structs.write(made.data, data)
    if further.any_in(document):
        further.write(made, document, rare)
    return made


def _is_flag(value: object) -> bool:
    return value is False or value is True or value is None


def _parts(time: datetime | None) -> Any:
    # A dictionary becomes a Timestamp in half the time that making one takes.
    if time is None:
        return None
    span = time - _EPOCH
    return {"seconds": span.days * 86_400 + span.seconds, "nanos": span.microseconds * 1000}


def _converts(name: str, document: Document) -> bool:
    try:
        pb.Notification(**{name: _CONVERTERS[name](document)})
    except _WRONG:
        return False
    return True


def projection(fields: Iterable[str]) -> Document:
    """Return the MongoDB projection that holds what ``to_message`` needs for these fields."""
    return {name: 1 for field in fields for name in SOURCES[field]} | {"_id": 1}


def timestamp(time: datetime) -> Timestamp:
    """Convert a naive UTC time."""
    span = time - _EPOCH
    return Timestamp(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1000)


def _text(name: str) -> Convert:
    def convert(document: Document) -> str:
        value = document[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} is no string")
        return value

    return convert


def _optional_text(name: str) -> Convert:
    read = _text(name)

    def convert(document: Document) -> str:
        return read(document) if document.get(name) is not None else ""

    return convert


def _time(name: str) -> Convert:
    def convert(document: Document) -> Timestamp | None:
        value = document.get(name)
        return None if value is None else _checked_timestamp(value, name)

    return convert


def _required_time(name: str) -> Convert:
    return lambda document: _checked_timestamp(document[name], name)


def _checked_timestamp(value: object, name: str) -> Timestamp:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is no date")
    return timestamp(value)


def _flag(document: Document, name: str) -> bool:
    value = document.get(name)
    if value is None or value is False:
        return False
    if value is not True:
        raise TypeError(f"{name} is no boolean")
    return True


def _is_archived(document: Document) -> bool:
    return _flag(document, "archived")


def _is_read(document: Document) -> bool:
    # Another system may have written only the one field: archived implies read, read implies seen.
    return _flag(document, "read") or _flag(document, "archived")


def _is_seen(document: Document) -> bool:
    return _flag(document, "seen") or _is_read(document)


def _while(holds: Callable[[Document], bool], name: str) -> Convert:
    read = _time(name)

    def convert(document: Document) -> Timestamp | None:
        time = read(document)
        return time if holds(document) else None

    return convert


def _id(document: Document) -> str:
    value = document["_id"]
    if not isinstance(value, ObjectId):
        raise TypeError("_id is no ObjectId")
    return str(value)


def _delivery(document: Document) -> Document:
    value = document.get("delivery")
    # As in data, an object that begins with `$ref`, of which the driver makes a DBRef, is an ordinary object.
    found: Any = value.as_doc() if isinstance(value, DBRef) else value
    if found is None:
        return _NO_DELIVERY
    if not isinstance(found, dict):
        raise TypeError("delivery is no object")
    return found


def _scheduled_at(document: Document) -> Timestamp | None:
    value = _delivery(document).get("scheduledAt")
    return None if value is None else _checked_timestamp(value, "delivery.scheduledAt")


def _delivery_state(document: Document) -> pb.DeliveryState.ValueType:
    return DELIVERY_STATE_TO_PROTO[_delivery(document).get("state")]


def _data(document: Document) -> Struct | None:
    value = document.get("data")
    if value is None:
        return None
    struct = Struct()
    structs.write(struct, value)
    return struct


# Field of `Notification`: the stored fields it is made of, and how.
_FIELDS: Final[Mapping[str, tuple[tuple[str, ...], Convert]]] = {
    "id": (("_id",), _id),
    "user_id": (("userId",), _text("userId")),
    "title": (("title",), _text("title")),
    "message": (("message",), _text("message")),
    "type": (("type",), lambda document: TYPE_TO_PROTO[document["type"]]),
    "category": (("category",), _optional_text("category")),
    "data": (("data",), _data),
    "seen": (("seen", "read", "archived"), _is_seen),
    "read": (("read", "archived"), _is_read),
    "archived": (("archived",), _is_archived),
    "seen_at": (("seen", "read", "archived", "seenAt"), _while(_is_seen, "seenAt")),
    "read_at": (("read", "archived", "readAt"), _while(_is_read, "readAt")),
    "archived_at": (("archived", "archivedAt"), _while(_is_archived, "archivedAt")),
    "sent_at": (("sentAt",), _time("sentAt")),
    "scheduled_at": (("delivery",), _scheduled_at),
    "delivery_state": (("delivery",), _delivery_state),
    "created_at": (("createdAt",), _required_time("createdAt")),
    "updated_at": (("updatedAt",), _time("updatedAt")),
    "etag": (("rev", "updatedAt"), documents.etag),
    **{name: ((field.stored,), partial(further.converted, name=name)) for name, field in further.FIELDS.items()},
}
SOURCES: Final = {name: sources for name, (sources, _) in _FIELDS.items()}
_CONVERTERS: Final = {name: convert for name, (_, convert) in _FIELDS.items()}
# What lists show, and watches tell, where nothing else is asked for.
LISTED: Final = tuple(name for name in _FIELDS if name not in further.LARGE)
LISTED_PROJECTION: Final[Document] = {further.FIELDS[name].stored: 0 for name in further.LARGE}
