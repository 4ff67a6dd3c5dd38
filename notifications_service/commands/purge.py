"""``notifications-service purge``."""

from __future__ import annotations

import click

from chassis.clock import utc_now
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import run
from notifications_service.purge import purge as purge_expired
from notifications_service.settings import DatabaseSettings


@click.command()
def purge() -> None:
    """Delete expired notifications and idempotency keys now."""
    clock = in_milliseconds(utc_now)
    for collection, number in run(load(DatabaseSettings), lambda database: purge_expired(database, clock)).items():
        click.echo(f"{collection}: {number} deleted")
