"""``notifications-service serve``."""

from __future__ import annotations

import click

from chassis.commands import cli
from chassis.settings import load
from notifications_service.settings import Settings


@click.command()
@cli.workers_option
def serve(workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    cli.serve("notifications_service", load(Settings), workers)
