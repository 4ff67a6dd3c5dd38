"""``notifications-service purge``."""

from __future__ import annotations

import click

from chassis.settings import load
from notifications_service.commands.connection import run
from notifications_service.purge import purge as purge_expired
from notifications_service.settings import DatabaseSettings


@click.command()
def purge() -> None:
    """Delete expired notifications and idempotency keys now."""
    for collection, number in run(load(DatabaseSettings), purge_expired).items():
        click.echo(f"{collection}: {number} deleted")
