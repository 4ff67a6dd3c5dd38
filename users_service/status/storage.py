"""Storage sections: the sizes of tables and indexes, and how often each index is read."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.report import Section
from users_service.mysql.driver_errors import error_number
from users_service.status.server import is_mariadb

# Otherwise MySQL shows cached statistics, which may be a day old.
_FRESH: Final = "SET @unused = 0 /*!80000 , SESSION information_schema_stats_expiry = 0 */"
_TABLES: Final = (
    "SELECT table_name, table_rows, data_length, index_length, data_free FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY data_length + index_length DESC"
)
_INDEXES: Final = (
    "SELECT table_name, index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', '), "
    "MAX(non_unique) = 0 FROM information_schema.statistics WHERE table_schema = DATABASE() "
    "GROUP BY table_name, index_name ORDER BY table_name, index_name = 'PRIMARY' DESC, index_name"
)
_SIZES: Final = (
    "SELECT table_name, index_name, stat_value * @@innodb_page_size FROM mysql.innodb_index_stats "
    "WHERE database_name = DATABASE() AND stat_name = 'size'"
)
_USAGE: Final = (
    "SELECT object_name, index_name, count_read FROM performance_schema.table_io_waits_summary_by_index_usage "
    "WHERE object_schema = DATABASE() AND index_name IS NOT NULL"
)
_USAGE_OF_MARIADB: Final = (
    "SELECT table_name, index_name, rows_read FROM information_schema.index_statistics WHERE table_schema = DATABASE()"
)

ByIndex = dict[tuple[str, str], int]


async def tables(connection: AsyncConnection) -> Section:
    """Return the tables with their sizes, biggest first."""
    await connection.execute(text(_FRESH))
    names = ("table", "rows_estimate", "data_bytes", "indexes_bytes", "free_bytes")
    rows = [dict(zip(names, row, strict=True)) for row in await connection.execute(text(_TABLES))]
    return Section("tables", rows)


async def indexes(connection: AsyncConnection) -> Section:
    """Return the indexes with their sizes, and how often each was read where the server counts that."""
    sizes, no_sizes = await _sizes(connection)
    usage, about_usage = await _usage(connection)
    rows = [
        {
            "table": table,
            "index": index,
            "columns": columns,
            "unique": bool(unique),
            "size_bytes": sizes.get((table, index)),
            "reads": None if usage is None else usage.get((table, index), 0),
        }
        for table, index, columns, unique in await connection.execute(text(_INDEXES))
    ]
    if usage is None:
        return Section("indexes", rows, missing=[*no_sizes, about_usage])
    return Section("indexes", rows, [about_usage], missing=no_sizes)


async def _sizes(connection: AsyncConnection) -> tuple[ByIndex, list[str]]:
    try:
        return await _values(connection, _SIZES), []
    except DBAPIError as error:
        return {}, [f"sizes not available: error {error_number(error)}; GRANT SELECT ON mysql.innodb_index_stats"]


async def _usage(connection: AsyncConnection) -> tuple[ByIndex | None, str]:
    """Return how often each index was read, and since when; or None and the reason why that is not known."""
    mariadb = await is_mariadb(connection)
    try:
        if mariadb and await connection.scalar(text("SELECT @@userstat")):
            return await _values(connection, _USAGE_OF_MARIADB), "reads: rows, since the server started"
        if await connection.scalar(text("SELECT @@performance_schema")):
            return await _values(connection, _USAGE), "reads: rows, since the server started"
    except DBAPIError as error:
        return None, f"reads not available: error {error_number(error)}; GRANT SELECT ON performance_schema.*"
    how = "SET GLOBAL userstat = 1, or start" if mariadb else "start"
    return None, f"reads not available: performance_schema is off; {how} the server with performance_schema = ON"


async def _values(connection: AsyncConnection, statement: str) -> ByIndex:
    return {(table, index): int(value) for table, index, value in await connection.execute(text(statement))}
