"""``users-service backup``: one file with everything that the database held at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from chassis.backup import writing
from chassis.backup.command import BackupOptions
from chassis.backup.compression import SUFFIX
from chassis.backup.errors import BackupFailed, Damaged
from chassis.backup.manifest import Source
from chassis.backup.reading import Advance, Archive
from chassis.clock import Clock
from chassis.commands.progress import progress
from users_service.backup import checksums
from users_service.backup.dump import dump, estimate
from users_service.backup.omissions import omissions
from users_service.backup.snapshot import open_snapshot
from users_service.backup.statements import NoStatement, statements
from users_service.settings import DatabaseSettings

SERVICE: Final = "users-service"
PART: Final = "database.sql"


async def backup(settings: DatabaseSettings, path: Path, clock: Clock, options: BackupOptions) -> None:
    """Write a backup of the database to ``path``; say on stderr what is not in it. Raises ``CommandFailed``.

    To verify it, the values in the file are compared with those that the server has added up.
    """
    check = compare if options.verify else None
    with writing.create(path, overwrite=options.overwrite, check=check) as archive:
        async with open_snapshot(settings, clock) as snapshot:
            if omitted := await omissions(snapshot.connection):
                click.echo(f"not in the backup: {omitted} of {settings.mysql_database}", err=True)
            with archive.part(PART) as part, progress("backing up", await estimate(snapshot)) as advance:
                counts = await dump(snapshot, part.write, advance)
            sums = {table: await checksums.of_table(snapshot.connection, table) for table in snapshot.tables}
        archive.finish(
            Source(
                service=SERVICE,
                database=settings.mysql_database,
                server=snapshot.server,
                schema_revision=snapshot.schema,
                taken_at=snapshot.taken_at,
                counts=counts,
                checksums=sums,
                position=snapshot.position,
            )
        )


def compare(path: Path) -> None:
    """Raise ``BackupFailed`` unless the file holds the values that the database had, by its manifest."""
    archive = Archive(path)
    found = checksums.of_statements(contents(archive))
    for table, expected in archive.manifest.checksums.items():
        if found.get(table, "0") != expected:
            raise BackupFailed(f"the values read of {table} are not those that the server has: no backup was written")


def contents(archive: Archive, advance: Advance = lambda _bytes: None) -> Iterator[str]:
    """Give back the statements of a backup. Raises ``Damaged``."""
    name = f"{PART}{SUFFIX}"
    try:
        yield from statements(archive.content(name, advance))
    except NoStatement as error:
        raise Damaged(archive.path, f"{name}: {error}") from None
