"""``users-service migrate up|down|status|new``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from chassis.commands.migrate import Listed, migrate_group
from chassis.commands.migrations import LockLimits
from users_service.migrations import runner
from users_service.settings import MigrationSettings


class Revisions:
    """The revisions of Alembic, as the commands see them."""

    async def up(self, settings: MigrationSettings, target: str, limits: LockLimits) -> None:
        """Carry out the missing revisions up to REVISION (default: all).

        A statement that would lock a table of over a million rows is refused. Where no revision is missing, keys,
        indexes and tables that have gone since are put back. A database that a newer version has migrated is left as
        it is. The tables of Better Auth, and those that the service's first schema came from, are adopted: see
        docs/adoption.md.
        """
        await runner.up(settings, target, click.echo, limits, settings.keyring)

    async def down(self, settings: MigrationSettings, target: str, limits: LockLimits, *, drop_data: bool) -> None:
        """Undo revisions down to REVISION, which stays (default: the last one is undone; `base`: all are).

        Where that would drop tables that hold rows, it is refused.
        """
        await runner.down(settings, target, click.echo, limits, drop_data=drop_data)

    async def status(self, settings: MigrationSettings) -> Sequence[Listed]:
        """List the revisions and whether the database has them."""
        return [Listed(revision.number, _state(revision), revision.name) for revision in await runner.status(settings)]

    def new(self, name: str) -> Path:
        """Write an empty revision called NAME after the last one."""
        return runner.new(name)


def _state(revision: runner.Revision) -> str:
    if not revision.known:
        return "unknown"
    return "applied" if revision.applied else "missing"


migrate = migrate_group(
    MigrationSettings,
    Revisions(),
    up_to=click.argument("target", metavar="[REVISION]", default="head"),
    down_to=click.argument("target", metavar="[REVISION]", default="-1"),
    description="Bring the schema of the MySQL database to a revision.",
)
