"""``notifications-service migrate up|down|status|new``."""

from __future__ import annotations

from typing import Final

import click

from chassis.clock import utc_now
from chassis.commands.cli import CommandFailed, fail
from chassis.commands.migrations import LockLimits, drop_data_option, limits_options
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import run
from notifications_service.migrations import steps
from notifications_service.migrations.keeping import Say
from notifications_service.migrations.runner import Runner, Status
from notifications_service.mongodb.database import Database
from notifications_service.settings import DatabaseSettings

RETENTION: Final = "notifications_retention_days"


@click.group()
def migrate() -> None:
    """Bring the schema of the MongoDB database to a step."""


@migrate.command("up")
@click.argument("step", type=click.IntRange(min=0), required=False)
@limits_options
def migrate_up(step: int | None, allow_locking: bool, big_table: int) -> None:
    """Carry out the missing steps up to STEP (default: all), and set the retention.

    What a collection of over a million documents does not bear is refused. Where no step is missing, indexes and
    options that have gone since are put back. The retention is that of NOTIFICATIONS_RETENTION_DAYS; where that is not
    set, an existing one stays. A database that a newer version has migrated is left as it is.
    """
    settings, limits, said = load(DatabaseSettings), LockLimits(allow_locking, big_table), list[str]()

    def say(line: str) -> None:
        said.append(line)
        click.echo(line)

    days = settings.notifications_retention_days if RETENTION in settings.model_fields_set else None
    run(settings, lambda database: _runner(database, limits, say).up(days, step))
    if not said:
        click.echo("no step to apply")


@migrate.command("down")
@click.argument("step", type=click.IntRange(min=0), required=False)
@limits_options
@drop_data_option
def migrate_down(step: int | None, allow_locking: bool, big_table: int, drop_data: bool) -> None:
    """Take back the steps after STEP, which stays (default: the last one is taken back; 0: all are).

    Where that would drop a collection that holds documents, it is refused.
    """
    limits = LockLimits(allow_locking, big_table)
    if not run(load(DatabaseSettings), lambda database: _runner(database, limits).down(step, drop_data=drop_data)):
        click.echo("no step to take back")


@migrate.command("status")
def migrate_status() -> None:
    """List the steps and whether the database has them."""
    for status in run(load(DatabaseSettings), lambda database: _runner(database, LockLimits()).status()):
        click.echo(f"{status.number:04d}  {_state(status)}  {status.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty step called NAME after the last one."""
    try:
        click.echo(steps.create(name))
    except (CommandFailed, ValueError, OSError) as error:
        fail(str(error))


def _runner(database: Database, limits: LockLimits, say: Say = click.echo) -> Runner:
    return Runner(database.default, say, in_milliseconds(utc_now), limits=limits)


def _state(status: Status) -> str:
    if not status.known:
        return "unknown, newer than this version"
    if status.applied_at is None:
        return "missing"
    return "changed since it was applied" if status.changed else "applied"
