"""Limits of the watches of a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from chassis.watching.settings import WatcherSettings


@dataclass(frozen=True, slots=True)
class WatcherLimits:
    """Bounds of memory and time; times in seconds."""

    # Watchers of one process; more are refused.
    watchers: int
    # Events that wait for one watcher in memory. Further ones are read again from the database.
    queue: int
    # How long a response may wait to be taken by a watcher whose queue has overflowed, and by any other.
    patience: float
    untaken: float
    # How long the shared stream may be interrupted before its watches are ended, to try another process.
    outage: float
    # How long a new watcher waits for the shared stream to open.
    start: float = 5.0

    @classmethod
    def of(cls, settings: WatcherSettings, **further: Any) -> Self:
        """Return the limits that settings set; ``further``: those of one service alone."""
        return cls(
            watchers=settings.watch_max_watchers,
            queue=settings.watch_queue_events,
            patience=settings.watch_patience_ms / 1000,
            untaken=settings.watch_untaken_ms / 1000,
            outage=settings.watch_outage_ms / 1000,
            **further,
        )
