"""Rates: how many calls a second a rule grants each of its callers, counted in this process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls a second on average, and so many at once after a pause."""

    calls_per_second: float
    burst: float


class Bucket:
    """The calls that one caller still has of a rate (a token bucket); ``now`` is in seconds of a monotonic clock."""

    __slots__ = ("_at", "_left", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._left = rate.burst
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until a call is allowed; 0: now."""
        left = min(self.rate.burst, self._left + max(0.0, now - self._at) * self.rate.calls_per_second)
        self._left, self._at = left, now
        return 0.0 if left >= 1 else (1 - left) / self.rate.calls_per_second

    def take(self) -> None:
        """Count a call; ``wait`` has just allowed it."""
        self._left -= 1
