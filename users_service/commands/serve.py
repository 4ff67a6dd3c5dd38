"""``users-service serve``."""

from __future__ import annotations

import click

from chassis.commands import cli
from chassis.settings import load
from users_service.passwords.cores import processes_for
from users_service.settings import Settings


@click.command()
@cli.workers_option
def serve(workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    settings = load(Settings)
    # Only workers share the cores with each other; one that knew of no others would take them all.
    share = str(processes_for(settings.argon2_threads, workers))
    cli.serve("users_service", settings, workers, {"ARGON2_THREADS": share})
