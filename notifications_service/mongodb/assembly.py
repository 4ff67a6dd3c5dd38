"""Puts the databases together; for the composition root."""

from __future__ import annotations

from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from chassis.telemetry.start import Telemetry
from notifications_service.mongodb import metrics
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.secondaries import Reader, Secondaries, reader
from notifications_service.mongodb.settings import MongoDBSettings, SecondarySettings

# The connection that the shared change stream of the watches holds.
_STREAMS = 1


def open_database(settings: MongoDBSettings, scope: Scope, telemetry: Telemetry) -> Database:
    """Open the database of calls and watches, which keeps a connection for the stream that all watches share."""
    database = Database(settings, telemetry.tracing, streams=_STREAMS)
    scope.resources.push_async_callback(database.close)
    metrics.of_database(telemetry.registry, database)
    return database


def new_readers(settings: SecondarySettings, database: Database, registry: Registry) -> tuple[Reader, Reader]:
    """Return what carries out lists, and what counts."""
    secondaries = Secondaries(database, settings.mongodb_secondary_timeout_ms / 1000)
    metrics.of_secondaries(registry, secondaries)
    staleness = settings.mongodb_max_staleness_seconds
    return (
        reader(database, secondaries, settings.mongodb_read_preference_list, staleness),
        reader(database, secondaries, settings.mongodb_read_preference_count, staleness),
    )
