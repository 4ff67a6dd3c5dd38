"""``notifications-service migrate up|down|status|new``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from chassis.clock import utc_now
from chassis.commands.migrate import Listed, migrate_group
from chassis.commands.migrations import LockLimits
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import opened
from notifications_service.migrations import steps
from notifications_service.migrations.runner import Runner, Status
from notifications_service.settings import DatabaseSettings

CLOCK: Final = in_milliseconds(utc_now)
RETENTION: Final = "notifications_retention_days"


class Steps:
    """The numbered steps, as the commands see them."""

    async def up(self, settings: DatabaseSettings, target: int | None, limits: LockLimits) -> None:
        """Carry out the missing steps up to STEP (default: all), and set the retention.

        What a collection of over a million documents does not bear is refused. Where no step is missing, indexes and
        options that have gone since are put back. The retention is that of NOTIFICATIONS_RETENTION_DAYS; where that is
        not set, an existing one stays. A database that a newer version has migrated is left as it is.
        """
        said = list[str]()

        def say(line: str) -> None:
            said.append(line)
            click.echo(line)

        days = settings.notifications_retention_days if RETENTION in settings.model_fields_set else None
        async with opened(settings) as database:
            await Runner(database.default, say, CLOCK, limits=limits).up(days, target)
        if not said:
            click.echo("no step to apply")

    async def down(
        self, settings: DatabaseSettings, target: int | None, limits: LockLimits, *, drop_data: bool
    ) -> None:
        """Take back the steps after STEP, which stays (default: the last one is taken back; 0: all are).

        Where that would drop a collection that holds documents, it is refused.
        """
        async with opened(settings) as database:
            undone = await Runner(database.default, click.echo, CLOCK, limits=limits).down(target, drop_data=drop_data)
        if not undone:
            click.echo("no step to take back")

    async def status(self, settings: DatabaseSettings) -> Sequence[Listed]:
        """List the steps and whether the database has them."""
        async with opened(settings) as database:
            found = await Runner(database.default, click.echo, CLOCK).status()
        return [Listed(f"{status.number:04d}", _state(status), status.name) for status in found]

    def new(self, name: str) -> Path:
        """Write an empty step called NAME after the last one."""
        return steps.create(name)


def _state(status: Status) -> str:
    if not status.known:
        return "unknown, newer than this version"
    if status.applied_at is None:
        return "missing"
    return "changed since it was applied" if status.changed else "applied"


_STEP: Final = click.argument("target", metavar="[STEP]", type=click.IntRange(min=0), required=False)

migrate = migrate_group(
    DatabaseSettings,
    Steps(),
    up_to=_STEP,
    down_to=_STEP,
    description="Bring the schema of the MongoDB database to a step.",
)
