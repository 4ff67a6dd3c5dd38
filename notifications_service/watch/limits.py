"""How much a process spends on its watchers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Bounds of memory, time and connections; times in seconds."""

    # Watchers of one process; more are refused.
    watchers: int = 5_000
    # Events that wait for one watcher in memory. What comes on top is read again from the database.
    queue: int = 256
    # How long a watcher whose queue ran over may go on without once being up to date.
    patience: float = 2.0
    # Streams open at once to read the histories of watchers that resume or fell behind; each takes a connection.
    catch_ups: int = 4
    # Events that each of them holds at a time.
    chunk: int = 512
    # How long a new watcher waits for the shared stream to stand.
    start: float = 5.0
    # How long the shared stream may be away before its watchers are told to try elsewhere.
    outage: float = 30.0
    # How long the shared stream stays open after the last watcher left.
    linger: float = 30.0
