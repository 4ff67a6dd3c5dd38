"""Repair of a migrated database: puts back tables, columns, keys and indexes of ``tables.py`` that it has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from alembic.autogenerate import produce_migrations
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from users_service import tables
from users_service.mysql.session_state import is_vitess, server_version

_ADDITIONS: Final = (
    ops.CreateTableOp,
    ops.AddColumnOp,
    ops.CreateIndexOp,
    ops.CreateUniqueConstraintOp,
    ops.CreateForeignKeyOp,
)
# Unique on one MySQL only: over shards a lookup says more (deploy/vitess/schema.sql).
_PLAIN_ON_VITESS: Final = frozenset({"idx_email"})


class CannotRestore(Exception):
    """Something is missing that a migration cannot restore; the text names it."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Something that is missing, and the statement that puts it back."""

    title: str
    carry_out: Callable[[], object]


def additions(connection: Connection) -> list[Addition]:
    """Return what is missing, in the order in which it can be put back. Raises CannotRestore.

    Anything else that the database has is left alone.
    """
    context = MigrationContext.configure(
        connection, opts={"include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables}
    )
    operations = Operations(context)
    wanted = list(_flat(produce_migrations(context, tables.metadata).upgrade_ops))
    if is_vitess(server_version(connection)):
        wanted = list(_on_vitess(wanted))
    return [
        Addition(_title(operation), lambda operation=operation: operations.invoke(operation))  # type: ignore[misc]
        for operation in wanted
        if isinstance(operation, _ADDITIONS)
    ]


def _on_vitess(wanted: list[Any]) -> Iterator[Any]:
    """Leave an index alone that is to be plain, and put it back as such where it is missing."""
    there = {operation.index_name for operation in wanted if isinstance(operation, ops.DropIndexOp)}
    for operation in wanted:
        if isinstance(operation, ops.CreateIndexOp) and operation.index_name in _PLAIN_ON_VITESS:
            if operation.index_name in there:
                continue
            operation.unique = False
        yield operation


def _flat(container: Any) -> Iterator[Any]:
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            yield from _flat(operation)
        else:
            yield operation


def _title(operation: Any) -> str:
    if isinstance(operation, ops.CreateTableOp):
        return f"table {operation.table_name}"
    if isinstance(operation, ops.AddColumnOp):
        name = f"{operation.table_name}.{operation.column.name}"
        if not operation.column.nullable and operation.column.server_default is None:
            raise CannotRestore(f"the column {name} is missing, and what it held cannot be made up: restore a backup")
        return f"column {name}"
    if isinstance(operation, ops.CreateIndexOp):
        return f"key {operation.table_name}.{operation.index_name}"
    if isinstance(operation, ops.CreateUniqueConstraintOp):
        return f"key {operation.table_name}.{operation.constraint_name}"
    return f"foreign key {operation.source_table}.{operation.constraint_name}"
