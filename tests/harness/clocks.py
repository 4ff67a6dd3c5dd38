"""Clocks that a test can move, for the servers of both services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock, utc_now
from notifications_service.clock import MillisecondClock, in_milliseconds
from users_service.mysql.database_clock import DatabaseClock

# The real time as the notifications service stores it.
stored_now: Final[MillisecondClock] = in_milliseconds(utc_now)


class VirtualClock:
    """Shows the real time plus what it was moved by; the server under test reads it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the time that the server takes for now."""
        return datetime.now(UTC) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._ahead += by


class FrozenClock(VirtualClock):
    """Shows one time until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def __call__(self) -> datetime:
        """Return the time that the server takes for now."""
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by

    def reset(self) -> None:
        """Go back to the real time."""
        self.now = datetime.now(UTC)


def in_database(clock: Clock) -> DatabaseClock:
    """Return a clock of the database that shows what ``clock`` does."""

    async def show(_: AsyncConnection) -> datetime:
        return clock()

    return show
