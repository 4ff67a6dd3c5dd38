"""The clock: one function that the services are given, so that tests can give them another time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

# Returns the time in UTC, aware, with microseconds: as exact as the database keeps it.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def utc(stored: datetime) -> datetime:
    """Return a time as the driver reads it (naive, in UTC) as an aware one."""
    return stored.replace(tzinfo=UTC)
