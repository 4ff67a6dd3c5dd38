"""``users-service backup``: one file with everything that the database held at one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from chassis.backup import writing
from chassis.backup.manifest import Source
from chassis.progress import progress
from users_service.backup.dump import dump, estimate
from users_service.backup.omissions import omissions
from users_service.backup.snapshot import open_snapshot
from users_service.settings import DatabaseSettings

SERVICE: Final = "users-service"
PART: Final = "database.sql"


async def backup(settings: DatabaseSettings, path: Path, *, overwrite: bool) -> None:
    """Write a backup of the database to ``path``; say on stderr what is not in it. Raises ``CommandFailed``."""
    with writing.create(path, overwrite=overwrite) as archive:
        async with open_snapshot(settings) as snapshot:
            if omitted := await omissions(snapshot.connection):
                click.echo(f"not in the backup: {omitted} of {settings.mysql_database}", err=True)
            with archive.part(PART) as part, progress("backing up", await estimate(snapshot)) as advance:
                counts = await dump(snapshot, part.write, advance)
        archive.finish(
            Source(
                service=SERVICE,
                database=settings.mysql_database,
                server=snapshot.server,
                schema_revision=snapshot.schema,
                taken_at=snapshot.taken_at,
                counts=counts,
                position=snapshot.position,
            )
        )
