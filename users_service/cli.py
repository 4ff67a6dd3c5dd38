"""The ``users-service`` command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import click

from chassis.cli import workers_option
from chassis.errors import ServiceError
from chassis.settings import load
from chassis.workers import serve as supervise
from users_service import migration
from users_service.accounts.command import rotate_keys
from users_service.clock import utc_now
from users_service.database import Database
from users_service.progress import progress
from users_service.purge import BATCH, Purge, PurgeRunning
from users_service.settings import DatabaseSettings, Settings

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Users, sessions, accounts and verifications on MySQL. Settings are read from the environment."""


main.add_command(rotate_keys)


@main.command()
@workers_option
def serve(workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    settings = load(Settings)
    if workers > 1:
        sys.exit(supervise([sys.executable, "-m", "users_service", "serve"], workers, settings))
    from chassis.lifecycle import run
    from users_service.app import build

    sys.exit(run(settings, partial(build, settings)))


@main.command()
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
    settings = load(DatabaseSettings)
    removed = _run(_purge(settings, timedelta(days=keep_days), batch))
    for table, rows in removed.items():
        click.echo(f"{table}: {rows}")
    click.echo(f"{sum(removed.values())} rows removed")


async def _purge(settings: DatabaseSettings, keep: timedelta, batch: int) -> dict[str, int]:
    async with connected(settings) as database:
        work = Purge(database, keep=keep, batch=batch)
        now = utc_now()
        with progress("removing rows", await work.count(now)) as advance:
            return await work.run(now, lambda _table, rows: advance(rows))


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the database for a command."""
    database = Database(settings)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@main.group()
def migrate() -> None:
    """Bring the schema of the MySQL database to a revision."""


@migrate.command("up")
@click.argument("revision", default="head")
def migrate_up(revision: str) -> None:
    """Carry out the missing revisions up to REVISION (default: all)."""
    done = _run(migration.up(load(DatabaseSettings), revision, click.echo))
    click.echo("\n".join(f"{number} applied" for number in done) or "nothing to do")


@migrate.command("down", context_settings={"ignore_unknown_options": True})
@click.argument("revision", default="-1")
def migrate_down(revision: str) -> None:
    """Undo revisions down to REVISION, which stays (default: the last one is undone; `base`: all are)."""
    done = _run(migration.down(load(DatabaseSettings), revision, click.echo))
    click.echo("\n".join(f"{number} undone" for number in done) or "nothing to do")


@migrate.command("status")
def migrate_status() -> None:
    """List the revisions and whether the database has them."""
    for revision in _run(migration.status(load(DatabaseSettings))):
        click.echo(f"{revision.number}  {'applied' if revision.applied else 'missing'}  {revision.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty revision called NAME after the last one."""
    try:
        click.echo(migration.new(name))
    except migration.MigrationFailed as error:
        _fail(error)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (migration.MigrationFailed, PurgeRunning, ServiceError) as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    click.echo(str(error), err=True)
    sys.exit(1)
