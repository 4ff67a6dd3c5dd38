"""``users-service restore``: a backup into an empty database."""

from __future__ import annotations

from chassis.backup import reading
from chassis.backup.command import RestoreOptions
from chassis.backup.errors import saying_how_to_go_on
from chassis.backup.incoming import Backup
from chassis.commands.progress import progress
from users_service.backup import target
from users_service.backup.backup import SERVICE, contents
from users_service.backup.connection import Connection, connected
from users_service.migrations import runner
from users_service.settings import DatabaseSettings


async def check(settings: DatabaseSettings, backup: Backup, options: RestoreOptions) -> None:
    """Carry out all checks of a restore, and change nothing. Raises ``CommandFailed``."""
    settings = _into(settings, options)
    _accept(backup, options)
    if not backup.repeatable:
        _look_through(backup)
    async with connected(settings) as connection:
        await target.check(connection, settings.mysql_database, start_over=options.start_over)


async def restore(settings: DatabaseSettings, backup: Backup, options: RestoreOptions) -> None:
    """Restore into the database of the settings, or of the options. Raises ``CommandFailed``.

    A failure after it has begun leaves a database that is marked as unfinished, and so does a drill until it is empty.
    """
    settings = _into(settings, options)
    _accept(backup, options)
    async with connected(settings) as connection:
        await target.prepare(connection, settings.mysql_database, start_over=options.start_over)
        await target.mark(connection)
        with saying_how_to_go_on(settings.mysql_database):
            await _load(connection, backup)
            if options.verify:
                await target.compare(connection, backup.manifest)
            # Behind the comparison, since it changes what was restored.
            await target.begin_history(connection)
            if options.drill:
                await target.empty(connection)
        await target.unmark(connection)


def _into(settings: DatabaseSettings, options: RestoreOptions) -> DatabaseSettings:
    return settings.model_copy(update={"mysql_database": options.database}) if options.database else settings


def _accept(backup: Backup, options: RestoreOptions) -> None:
    """Refuse a backup that cannot be restored, before anything is changed; of a file that includes its statements."""
    reading.accept(backup, SERVICE, runner.known())
    if options.verify and backup.repeatable:
        backup.verify()
        _look_through(backup)


def _look_through(backup: Backup) -> None:
    for _statement in contents(backup):
        pass


async def _load(connection: Connection, backup: Backup) -> None:
    with progress("restoring", backup.size) as advance:
        for statement in contents(backup, advance):
            await connection.rows(statement)
