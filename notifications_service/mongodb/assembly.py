"""Puts the databases together; for the composition root."""

from __future__ import annotations

from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from chassis.telemetry.start import Telemetry
from notifications_service.mongodb import metrics
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.secondaries import Reader, Secondaries, reader
from notifications_service.mongodb.settings import MongoDBSettings, SecondarySettings

# Reads at the start of watches that run at once.
_SNAPSHOT_CONNECTIONS = 5


def open_databases(
    settings: MongoDBSettings, scope: Scope, telemetry: Telemetry, *, catch_ups: int
) -> tuple[Database, Database]:
    """Return the database of the calls and that of the watches, which read ``catch_ups`` histories at once."""
    # Connections of its own: the shared stream and each history hold one, which the calls would lack.
    streams = 1 + catch_ups
    own = settings.model_copy(update={"mongodb_connection_pool_size": streams + _SNAPSHOT_CONNECTIONS})
    databases = Database(settings, telemetry.tracing), Database(own, telemetry.tracing, pool="watches", streams=streams)
    for database in databases:
        scope.resources.push_async_callback(database.close)
    metrics.of_databases(telemetry.registry, databases)
    return databases


def new_readers(settings: SecondarySettings, database: Database, registry: Registry) -> tuple[Reader, Reader]:
    """Return what carries out lists, and what counts."""
    secondaries = Secondaries(database, settings.mongodb_secondary_timeout_ms / 1000)
    metrics.of_secondaries(registry, secondaries)
    staleness = settings.mongodb_max_staleness_seconds
    return (
        reader(database, secondaries, settings.mongodb_read_preference_list, staleness),
        reader(database, secondaries, settings.mongodb_read_preference_count, staleness),
    )
