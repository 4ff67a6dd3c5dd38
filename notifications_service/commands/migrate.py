"""``notifications-service migrate up|down|status|new``."""

from __future__ import annotations

import click

from chassis.cli import fail
from chassis.migrations import Limits, limits_options
from chassis.settings import load
from notifications_service.commands.connection import run
from notifications_service.database import Database
from notifications_service.migrations import steps
from notifications_service.migrations.runner import Runner, Status
from notifications_service.settings import DatabaseSettings


@click.group()
def migrate() -> None:
    """Bring the schema of the MongoDB database to a step."""


@migrate.command("up")
@click.argument("step", type=click.IntRange(min=0), required=False)
@limits_options
def migrate_up(step: int | None, allow_locking: bool, big_table: int) -> None:
    """Carry out the missing steps up to STEP (default: all), and set the retention.

    What a collection of over a million documents does not bear is refused.
    """
    settings, limits = load(DatabaseSettings), Limits(allow_locking, big_table)
    number = run(settings, lambda database: _runner(database, limits).up(settings.notifications_retention_days, step))
    if not number:
        click.echo("no step to apply")


@migrate.command("down")
@click.argument("step", type=click.IntRange(min=0), required=False)
@limits_options
def migrate_down(step: int | None, allow_locking: bool, big_table: int) -> None:
    """Take back the steps after STEP, which stays (default: the last one is taken back; 0: all are)."""
    limits = Limits(allow_locking, big_table)
    if not run(load(DatabaseSettings), lambda database: _runner(database, limits).down(step)):
        click.echo("no step to take back")


@migrate.command("status")
def migrate_status() -> None:
    """List the steps and whether the database has them."""
    for status in run(load(DatabaseSettings), lambda database: _runner(database, Limits()).status()):
        click.echo(f"{status.step.number:04d}  {_state(status)}  {status.step.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty step called NAME after the last one."""
    try:
        click.echo(steps.create(name))
    except (ValueError, OSError) as error:
        fail(str(error))


def _runner(database: Database, limits: Limits) -> Runner:
    return Runner(database.default, click.echo, limits=limits)


def _state(status: Status) -> str:
    if status.applied_at is None:
        return "missing"
    return "changed since it was applied" if status.changed else "applied"
