"""``users-service migrate up|down|status|new``."""

from __future__ import annotations

import click

from chassis.commands.cli import CommandFailed, fail, run
from chassis.commands.migrations import LockLimits, drop_data_option, limits_options
from chassis.settings import load
from users_service.migrations import runner
from users_service.settings import DatabaseSettings


@click.group()
def migrate() -> None:
    """Bring the schema of the MySQL database to a revision."""


@migrate.command("up")
@click.argument("revision", default="head")
@limits_options
def migrate_up(revision: str, allow_locking: bool, big_table: int) -> None:
    """Carry out the missing revisions up to REVISION (default: all).

    A statement that would lock a table of over a million rows is refused. Where no revision is missing, keys, indexes
    and tables that have gone since are put back. A database that a newer version has migrated is left as it is.
    """
    run(runner.up(load(DatabaseSettings), revision, click.echo, LockLimits(allow_locking, big_table)))


@migrate.command("down", context_settings={"ignore_unknown_options": True})
@click.argument("revision", default="-1")
@limits_options
@drop_data_option
def migrate_down(revision: str, allow_locking: bool, big_table: int, drop_data: bool) -> None:
    """Undo revisions down to REVISION, which stays (default: the last one is undone; `base`: all are).

    Where that would drop tables that hold rows, it is refused.
    """
    limits = LockLimits(allow_locking, big_table)
    run(runner.down(load(DatabaseSettings), revision, click.echo, limits, drop_data=drop_data))


@migrate.command("status")
def migrate_status() -> None:
    """List the revisions and whether the database has them."""
    for revision in run(runner.status(load(DatabaseSettings))):
        click.echo(f"{revision.number}  {_state(revision)}  {revision.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty revision called NAME after the last one."""
    try:
        click.echo(runner.new(name))
    except CommandFailed as error:
        fail(str(error))


def _state(revision: runner.Revision) -> str:
    if not revision.known:
        return "unknown"
    return "applied" if revision.applied else "missing"
