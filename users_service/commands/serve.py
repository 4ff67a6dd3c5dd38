"""``users-service serve``."""

from __future__ import annotations

import click

from chassis.commands import cli
from chassis.settings import load
from users_service.passwords.cores import processes_for
from users_service.passwords.memory import MIB, PROCESS_BYTES, hashing_memory
from users_service.settings import Settings


@click.command()
@cli.workers_option
def serve(workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    settings = load(Settings)
    # Only workers share cores and memory with each other; one that knew of no others would take them all.
    memory = hashing_memory(settings.password_hashing_memory_mib, workers)
    room = memory // (settings.argon2_memory_kib * 1024 + PROCESS_BYTES)
    share = {
        "ARGON2_THREADS": str(processes_for(settings.argon2_threads, workers, room=room)),
        "PASSWORD_HASHING_MEMORY_MIB": str(max(1, memory // MIB)),
    }
    cli.serve("users_service", settings, workers, share)
