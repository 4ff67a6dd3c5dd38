"""Metrics of the database."""

from __future__ import annotations

from chassis.telemetry.registry import Registry
from users_service.mysql import pools
from users_service.mysql.database import Database


def of_database(registry: Registry, database: Database) -> None:
    """Add the metrics of the pools, of slow statements, and of whether the server takes writes."""
    registry.add(lambda: pools.families(database.pools()))
    registry.add(lambda: database.writability.families("mysql"))
    registry.add(database.queries.collect)
