"""Metrics of the watches."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.telemetry.families import Family, gauge
from chassis.telemetry.registry import Registry
from notifications_service.watch.service import WatchService


def of_watches(registry: Registry, watches: WatchService) -> None:
    """Add the metrics of the watchers and of the change stream that they share."""

    def collect() -> Iterator[Family]:
        yield gauge("vibework_watchers", "Watches that are open.", watches.watchers)
        yield gauge("vibework_watchers_limit", "Watches that may be open.", watches.limit)
        yield gauge("vibework_watch_stream_lag_seconds", "How far the change stream is behind.", watches.lag)

    registry.add(collect)
