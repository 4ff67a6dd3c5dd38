"""Limits of the watches of a process."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.watching.limits import WatcherLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits(WatcherLimits):
    """Bounds of memory and time; times in seconds."""

    # From one look to the next while somebody watches.
    poll: float
