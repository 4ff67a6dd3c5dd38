"""``users-service backup``: one file with everything that the database held at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from chassis.backup import writing
from chassis.backup.command import BackupOptions
from chassis.backup.errors import BackupFailed, Damaged
from chassis.backup.incoming import Advance, Backup, unheard
from chassis.backup.manifest import Manifest, Source
from chassis.backup.writing import ArchiveWriter, Hear
from chassis.clock import Clock
from chassis.commands.progress import progress
from users_service.backup import checksums
from users_service.backup.dump import dump, estimate
from users_service.backup.omissions import omissions
from users_service.backup.snapshot import Snapshot, open_snapshot
from users_service.backup.statements import NoStatement, statements
from users_service.settings import DatabaseSettings

SERVICE: Final = "users-service"
PART: Final = "database.sql"


async def backup(settings: DatabaseSettings, path: Path, clock: Clock, options: BackupOptions) -> Manifest:
    """Write a backup of the database to ``path``; say on stderr what is not in it. Raises ``CommandFailed``.

    To verify it, the values that were written are compared with those that the server has added up.
    """
    written = checksums.StatementSums()
    with writing.create(path, overwrite=options.overwrite) as archive:
        async with open_snapshot(settings, clock) as snapshot:
            for left_out in await omissions(snapshot.connection):
                click.echo(f"{left_out} of {settings.mysql_database}", err=True)
            archive.begin(SERVICE, snapshot.schema)
            counts = await _write(snapshot, archive, written.hear if options.verify else None)
            sums = {table: await checksums.of_table(snapshot.connection, table) for table in snapshot.tables}
        if options.verify:
            compare(written, sums)
        return archive.finish(
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


async def _write(snapshot: Snapshot, archive: ArchiveWriter, hear: Hear | None) -> dict[str, int]:
    try:
        with archive.part(PART, hear) as part, progress("backing up", await estimate(snapshot)) as advance:
            return await dump(snapshot, part.write, advance)
    except NoStatement as error:
        raise BackupFailed(f"the text of the backup could not be read again ({error}): no backup was written") from None


def compare(written: checksums.StatementSums, sums: Mapping[str, str]) -> None:
    """Raise ``BackupFailed`` unless the values that were written are those that the server has."""
    found = written.totals()
    for table, expected in sums.items():
        if found.get(table, "0") != expected:
            raise BackupFailed(f"the values read of {table} are not those that the server has: no backup was written")


def contents(backup: Backup, advance: Advance = unheard) -> Iterator[str]:
    """Give back the statements of a backup. Raises ``Damaged``."""
    names = []
    for part in backup.parts(advance):
        names.append(part.name)
        if names != [PART]:
            break
        try:
            yield from statements(part.content)
        except NoStatement as error:
            raise Damaged(backup.label, f"{PART}: {error}") from None
    if names != [PART]:
        raise Damaged(backup.label, f"it does not have the one part {PART}")
