"""Times as MongoDB keeps them: in UTC, whole milliseconds, and naive, as the driver's decoder makes them.

An aware time costs the decoder three times as much.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chassis.clock import Clock

# Returns the time in UTC, naive, cut to whole milliseconds: what is answered equals what is stored.
MillisecondClock = Callable[[], datetime]


def in_milliseconds(clock: Clock) -> MillisecondClock:
    """Make the clock of this service from one that returns aware times with microseconds."""
    return lambda: truncated(clock().replace(tzinfo=None))


def truncated(time: datetime) -> datetime:
    """Cut a naive UTC time to whole milliseconds."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
