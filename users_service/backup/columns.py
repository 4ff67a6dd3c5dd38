"""The columns of a table that are stored, and the kinds of their types."""

from __future__ import annotations

from typing import Final

from users_service.backup.connection import Connection

NUMBERS: Final = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year", "bit"}
)
BINARY: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})


async def columns(connection: Connection, table: str) -> dict[str, str]:
    """Return the types of the columns that are stored, by their names, in their order. Raises ``MySQLFailed``."""
    rows = await connection.rows(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND table_name = %s AND COALESCE(generation_expression, '') = '' ORDER BY ordinal_position",
        table,
    )
    return {str(name): str(kind).lower() for name, kind in rows}


def number(name: str, kind: str) -> str:
    """Return the expression by which the server writes a number, or NULL, as text."""
    # A BIT column is read as bytes unless something is added to it.
    return f"IFNULL(`{name}`{' + 0' if kind == 'bit' else ''}, 'NULL')"
