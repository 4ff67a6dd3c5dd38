"""Conversion of requests to the model of the feed, and the rules that the contract cannot express."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from bson import ObjectId
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2, notification_service_pb2
from vibework.notifications.v1.notification_pb2 import NotificationContent

from chassis.contract.nesting import MAX_LEVELS, too_deep
from chassis.errors import FieldViolation, InvalidFields
from chassis.slices import Slices
from notifications_service.clock import MillisecondClock
from notifications_service.notification import filters, further
from notifications_service.notification.answers import answer_too_large
from notifications_service.notification.documents import Draft, Type
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import Mark
from notifications_service.notification.times import ceiling, floor
from notifications_service.scheduled.repository import ScheduledFilter

MAX_DATA_BYTES: Final = 16 * 1024
# Bytes of all contents of a batch, each counted as often as it is stored.
MAX_BATCH_CONTENT: Final = 32 * 1024 * 1024
MAX_SCHEDULE: Final = timedelta(days=366)
# Beyond this, JSON's floating point does not represent every whole number.
_MAX_WHOLE: Final = 2**53

_TYPES: Final = {
    notification_pb2.NOTIFICATION_TYPE_EMAIL: Type.EMAIL,
    notification_pb2.NOTIFICATION_TYPE_PUSH: Type.PUSH,
    notification_pb2.NOTIFICATION_TYPE_IN_APP: Type.IN_APP,
}
_MARKS: Final = {
    notification_service_pb2.NOTIFICATION_MARK_SEEN: Mark.SEEN,
    notification_service_pb2.NOTIFICATION_MARK_UNSEEN: Mark.UNSEEN,
    notification_service_pb2.NOTIFICATION_MARK_READ: Mark.READ,
    notification_service_pb2.NOTIFICATION_MARK_UNREAD: Mark.UNREAD,
    notification_service_pb2.NOTIFICATION_MARK_ARCHIVED: Mark.ARCHIVED,
    notification_service_pb2.NOTIFICATION_MARK_UNARCHIVED: Mark.UNARCHIVED,
}


def draft(user_id: str, content: NotificationContent, clock: MillisecondClock, prefix: str = "") -> Draft:
    """Convert a notification to be created; ``prefix`` leads the field names in violations.

    Raises InvalidFields for data over 16 KiB as JSON, of more than 32 levels or with a number that JSON lacks, for what
    has expired already, and for a schedule more than 366 days ahead.
    """
    data = data_of(content.data, f"{prefix}data") if content.HasField("data") else None
    scheduled = None
    if content.HasField("scheduled_at"):
        scheduled = schedule(content.scheduled_at, f"{prefix}scheduled_at", clock)
    rest = further.stored(content)
    if "expiresAt" in rest:
        check_expiry(rest["expiresAt"], f"{prefix}expires_at", clock)
    channel = _TYPES[content.type]
    return Draft(user_id, content.title, content.message, channel, content.category, data, scheduled, rest)


def check_expiry(at: datetime, field: str, clock: MillisecondClock) -> None:
    """Raise InvalidFields for a time, in whole milliseconds, that has come."""
    if at <= clock():
        raise InvalidFields.of(field, "must be after now", "TIMESTAMP_GT_NOW")


async def drafts(
    request: notification_service_pb2.BatchCreateNotificationsRequest,
    clock: MillisecondClock,
    max_bytes: int,
    slices: Slices,
) -> dict[str, Draft]:
    """Convert a batch: request field that names the user → what is to be created for them.

    Raises InvalidFields as ``draft``, and for a batch whose contents alone would not fit into an answer of
    ``max_bytes``: the answer itself is measured before anything is stored (``answers.BatchAnswer``). An answer of ids
    alone has room for all; there ``MAX_BATCH_CONTENT`` bounds what one transaction stores.
    """
    if is_ids_only(request.response_view):
        max_bytes = MAX_BATCH_CONTENT
    if request.WhichOneof("batch") == "fan_out":
        _check_size("fan_out", [request.fan_out.content.ByteSize()] * len(request.fan_out.user_ids), max_bytes)
        template = draft("", request.fan_out.content, clock, "fan_out.content.")
        users = request.fan_out.user_ids
        made = await slices.map(lambda user_id: replace(template, user_id=user_id), users)
        return {f"fan_out.user_ids[{number}]": one for number, one in enumerate(made)}
    items = request.items.items
    _check_size("items", [item.content.ByteSize() for item in items], max_bytes)
    made = await slices.map(
        lambda named: draft(named[1].user_id, named[1].content, clock, f"items.items[{named[0]}].content."),
        enumerate(items),
    )
    return {f"items.items[{number}].user_id": one for number, one in enumerate(made)}


def _check_size(field: str, sizes: list[int], max_bytes: int) -> None:
    if sum(sizes) > max_bytes:
        raise answer_too_large(field, sum(sizes), max_bytes)


def filter_of(message: notification_service_pb2.NotificationFilter) -> Filter:
    """Convert a filter."""
    if not message.ByteSize():
        return filters.EVERYTHING
    lowest, highest = filters.of_states(
        message.read if message.HasField("read") else None,
        message.seen if message.HasField("seen") else None,
        message.archived if message.HasField("archived") else None,
    )
    return Filter(
        lowest,
        highest,
        tuple(_TYPES[channel].value for channel in message.types),
        tuple(message.categories),
        ceiling(message.created_after) if message.HasField("created_after") else None,
        ceiling(message.created_before) if message.HasField("created_before") else None,
        tuple(message.thread_keys),
    )


def scheduled_filter_of(message: notification_service_pb2.ScheduledNotificationFilter) -> ScheduledFilter:
    """Convert a filter of those that wait."""
    return ScheduledFilter(
        tuple(_TYPES[channel].value for channel in message.types),
        tuple(message.categories),
        tuple(message.thread_keys),
        ceiling(message.scheduled_after) if message.HasField("scheduled_after") else None,
        ceiling(message.scheduled_before) if message.HasField("scheduled_before") else None,
    )


def is_ids_only(view: notification_pb2.NotificationView.ValueType) -> bool:
    """Say whether only the ids of new notifications are to be answered."""
    return view == notification_pb2.NOTIFICATION_VIEW_IDS


def mark_of(number: int) -> Mark:
    """Convert a mark."""
    return _MARKS[notification_service_pb2.NotificationMark.ValueType(number)]


def ids(texts: Any) -> list[ObjectId]:
    """Convert ids, each once."""
    return [ObjectId(text) for text in dict.fromkeys(texts)]


def schedule(time: Timestamp, field: str, clock: MillisecondClock) -> datetime:
    """Convert the time at which a notification becomes visible. Raises InvalidFields beyond 366 days."""
    at = floor(time)
    if at > clock() + MAX_SCHEDULE:
        raise InvalidFields.of(field, f"must be at most {MAX_SCHEDULE.days} days ahead", "TIMESTAMP_AHEAD")
    return at


def data_of(struct: Struct, field: str) -> dict[str, Any]:
    """Convert a caller's own JSON object. Raises InvalidFields for one that is too large, too deep or no JSON."""
    violations: list[FieldViolation] = []
    data = _object(struct, field, violations, MAX_LEVELS)
    if violations:
        raise InvalidFields(violations)
    size = len(orjson.dumps(data))
    if size > MAX_DATA_BYTES:
        raise InvalidFields.of(field, f"must be at most {MAX_DATA_BYTES} bytes as JSON, has {size}", "JSON_BYTES")
    return data


def _object(struct: Struct, path: str, violations: list[FieldViolation], levels: int) -> dict[str, Any]:
    if not levels:
        _too_deep(path, violations)
        return {}
    if any("\0" in key for key in struct.fields):
        violations.append(FieldViolation(path, "a key must not hold the character U+0000", "JSON_KEY"))
    if "$db" in struct.fields and _loses_database(struct):
        violations.append(FieldViolation(path, "$db must not be null beside $ref and $id", "JSON_KEY"))
    return {key: _value(value, path, violations, levels - 1) for key, value in struct.fields.items()}


def _loses_database(found: Struct) -> bool:
    """Say whether an object is a reference of MongoDB whose ``$db`` is null: the driver would read it back without."""
    fields = found.fields
    if "$ref" not in fields or "$id" not in fields or fields["$ref"].WhichOneof("kind") != "string_value":
        return False
    return fields["$db"].WhichOneof("kind") in {None, "null_value"}


def _list(values: Iterable[Value], path: str, violations: list[FieldViolation], levels: int) -> list[Any]:
    if not levels:
        _too_deep(path, violations)
        return []
    return [_value(item, path, violations, levels - 1) for item in values]


def _too_deep(path: str, violations: list[FieldViolation]) -> None:
    found = too_deep(path)
    if found not in violations:
        violations.append(found)


def _value(value: Value, path: str, violations: list[FieldViolation], levels: int) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(value.number_value, path, violations)
    if kind == "struct_value":
        return _object(value.struct_value, path, violations, levels)
    if kind == "list_value":
        return _list(value.list_value.values, path, violations, levels)
    return None if kind in {None, "null_value"} else getattr(value, kind)


def _number(number: float, path: str, violations: list[FieldViolation]) -> float:
    if not math.isfinite(number):
        violations.append(FieldViolation(path, "JSON has no NaN and no infinity", "JSON_NUMBER"))
        return 0
    # As the source's own system stores them: whole numbers are integers, not floats. But no integer is minus zero.
    is_whole = number.is_integer() and abs(number) < _MAX_WHOLE and (number or math.copysign(1, number) > 0)
    return int(number) if is_whole else number
