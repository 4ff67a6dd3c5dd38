"""``users-service migrate up|down|status|new``."""

from __future__ import annotations

import click

from chassis.cli import CommandFailed, fail, run
from chassis.migrations import Limits, limits_options
from chassis.settings import load
from users_service import migration
from users_service.settings import DatabaseSettings


@click.group()
def migrate() -> None:
    """Bring the schema of the MySQL database to a revision."""


@migrate.command("up")
@click.argument("revision", default="head")
@limits_options
def migrate_up(revision: str, allow_locking: bool, big_table: int) -> None:
    """Carry out the missing revisions up to REVISION (default: all).

    A statement that would lock a table of over a million rows is refused.
    """
    limits = Limits(allow_locking, big_table)
    done = run(migration.up(load(DatabaseSettings), revision, click.echo, limits))
    click.echo("\n".join(f"{number} applied" for number in done) or "nothing to do")


@migrate.command("down", context_settings={"ignore_unknown_options": True})
@click.argument("revision", default="-1")
@limits_options
def migrate_down(revision: str, allow_locking: bool, big_table: int) -> None:
    """Undo revisions down to REVISION, which stays (default: the last one is undone; `base`: all are)."""
    limits = Limits(allow_locking, big_table)
    done = run(migration.down(load(DatabaseSettings), revision, click.echo, limits))
    click.echo("\n".join(f"{number} undone" for number in done) or "nothing to do")


@migrate.command("status")
def migrate_status() -> None:
    """List the revisions and whether the database has them."""
    for revision in run(migration.status(load(DatabaseSettings))):
        click.echo(f"{revision.number}  {'applied' if revision.applied else 'missing'}  {revision.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty revision called NAME after the last one."""
    try:
        click.echo(migration.new(name))
    except CommandFailed as error:
        fail(str(error))
