"""The schema check of MySQL, for the health probe and for commands: has the database what this version needs?

It needs every table and column of ``tables.py``, and the keys without which statements fail or races are lost: unique
keys, and those that statements name (``tables.NAMED``). Without other indexes calls are slow, but not wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import UniqueConstraint, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.schema import SchemaState
from users_service import tables
from users_service.mysql.driver_errors import NO_SUCH_TABLE, error_number

SERVICE: Final = "users-service"
RECORDED: Final = text("SELECT version_num FROM alembic_version")
# One round trip for all of it. With the names given, the server need not open other tables.
_THERE: Final = text(
    "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND table_name IN :names UNION ALL "
    "SELECT table_name, CONCAT('key ', index_name) FROM information_schema.statistics "
    "WHERE table_schema = DATABASE() AND table_name IN :names AND seq_in_index = 1"
).bindparams(bindparam("names", list(tables.metadata.tables), expanding=True))


async def state(connection: AsyncConnection, known: tuple[str, ...]) -> SchemaState:
    """Return the state of the schema; ``known``: the numbers of this version's revisions. Two statements at most."""
    recorded = await recorded_revisions(connection)
    unknown = tuple(number for number in recorded if number not in known)
    last = known[-1] if unknown else max(recorded, default="")
    pending = tuple(number for number in known if number > last)
    missing = () if pending else await _missing(connection)
    return SchemaState(tuple(number for number in known if number <= last), pending, unknown, missing)


async def recorded_revisions(connection: AsyncConnection) -> tuple[str, ...]:
    """Return the recorded revision of the schema: one number, or none where nothing was migrated."""
    try:
        return tuple(str(number) for number in await connection.scalars(RECORDED))
    except DBAPIError as error:
        if error_number(error) != NO_SUCH_TABLE:
            raise
        return ()


async def _missing(connection: AsyncConnection) -> tuple[str, ...]:
    there = {(str(table), str(name)) for table, name in await connection.execute(_THERE)}
    there |= {(table, "") for table, _ in there}
    absent = [needed for needed in _NEEDED if needed not in there]
    # The columns of a missing table are not listed.
    gone = {table for table, name in absent if not name}
    return tuple(_title(table, name) for table, name in absent if not name or table not in gone)


def _title(table: str, name: str) -> str:
    if not name:
        return f"table {table}"
    return f"key {table}.{name.removeprefix('key ')}" if name.startswith("key ") else f"column {table}.{name}"


def _needed() -> Iterator[tuple[str, str]]:
    for table in tables.metadata.sorted_tables:
        yield table.name, ""
        yield from ((table.name, column.name) for column in table.columns)
        unique = [each.name for each in table.constraints if isinstance(each, UniqueConstraint)]
        unique += [index.name for index in table.indexes if index.unique or (table.name, index.name) in tables.NAMED]
        yield from ((table.name, f"key {name}") for name in unique)


_NEEDED: Final = tuple(_needed())
