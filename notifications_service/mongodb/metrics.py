"""Metrics of the database."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.telemetry.families import Family, by
from chassis.telemetry.registry import Registry
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.secondaries import Secondaries


def of_database(registry: Registry, database: Database) -> None:
    """Add the metrics of the pool, of slow statements, and of writes that were refused."""

    def collect() -> Iterator[Family]:
        yield from database.pool_metrics()
        yield from database.queries.collect()
        yield from database.writability.families("mongodb")

    registry.add(collect)


def of_secondaries(registry: Registry, secondaries: Secondaries) -> None:
    """Add the metrics of reads on secondaries."""

    def collect() -> Iterator[Family]:
        reads, fallbacks = {"secondaries": float(secondaries.reads)}, {"failed": float(secondaries.fallbacks)}
        yield Family("vibework_replica_reads_total", "counter", "Reads that began there.", by("replica", reads))
        yield Family(
            "vibework_replica_fallbacks_total", "counter", "Reads that the primary answered.", by("cause", fallbacks)
        )

    registry.add(collect)
