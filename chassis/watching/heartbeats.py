"""Heartbeats: signs of life of a stream in which nothing happens."""

from __future__ import annotations

from typing import Any, Final

DEFAULT_HEARTBEAT: Final = 30.0


def interval_of(request: Any) -> float:
    """Return after how many seconds without an event a heartbeat is due; ``request``: has ``heartbeat_interval``."""
    if not request.HasField("heartbeat_interval"):
        return DEFAULT_HEARTBEAT
    return float(request.heartbeat_interval.seconds + request.heartbeat_interval.nanos / 1e9)
