"""Metrics of MySQL's replicas."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.telemetry.families import Family, by
from chassis.telemetry.registry import Registry
from users_service.replicas.reads import ReplicaReads


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
