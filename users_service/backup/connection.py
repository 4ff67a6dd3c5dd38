"""A connection for backups: statements that may take long, results that do not fit into memory, errors in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncmy
import asyncmy.errors
from asyncmy.cursors import Cursor, SSCursor

from chassis.commands.cli import CommandFailed
from users_service.mysql.compiled import Row
from users_service.mysql.driver_errors import distrust, error_number, numbered
from users_service.mysql.engines import connect_arguments
from users_service.settings import DatabaseSettings

# Seconds for one statement, or for its next rows; without an answer for so long the server counts as gone.
STATEMENT_SECONDS: Final = 600
_ROWS: Final = 1_000
# Errors whose texts name only accounts, databases and demands of the server, and never contain values of rows.
_TELLING: Final = frozenset({1044, 1045, 1049, 1142, 1173, 1227, 3750})
# Servers may end long statements, and connections whose reader is slow. The modes of a server change how it writes
# definitions and values.
_SESSION: Final = (
    "SET SESSION net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 28800, lock_wait_timeout = 10, "
    "sql_mode = '', sql_quote_show_create = 1 "
    "/*M!100100 , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */"
)


class MySQLFailed(CommandFailed):
    """The server refused a statement, or is gone; the server's text is left out where it may repeat a row."""

    def __init__(self, where: str, error: Exception) -> None:
        self.number = error_number(error)
        what = numbered(error, _TELLING) if self.number else type(error).__name__
        super().__init__(f"MySQL at {where} failed: {distrust(error) or what}")


class _QuietCursor(Cursor):
    """A cursor that does not fetch the server's warnings, which asyncmy would log one by one."""

    async def _show_warnings(self, _connection: Any) -> None:
        return


class Connection:
    """One connection to the database of the settings; each statement commits unless a transaction was begun."""

    def __init__(self, raw: Any, where: str) -> None:
        self._raw = raw
        self._where = where

    async def rows(self, statement: str, *arguments: Any) -> list[Row]:
        """Run a statement and return all its rows."""
        with _translated(self._where):
            async with asyncio.timeout(STATEMENT_SECONDS), self._raw.cursor(_QuietCursor) as cursor:
                await cursor.execute(statement, arguments or None)
                return list(await cursor.fetchall()) if cursor.description else []

    async def value(self, statement: str, *arguments: Any) -> Any:
        """Return the first column of the first row, or None."""
        rows = await self.rows(statement, *arguments)
        return rows[0][0] if rows else None

    async def stream(self, statement: str) -> AsyncIterator[list[Row]]:
        """Run a query and give back its rows as they arrive, some at a time."""
        with _translated(self._where):
            async with self._raw.cursor(SSCursor) as cursor:
                async with asyncio.timeout(STATEMENT_SECONDS):
                    await cursor.execute(statement)
                while True:
                    async with asyncio.timeout(STATEMENT_SECONDS):
                        rows = await cursor.fetchmany(_ROWS)
                    if not rows:
                        return
                    yield rows


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator[Connection]:
    """Connect for as long as the context lasts. Raises ``MySQLFailed``."""
    where = f"{settings.mysql_host}:{settings.mysql_port}/{settings.mysql_database}"
    with _translated(where):
        raw: Any = await asyncmy.connect(autocommit=True, **connect_arguments(settings))
    try:
        connection = Connection(raw, where)
        await connection.rows(_SESSION)
        yield connection
    finally:
        # At once: a result that was not read to its end would be read before a goodbye, also before that of TLS.
        if raw._transport is not None:  # noqa: SLF001 - the driver's `close` says goodbye
            raw._transport.abort()  # noqa: SLF001
        raw.close()


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except (asyncmy.errors.MySQLError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise MySQLFailed(where, error) from error
