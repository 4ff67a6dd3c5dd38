"""Times of requests as stored times, which are whole milliseconds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bson.datetime_ms import DatetimeMS
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.contract.timestamps import LAST_SECOND
from notifications_service.notification.filters import BoundTime

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001


def floor(time: Timestamp) -> datetime:
    """Convert a time to the last whole millisecond that is not after it."""
    return _EPOCH + timedelta(seconds=time.seconds, milliseconds=time.nanos // 1_000_000)


def ceiling(time: Timestamp) -> BoundTime:
    """Convert a bound: one between two stored times is rounded up."""
    if time.nanos % 1_000_000 == 0:
        return floor(time)
    if time.seconds == LAST_SECOND and time.nanos > 999_000_000:
        # Python's times end before it, MongoDB's do not.
        return DatetimeMS((LAST_SECOND + 1) * 1_000)
    return floor(time) + timedelta(milliseconds=1)
