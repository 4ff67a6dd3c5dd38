"""Metrics of the users service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from chassis.clock import Clock
from chassis.telemetry.families import Family, by, gauge
from chassis.telemetry.registry import Registry
from users_service.mysql import pools
from users_service.mysql.database import Database
from users_service.outbox import repository as outbox
from users_service.passwords.hasher import Passwords
from users_service.replicas.reads import ReplicaReads


def of_database(registry: Registry, database: Database) -> None:
    """Add the metrics of the pools, of slow statements, and of whether the server takes writes."""
    registry.add(lambda: pools.families(database.pools()))
    registry.add(lambda: database.writability.families("mysql"))
    registry.add(database.queries.collect)


def of_passwords(registry: Registry, passwords: Passwords) -> None:
    """Add the metrics of password hashing."""

    def collect() -> Iterator[Family]:
        yield gauge("vibework_hashing_running", "Passwords being hashed now.", passwords.running)
        yield gauge("vibework_hashing_waiting", "Passwords that wait for a process.", passwords.waiting)
        yield gauge("vibework_hashing_threads", "Passwords hashed at once at most.", passwords.limit)
        yield gauge("vibework_hashing_processes", "Processes that hash, idle ones included.", len(passwords.pids))
        yield gauge("vibework_hashing_queue_limit", "Passwords that may wait.", passwords.queue)

    registry.add(collect)


def of_outbox(registry: Registry, database: Database, clock: Clock) -> None:
    """Add the metrics of the outbox: calls to the notifications service that wait; read from the database."""

    async def collect() -> AsyncIterator[Family]:
        entries, oldest = await database.query(outbox.backlog)
        age = 0.0 if oldest is None else max(0.0, (clock() - oldest).total_seconds())
        yield gauge("vibework_outbox_entries", "Calls left to be made; of very many, 10,000 are counted.", entries)
        yield gauge("vibework_outbox_oldest_seconds", "Since when the oldest of them waits.", age)

    registry.add_asking(collect)


def of_replicas(registry: Registry, reads: ReplicaReads) -> None:
    """Add the metrics of MySQL's replicas."""

    def collect() -> Iterator[Family]:
        replicas = reads.replicas
        in_use = {replica.address: float(replica.in_use) for replica in replicas}
        lag = {replica.address: replica.lag for replica in replicas}
        began = {replica.address: float(replica.reads) for replica in replicas}
        fallbacks = {str(cause): float(count) for cause, count in reads.fallbacks.items()}
        yield Family("vibework_replica_in_use", "gauge", "1 while a replica may be asked.", by("replica", in_use))
        yield Family("vibework_replica_lag_seconds", "gauge", "How far it is behind at most.", by("replica", lag))
        yield Family("vibework_replica_reads_total", "counter", "Reads that began there.", by("replica", began))
        yield Family(
            "vibework_replica_fallbacks_total", "counter", "Reads that the primary answered.", by("cause", fallbacks)
        )

    registry.add(collect)
