"""The ``notifications-service`` command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, TypeVar

import click
from pymongo.errors import OperationFailure, PyMongoError

from chassis import tracebacks
from chassis.cli import workers_option
from chassis.errors import ServiceError
from chassis.settings import load
from chassis.workers import serve as supervise
from notifications_service.database import Database
from notifications_service.migrations import steps
from notifications_service.migrations.lock import Locked, LockLost
from notifications_service.migrations.runner import Runner, Status
from notifications_service.purge import purge
from notifications_service.retention import NotMigrated
from notifications_service.settings import DatabaseSettings, Settings

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Notifications on MongoDB. Settings are read from the environment."""


@main.command()
@workers_option
def serve(workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    settings = load(Settings)
    if workers > 1:
        sys.exit(supervise([sys.executable, "-m", "notifications_service", "serve"], workers, settings))
    from chassis.lifecycle import run
    from notifications_service.app import build

    sys.exit(run(settings, partial(build, settings)))


@main.command("purge")
def purge_command() -> None:
    """Delete expired notifications and idempotency keys now."""
    for collection, number in _run(load(DatabaseSettings), purge).items():
        click.echo(f"{collection}: {number} deleted")


@main.group()
def migrate() -> None:
    """Bring the schema of the MongoDB database to a step."""


@migrate.command("up")
@click.argument("step", type=click.IntRange(min=0), required=False)
def migrate_up(step: int | None) -> None:
    """Carry out the missing steps up to STEP (default: all), and set the retention."""
    settings = load(DatabaseSettings)
    number = _run(settings, lambda database: _runner(database).up(settings.notifications_retention_days, step))
    if not number:
        click.echo("no step to apply")


@migrate.command("down")
@click.argument("step", type=click.IntRange(min=0), required=False)
def migrate_down(step: int | None) -> None:
    """Take back the steps after STEP, which stays (default: the last one is taken back; 0: all are)."""
    if not _run(load(DatabaseSettings), lambda database: _runner(database).down(step)):
        click.echo("no step to take back")


@migrate.command("status")
def migrate_status() -> None:
    """List the steps and whether the database has them."""
    for status in _run(load(DatabaseSettings), lambda database: _runner(database).status()):
        click.echo(f"{status.step.number:04d}  {_state(status)}  {status.step.name}")


@migrate.command("new")
@click.argument("name")
def migrate_new(name: str) -> None:
    """Write an empty step called NAME after the last one."""
    try:
        click.echo(steps.create(name))
    except (ValueError, OSError) as error:
        _fail(str(error))


def _runner(database: Database) -> Runner:
    return Runner(database.default, click.echo)


def _state(status: Status) -> str:
    if status.applied_at is None:
        return "missing"
    return "changed since it was applied" if status.changed else "applied"


def _run(settings: DatabaseSettings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (Locked, LockLost, NotMigrated, ServiceError) as error:
        _fail(str(error))
    except PyMongoError as error:
        name = (error.details or {}).get("codeName", "") if isinstance(error, OperationFailure) else ""
        _fail(f"MongoDB failed: {tracebacks.summary(error)} {name}".rstrip())


def _fail(text: str) -> NoReturn:
    click.echo(text.replace("\n", " "), err=True)
    sys.exit(1)
