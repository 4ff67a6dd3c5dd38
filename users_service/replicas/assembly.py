"""Puts reads on replicas together; for the composition root."""

from __future__ import annotations

from chassis.background import running
from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from users_service.mysql.database import Database
from users_service.replicas import metrics
from users_service.replicas.reads import Query, ReplicaReads
from users_service.replicas.settings import ReplicaSettings


async def open_reads(settings: ReplicaSettings, database: Database, scope: Scope, registry: Registry) -> Query:
    """Return what carries out reads: replicas, where there are any; they are followed until ``scope`` closes."""
    if not settings.replica_endpoints:
        return database.query
    reads = ReplicaReads(database, settings)
    metrics.of_replicas(registry, reads)
    scope.resources.push_async_callback(reads.close)
    await scope.resources.enter_async_context(running(*reads.loops()))
    return reads.query
