"""Metrics of the outbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chassis.clock import Clock
from chassis.telemetry.families import Family, gauge
from chassis.telemetry.registry import Registry
from users_service.mysql.database import Database
from users_service.outbox import repository as outbox


def of_outbox(registry: Registry, database: Database, clock: Clock) -> None:
    """Add the metrics of the outbox: calls to the notifications service that wait; read from the database."""

    async def collect() -> AsyncIterator[Family]:
        entries, oldest = await database.query(outbox.backlog)
        age = 0.0 if oldest is None else max(0.0, (clock() - oldest).total_seconds())
        yield gauge("vibework_outbox_entries", "Calls left to be made; of very many, 10,000 are counted.", entries)
        yield gauge("vibework_outbox_oldest_seconds", "Since when the oldest of them waits.", age)

    registry.add_asking(collect)
