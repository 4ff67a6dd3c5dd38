"""Writing a snapshot as SQL text, which ``mysql`` reads as well as ``restore`` does.

The server turns each row into text, so no value passes through Python's types. A row takes one line, and a statement
ends where a line ends with a semicolon: line ends inside of values are escaped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from chassis.backup.errors import BackupFailed
from users_service.backup.columns import Column, columns
from users_service.backup.snapshot import Snapshot
from users_service.backup.statements import LONGEST_BYTES

# What a server took once, in whatever mode, it must take again: a day that no month has, a value that no ENUM lists.
# Values are compared after a restore; what stands beside it says nothing of them.
PROLOGUE: Final = b"""\
SET NAMES utf8mb4;
SET time_zone = '+00:00';
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION';
SET foreign_key_checks = 0 /*M!100201 , check_constraint_checks = 0 */;
SET unique_checks = 0;
"""
# Bytes of one INSERT, about: below every server's max_allowed_packet.
_STATEMENT_BYTES: Final = 512 * 1024

WriteBytes = Callable[[bytes], None]


async def estimate(snapshot: Snapshot) -> int:
    """Return about how many rows there are."""
    return int(
        await snapshot.connection.value(
            "SELECT SUM(table_rows) FROM information_schema.tables WHERE table_schema = DATABASE()"
        )
        or 0
    )


async def dump(snapshot: Snapshot, write: WriteBytes, advance: Callable[[int], None]) -> dict[str, int]:
    """Write every table and return how many rows each has. Raises ``BackupFailed`` or ``MySQLFailed``."""
    write(PROLOGUE)
    return {table: await _dump_table(snapshot, table, write, advance) for table in snapshot.tables}


async def _dump_table(snapshot: Snapshot, table: str, write: WriteBytes, advance: Callable[[int], None]) -> int:
    write(f"\n{await _definition(snapshot, table)};\n".encode())
    stored = await columns(snapshot.connection, table)
    insert = f"INSERT INTO `{table}` ({', '.join(f'`{column.name}`' for column in stored)}) VALUES\n".encode()
    count = pending = 0
    async for rows in _rows(snapshot, table, stored):
        for row in rows:
            if len(row) > LONGEST_BYTES - _STATEMENT_BYTES:
                raise BackupFailed(f"a row of {table} is longer than a restore takes ({LONGEST_BYTES:,} bytes)")
            # Before a row: begin a statement, or go on with the one that is open.
            write(insert if not pending else b",\n")
            write(row)
            pending += len(row)
            if pending > _STATEMENT_BYTES:
                write(b";\n")
                pending = 0
        count += len(rows)
        advance(len(rows))
    if pending:
        write(b";\n")
    return count


async def _definition(snapshot: Snapshot, table: str) -> str:
    definition = str((await snapshot.connection.rows(f"SHOW CREATE TABLE `{table}`"))[0][1])
    if ";\n" in definition:
        raise BackupFailed(
            f"the definition of {table} has a line that ends with a semicolon, which a backup cannot hold"
        )
    return definition


async def _rows(snapshot: Snapshot, table: str, stored: list[Column]) -> AsyncIterator[list[bytes]]:
    values = ", ".join([column.literal for column in stored])
    query = f"SELECT CONCAT('(', CONCAT_WS(', ', {values}), ')') FROM `{table}`"  # noqa: S608 - names of the schema
    async for rows in snapshot.connection.stream(query):
        try:
            yield [row[0].replace("\n", "\\n").replace("\r", "\\r").encode() for row in rows]
        except AttributeError:
            # The server gives NULL for a text beyond its max_allowed_packet.
            raise BackupFailed(f"a row of {table} is longer than the server's max_allowed_packet") from None
