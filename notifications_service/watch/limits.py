"""Limits of the watches of a process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Bounds of memory, time and connections; times in seconds."""

    # Watchers of one process; more are refused.
    watchers: int = 5_000
    # Events that wait for one watcher in memory. Further ones are read again from the database.
    queue: int = 256
    # How long a response may wait to be taken by a watcher whose queue has overflowed, and by any other.
    patience: float = 2.0
    untaken: float = 30.0
    # Streams open at once to read the histories of watchers that resume or fell behind; each takes a connection.
    catch_ups: int = 4
    # Events that each of them holds at a time.
    chunk: int = 512
    # How long a new watcher waits for the shared stream to open.
    start: float = 5.0
    # How long the shared stream may be interrupted before its watches are ended, to try another process.
    outage: float = 30.0
    # How long the shared stream stays open after the last watcher left.
    linger: float = 30.0
