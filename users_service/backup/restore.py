"""``users-service restore``: a backup into an empty database."""

from __future__ import annotations

from chassis.backup.command import RestoreOptions
from chassis.backup.errors import saying_how_to_go_on
from chassis.backup.reading import Archive
from chassis.commands.progress import progress
from users_service.backup import target
from users_service.backup.backup import SERVICE, contents
from users_service.backup.connection import Connection, connected
from users_service.migrations import runner
from users_service.settings import DatabaseSettings


async def check(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Carry out all checks of a restore, and change nothing. Raises ``CommandFailed``."""
    _accept(archive, options)
    async with connected(settings) as connection:
        await target.check(connection, settings.mysql_database, start_over=options.start_over)


async def restore(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Restore into the database of the settings. Raises ``CommandFailed``.

    A failure after it has begun leaves a database that is marked as unfinished.
    """
    _accept(archive, options)
    async with connected(settings) as connection:
        await target.prepare(connection, settings.mysql_database, start_over=options.start_over)
        await target.mark(connection)
        with saying_how_to_go_on(settings.mysql_database):
            await _load(connection, archive)
            if options.verify:
                await target.compare(connection, archive.manifest)
        await target.unmark(connection)


def _accept(archive: Archive, options: RestoreOptions) -> None:
    """Refuse a file that cannot be restored, before anything is changed; verifying includes its statements."""
    archive.accept(SERVICE, runner.known(), verify=options.verify)
    if options.verify:
        for _statement in contents(archive):
            pass


async def _load(connection: Connection, archive: Archive) -> None:
    size = sum(part.bytes for part in archive.manifest.parts)
    with progress("restoring", size) as advance:
        for statement in contents(archive, advance):
            await connection.rows(statement)
