"""Metrics of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chassis.telemetry.families import Distribution, Family, Labels, by
from chassis.telemetry.registry import Registry
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.secondaries import Secondaries


def of_databases(registry: Registry, databases: Sequence[Database]) -> None:
    """Add the metrics of the pools of several clients, of slow statements, and of the writes of the first client."""

    def collect() -> Iterator[Family]:
        for families in zip(*(database.pool_metrics() for database in databases), strict=True):
            yield _together(families)
        yield _together([family for database in databases for family in database.queries.collect()])
        # Only calls write.
        yield from databases[0].writability.families("mongodb")

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


def _together(families: Sequence[Family]) -> Family:
    """Merge families of the same metric into one."""
    first = families[0]
    totals: dict[Labels, float] = {}
    for labels, value in (sample for family in families for sample in family.samples):
        if not isinstance(value, Distribution):
            totals[labels] = totals.get(labels, 0.0) + value
    return Family(first.name, first.kind, first.help, list(totals.items()))
