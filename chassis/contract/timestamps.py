"""Times between Python (aware, UTC, microseconds) and ``google.protobuf.Timestamp``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

# What a Timestamp can say: the years 1 to 9999, in seconds since 1970.
FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_799

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - databases without time zones give naive UTC


def micros(value: datetime) -> int:
    """Return the microseconds since 1970; a naive value is taken as UTC."""
    delta = value - (_EPOCH_NAIVE if value.tzinfo is None else _EPOCH)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(value: int) -> datetime:
    """Return the aware UTC time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def assign(target: Timestamp, value: datetime | None) -> None:
    """Write a time into a message's field; None leaves the field unset. A naive value is UTC."""
    if value is None:
        return
    delta = value - (_EPOCH_NAIVE if value.tzinfo is None else _EPOCH)
    target.seconds = delta.days * 86_400 + delta.seconds
    target.nanos = delta.microseconds * 1_000


def to_proto(value: datetime) -> Timestamp:
    """Return a new Timestamp. A naive value is UTC."""
    timestamp = Timestamp()
    assign(timestamp, value)
    return timestamp


def from_proto(timestamp: Timestamp) -> datetime:
    """Return the aware UTC time; what is below a microsecond is cut."""
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)
