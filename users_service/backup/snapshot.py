"""A consistent view of the whole database, and where the binary log stood at it, without stopping writes.

The view is one transaction (``WITH CONSISTENT SNAPSHOT``). MariaDB reports the position of the log that belongs to it.
MySQL does not, so there the tables are locked against writes for the milliseconds in which the view is opened and the
position read. ``FLUSH TABLES WITH READ LOCK`` would make all other databases wait, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chassis.backup.errors import BackupFailed
from chassis.clock import Clock
from users_service.backup.connection import Connection, MySQLFailed, connected
from users_service.mysql import locks
from users_service.settings import DatabaseSettings

VERSIONS: Final = "alembic_version"
REVISION: Final = "SELECT version_num FROM alembic_version"
# Written last, so that a restore that is under way looks like no database of this service.
_LAST: Final = ("users", VERSIONS)
# The type of a plain table; MariaDB has others, with a history or with no rows.
_TABLE: Final = "BASE TABLE"
# Errors: access denied to a database, to a table, to an operation.
_DENIED: Final = frozenset({1044, 1142, 1227})
_WAITED_TOO_LONG: Final = 1205
# Seconds to wait for transactions under way; new writes wait behind the lock meanwhile.
LOCK_SECONDS: Final = 10

BinlogPosition = dict[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open view of the database; it ends with its connection."""

    connection: Connection
    server: str
    taken_at: datetime
    position: BinlogPosition | None
    schema: str
    tables: tuple[str, ...]


@asynccontextmanager
async def open_snapshot(settings: DatabaseSettings, clock: Clock) -> AsyncIterator[Snapshot]:
    """Open a view for as long as the context lasts; no migration begins meanwhile.

    Raises ``BackupFailed`` where the database is being migrated or has no schema, or ``MySQLFailed``.
    """
    async with connected(settings) as connection:
        await _keep_migrations_out(connection, settings.mysql_database)
        tables = await _tables(connection)
        schema = await connection.value(REVISION) if VERSIONS in tables else None
        if schema is None:
            raise BackupFailed(f"{settings.mysql_database} has no schema of this service: there is nothing to back up")
        version = str(await connection.value("SELECT VERSION()"))
        is_mariadb = "mariadb" in version.lower()
        if is_mariadb:
            taken_at, position = await _begin_on_mariadb(connection, clock)
        else:
            taken_at, position = await _begin_on_mysql(settings, connection, tables, clock)
        server = f"{'MariaDB' if is_mariadb else 'MySQL'} {version}"
        yield Snapshot(connection, server, taken_at, position, str(schema), tables)


async def _keep_migrations_out(connection: Connection, database: str) -> None:
    if not await connection.value("SELECT GET_LOCK(%s, 0)", locks.lock_name("migrate", database)):
        raise BackupFailed(f"another process is migrating, backing up or restoring {database}: try again later")


async def _tables(connection: Connection) -> tuple[str, ...]:
    rows = await connection.rows(
        "SELECT table_name, table_type FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_type NOT IN ('VIEW', 'TEMPORARY') ORDER BY table_name"
    )
    for name, kind in rows:
        if kind != _TABLE:
            raise BackupFailed(f"{name} is a {str(kind).lower()} table, which a backup cannot hold")
    names = [str(name) for name, _kind in rows]
    return (*(name for name in names if name not in _LAST), *(name for name in _LAST if name in names))


async def _begin(connection: Connection, clock: Clock) -> datetime:
    await connection.rows("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    taken_at = clock()
    await connection.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    return taken_at


async def _begin_on_mariadb(connection: Connection, clock: Clock) -> tuple[datetime, BinlogPosition | None]:
    taken_at = await _begin(connection, clock)
    found = {str(name): str(value) for name, value in await connection.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")}
    file, position = found.get("Binlog_snapshot_file"), found.get("Binlog_snapshot_position")
    if not file or not position:
        return taken_at, None
    gtid = await connection.value("SELECT BINLOG_GTID_POS(%s, %s)", file, int(position))
    return taken_at, {"file": file, "position": position, "gtid": str(gtid or "")}


async def _begin_on_mysql(
    settings: DatabaseSettings, connection: Connection, tables: tuple[str, ...], clock: Clock
) -> tuple[datetime, BinlogPosition | None]:
    if not await connection.value("SELECT @@GLOBAL.log_bin"):
        return await _begin(connection, clock), None
    async with connected(settings) as locking:
        try:
            await lock_against_writes(locking, tables)
            position = await _position_on_mysql(locking)
        except MySQLFailed as error:
            if error.number not in _DENIED:
                raise
            position = None
        return await _begin(connection, clock), position


async def lock_against_writes(connection: Connection, tables: tuple[str, ...], *, seconds: int = LOCK_SECONDS) -> None:
    """Let nobody write to the tables until the connection ends. Raises ``BackupFailed`` or ``MySQLFailed``."""
    await connection.rows(f"SET SESSION lock_wait_timeout = {seconds}")
    try:
        await connection.rows("LOCK TABLES " + ", ".join(f"`{table}` READ" for table in tables))
    except MySQLFailed as error:
        if error.number != _WAITED_TOO_LONG:
            raise
        raise BackupFailed(f"a transaction that writes has not ended within {seconds} s: try again later") from error


async def _position_on_mysql(locking: Connection) -> BinlogPosition:
    try:
        rows = await locking.rows("SHOW BINARY LOG STATUS")
    except MySQLFailed as error:
        if error.number in _DENIED:
            raise
        # The statement's name before MySQL 8.2.
        rows = await locking.rows("SHOW MASTER STATUS")
    file, position, *_others, gtids = rows[0]
    return {"file": str(file), "position": str(position), "gtid": str(gtids).replace("\n", "")}
