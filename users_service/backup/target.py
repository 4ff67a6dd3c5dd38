"""The target database of a restore: empty before, marked as unfinished meanwhile, compared afterwards."""

from __future__ import annotations

import secrets
from typing import Final

from chassis.backup.errors import RestoreFailed
from chassis.backup.manifest import Manifest
from users_service.backup import checksums
from users_service.backup.connection import Connection
from users_service.backup.snapshot import REVISION
from users_service.mysql import locks
from users_service.tables import event_sequence

# A table by which anyone can see that a restore did not finish.
MARKER: Final = "restore_unfinished"
# Which history of events a database has.
HISTORY: Final = event_sequence.name


async def check(connection: Connection, database: str, *, start_over: bool) -> set[str]:
    """Raise ``RestoreFailed`` unless the database is empty, or to be emptied; return the tables that it has."""
    names = await tables(connection)
    if MARKER in names and not start_over:
        raise RestoreFailed(f"a restore into {database} did not finish: say --start-over to empty it and begin anew")
    if names and MARKER not in names:
        raise RestoreFailed(f"{database} is not empty ({len(names)} tables): restore into an empty database")
    return names


async def prepare(connection: Connection, database: str, *, start_over: bool) -> None:
    """Keep migrations out, and make sure that the database is empty. Raises ``RestoreFailed``."""
    if not await connection.value("SELECT GET_LOCK(%s, 0)", locks.lock_name("migrate", database)):
        raise RestoreFailed(f"another process is migrating, backing up or restoring {database}: try again later")
    if await check(connection, database, start_over=start_over):
        await empty(connection)
        await unmark(connection)


async def mark(connection: Connection) -> None:
    """Mark the database as unfinished."""
    # With a primary key, which some servers demand of every table.
    column = "`started_at` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP PRIMARY KEY"
    await connection.rows(f"CREATE TABLE `{MARKER}` ({column})")


async def unmark(connection: Connection) -> None:
    """Remove the mark."""
    await connection.rows(f"DROP TABLE `{MARKER}`")


async def tables(connection: Connection) -> set[str]:
    """Return the names of all tables and views."""
    rows = await connection.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
    return {str(row[0]) for row in rows}


async def compare(connection: Connection, manifest: Manifest) -> None:
    """Compare the tables, their rows and values, the schema's revision and the references. Raises ``RestoreFailed``."""
    found = {name: await _count(connection, name) for name in await tables(connection) - {MARKER}}
    for name in sorted(found.keys() | manifest.counts.keys()):
        if found.get(name) != manifest.counts.get(name):
            raise RestoreFailed(f"{name} has {found.get(name)} rows, and had {manifest.counts.get(name)}")
    revision = await connection.value(REVISION)
    if revision != manifest.schema_revision:
        raise RestoreFailed(f"the schema has revision {revision}, and had {manifest.schema_revision}")
    await _compare_references(connection)
    await _compare_values(connection, manifest)


async def begin_history(connection: Connection) -> None:
    """Begin a new history of events, so that no resume token of before counts as one of what happens from now on.

    Events that came after the backup are lost, and others get their numbers.
    """
    if HISTORY in await tables(connection):
        await connection.rows("UPDATE event_sequence SET epoch = %s", secrets.token_bytes(16))


async def _compare_values(connection: Connection, manifest: Manifest) -> None:
    # Names come from the database: those in the file must not become part of a statement.
    for name in await tables(connection) - {MARKER}:
        expected = manifest.checksums.get(name)
        if expected is not None and await checksums.of_table(connection, name) != expected:
            raise RestoreFailed(f"{name} does not have the values that it had")


async def _compare_references(connection: Connection) -> None:
    # Rows were loaded with foreign keys unchecked, so that the order of tables did not matter.
    keys = await connection.rows(
        "SELECT table_name, column_name, referenced_table_name, referenced_column_name "
        "FROM information_schema.key_column_usage "
        "WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL"
    )
    for table, column, other, key in keys:
        orphan = await connection.value(
            f"SELECT 1 FROM `{table}` LEFT JOIN `{other}` ON `{other}`.`{key}` = `{table}`.`{column}` "  # noqa: S608
            f"WHERE `{table}`.`{column}` IS NOT NULL AND `{other}`.`{key}` IS NULL LIMIT 1"
        )
        if orphan is not None:
            raise RestoreFailed(f"{table} has rows whose {column} is not in {other}")


async def _count(connection: Connection, table: str) -> int:
    return int(await connection.value(f"SELECT COUNT(*) FROM `{table}`"))  # noqa: S608 - a name of the schema


async def empty(connection: Connection) -> None:
    """Drop everything but the mark, which goes last, since this can be interrupted, too."""
    await connection.rows("SET foreign_key_checks = 0")
    for name in sorted(await tables(connection) - {MARKER}):
        await connection.rows(f"DROP TABLE `{name}`")
    await connection.rows("SET foreign_key_checks = 1")
