"""``users-service purge``."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Final

import click

from chassis.commands.cli import run
from chassis.commands.left import Left
from chassis.commands.progress import progress
from chassis.settings import load
from users_service.mysql.database import Database
from users_service.mysql.database_clock import database_now
from users_service.purge.service import BATCH, Purge
from users_service.settings import DatabaseSettings

REFERRED: Final = "tables that the service does not know refer to them"


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
    """Remove expired and revoked sessions, expired verifications, and what calls no longer need.

    A row that a table of another system refers to is left, counted and named, and holds up no other; then the exit code
    is 1.
    """
    removed, left = run(_purge(load(DatabaseSettings), timedelta(days=keep_days), batch))
    for table, rows in removed.items():
        click.echo(f"{table}: {rows}")
    click.echo(f"{sum(removed.values())} rows removed")
    for table, rows_left in left.items():
        click.echo(rows_left.told(table, REFERRED), err=True)
    if left:
        sys.exit(1)


async def _purge(settings: DatabaseSettings, keep: timedelta, batch: int) -> tuple[dict[str, int], dict[str, Left]]:
    async with Database(settings) as database:
        work = Purge(database, keep=keep, batch=batch)
        now = await database.query(database_now)
        with progress("removing rows", await work.count(now)) as advance:
            return await work.run(now, lambda _table, rows: advance(rows)), work.left
