"""``users-service purge``."""

from __future__ import annotations

from datetime import timedelta

import click

from chassis.commands.cli import run
from chassis.commands.progress import progress
from chassis.settings import load
from users_service.mysql.database import Database
from users_service.mysql.database_clock import database_now
from users_service.purge.service import BATCH, Purge
from users_service.settings import DatabaseSettings


@click.command()
@click.option(
    "--keep-days",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How long sessions and verifications are kept after their end.",
)
@click.option(
    "--batch", type=click.IntRange(1, 10_000), default=BATCH, show_default=True, help="Rows removed per transaction."
)
def purge(keep_days: int, batch: int) -> None:
    """Remove expired and revoked sessions, expired verifications, and what calls no longer need."""
    removed = run(_purge(load(DatabaseSettings), timedelta(days=keep_days), batch))
    for table, rows in removed.items():
        click.echo(f"{table}: {rows}")
    click.echo(f"{sum(removed.values())} rows removed")


async def _purge(settings: DatabaseSettings, keep: timedelta, batch: int) -> dict[str, int]:
    async with Database(settings) as database:
        work = Purge(database, keep=keep, batch=batch)
        now = await database.query(database_now)
        with progress("removing rows", await work.count(now)) as advance:
            return await work.run(now, lambda _table, rows: advance(rows))
