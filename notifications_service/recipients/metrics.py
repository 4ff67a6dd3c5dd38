"""Metrics of the check of recipients."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.peers.breaker import CircuitBreaker
from chassis.telemetry.families import Family, gauge
from chassis.telemetry.registry import Registry


def of_peer(registry: Registry, breaker: CircuitBreaker) -> None:
    """Add the metric of the circuit breaker to the users service."""
    labels = (("peer", "users-service"),)

    def collect() -> Iterator[Family]:
        yield gauge(
            "vibework_peer_circuit_open", "1 while the other service is not asked.", int(breaker.is_open), labels
        )

    registry.add(collect)
