"""``users-service restore``: a backup into an empty database."""

from __future__ import annotations

from chassis.backup.command import RestoreOptions
from chassis.backup.errors import RestoreFailed
from chassis.backup.reading import Archive
from chassis.cli import CommandFailed
from chassis.progress import progress
from users_service import migration
from users_service.backup import target
from users_service.backup.backup import PART, SERVICE
from users_service.backup.connection import Connection, connected
from users_service.backup.statements import statements
from users_service.settings import DatabaseSettings


async def check(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Do all of a restore that changes nothing. Raises ``CommandFailed``."""
    _check_archive(archive, options)
    async with connected(settings) as connection:
        await target.check(connection, settings.mysql_database, start_over=options.start_over)


async def restore(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Restore into the database of the settings. Raises ``CommandFailed``.

    What goes wrong once it has begun leaves a database that is marked as unfinished.
    """
    _check_archive(archive, options)
    async with connected(settings) as connection:
        await target.prepare(connection, settings.mysql_database, start_over=options.start_over)
        await target.mark(connection)
        try:
            await _load(connection, archive)
            if options.verify:
                await target.compare(connection, archive.manifest)
        except CommandFailed as error:
            hint = f"{settings.mysql_database} is unfinished: restore again with --start-over"
            raise RestoreFailed(f"{error}; {hint}") from error
        await target.unmark(connection)


def _check_archive(archive: Archive, options: RestoreOptions) -> None:
    manifest = archive.manifest
    if manifest.service != SERVICE:
        raise RestoreFailed(f"{archive.path} is a backup of {manifest.service}")
    if manifest.schema_revision not in migration.known():
        raise RestoreFailed(
            f"{archive.path} has schema {manifest.schema_revision}, which this version does not know: "
            f"restore with version {manifest.service_version} or newer"
        )
    if options.verify:
        archive.verify()


async def _load(connection: Connection, archive: Archive) -> None:
    (name,) = archive.names(f"{PART}.zst")
    size = sum(part.bytes for part in archive.manifest.parts)
    with progress("restoring", size) as advance:
        for statement in statements(archive.content(name, advance)):
            await connection.rows(statement)
