"""Limits of the watches of a process."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.watching.limits import WatcherLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits(WatcherLimits):
    """Bounds of memory, time and connections; times in seconds."""

    # Streams open at once to read the histories of watchers that resume or fell behind; each takes a connection.
    catch_ups: int
    # Events that each of them holds at a time.
    chunk: int = 512
    # How long the shared stream stays open after the last watcher left.
    linger: float = 30.0
