"""Metrics of password hashing."""

from __future__ import annotations

from collections.abc import Iterator

from chassis.telemetry.families import Family, counter, gauge
from chassis.telemetry.registry import Registry
from users_service.passwords.hasher import Passwords


def of_passwords(registry: Registry, passwords: Passwords) -> None:
    """Add the metrics of password hashing."""

    def collect() -> Iterator[Family]:
        yield gauge("vibework_hashing_running", "Passwords being hashed now.", passwords.running)
        yield gauge("vibework_hashing_waiting", "Passwords that wait for a process.", passwords.waiting)
        yield gauge("vibework_hashing_threads", "Passwords hashed at once at most.", passwords.limit)
        yield gauge("vibework_hashing_processes", "Processes that hash, idle ones included.", len(passwords.pids))
        yield gauge("vibework_hashing_queue_limit", "Passwords that may wait.", passwords.queue)
        yield gauge("vibework_hashing_memory_limit_bytes", "Memory of all hashes at once.", passwords.memory_limit)
        yield counter(
            "vibework_hashing_unverifiable_total",
            "Stored password hashes that could not be verified at a sign-in or a change of password.",
            passwords.unverifiable,
        )

    registry.add(collect)
