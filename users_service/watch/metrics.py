"""Metrics of the watches, and of the order of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from chassis.clock import Clock
from chassis.telemetry.families import Family, counter, gauge
from chassis.telemetry.registry import Registry
from users_service.events import repository
from users_service.events.sequencer import Sequencer
from users_service.mysql.database import Database
from users_service.watch.service import WatchService


def of_watches(registry: Registry, watches: WatchService, sequencer: Sequencer) -> None:
    """Add the metrics of the watchers and of the loop that they share."""

    def collect() -> Iterator[Family]:
        yield gauge("vibework_watchers", "Watches that are open.", watches.watchers)
        yield gauge("vibework_watchers_limit", "Watches that may be open.", watches.limit)
        yield gauge("vibework_watch_stream_lag_seconds", "How far the watch of the database is behind.", watches.lag)
        yield counter("vibework_user_events_total", "Events brought into their order.", sequencer.sequenced)

    registry.add(collect)


def of_events(registry: Registry, database: Database, clock: Clock) -> None:
    """Add the metric of events that wait for their place; read from the database."""

    async def collect() -> AsyncIterator[Family]:
        since = await database.query(repository.waiting_since)
        age = 0.0 if since is None else max(0.0, (clock() - since).total_seconds())
        yield gauge("vibework_user_events_waiting_seconds", "Since when the oldest event waits for its place.", age)

    registry.add_asking(collect)
