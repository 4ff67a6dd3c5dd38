"""``notifications-service purge``."""

from __future__ import annotations

import click

from chassis.clock import utc_now
from chassis.commands.cli import run
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import opened
from notifications_service.purge import purge as purge_expired
from notifications_service.settings import DatabaseSettings


@click.command()
def purge() -> None:
    """Delete expired notifications and idempotency keys now."""
    for collection, number in run(_purge(load(DatabaseSettings))).items():
        click.echo(f"{collection}: {number} deleted")


async def _purge(settings: DatabaseSettings) -> dict[str, int]:
    async with opened(settings) as database:
        return await purge_expired(database, in_milliseconds(utc_now))
