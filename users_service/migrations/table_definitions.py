"""Comparison of table definitions: is an existing table one of ours, or another application's of the same name?

``CREATE TABLE IF NOT EXISTS`` accepts either. So the same statement makes a temporary table, which nobody else sees and
which ends with the connection, and the two are compared column by column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, event, text

from users_service.migrations.online import without_noise
from users_service.mysql.session_state import is_vitess, server_version

_CREATE: Final = re.compile(
    r"\s*CREATE\s+TABLE\s+(?P<if>IF\s+NOT\s+EXISTS\s+)?(?:`?\w+`?\s*\.\s*)?`?(?P<name>\w+)`?\s*(?=\()", re.IGNORECASE
)
# Temporary tables cannot have foreign keys, which make no difference to the columns.
_FOREIGN_KEY: Final = re.compile(r"\s*(?:CONSTRAINT\s+\S+\s+)?FOREIGN\s+KEY\b", re.IGNORECASE)
_EXPECTED: Final = "vibework_expected_table"
_TABLES: Final = text("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
# Columns of SHOW FULL COLUMNS: Type, Collation, Null, Default, Extra.
_PROPERTIES: Final = (("type", 1), ("collation", 2), ("NULL", 3), ("default", 5), ("extra", 6))

Columns = dict[str, tuple[Any, ...]]


class ForeignTable(Exception):
    """A table that a revision creates exists already with other columns; ``why`` names the first difference."""

    def __init__(self, table: str, why: str) -> None:
        self.table, self.why = table, why
        super().__init__(f"{table}: {why}")


def tables(connection: Connection) -> set[str]:
    """Return the names of all tables and views."""
    return {str(name) for name in connection.scalars(_TABLES)}


def created(statement: str) -> list[str]:
    """Return a list of the table that a statement creates; empty for all other statements."""
    found = _creating(statement)
    return [found["name"]] if found else []


def compare(connection: Connection, statement: str) -> None:
    """Raise ForeignTable where the table that a statement creates exists with other columns."""
    found = _creating(statement)
    if found is None or found["name"] not in tables(connection) or is_vitess(server_version(connection)):
        # Vitess has no temporary tables in a sharded keyspace, and its vschema names this service's tables alone.
        return
    connection.exec_driver_sql(_temporary(statement[found.end() :]))
    try:
        why = _difference(_columns(connection, _EXPECTED), _columns(connection, found["name"]))
    finally:
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE {_EXPECTED}")
    if why:
        raise ForeignTable(found["name"], why)


@contextmanager
def compared(connection: Connection) -> Iterator[None]:
    """Compare, inside the block, the tables that IF NOT EXISTS would accept. Raises ForeignTable."""

    def check(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if (found := _creating(statement)) and found["if"]:
            compare(connection, statement)

    event.listen(connection, "before_cursor_execute", check)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", check)


def _creating(statement: str) -> re.Match[str] | None:
    # Comments may precede the words, and a text within another statement may contain them.
    return _CREATE.search(statement) if _CREATE.match(without_noise(statement)) else None


def _temporary(rest: str) -> str:
    """Return the statement for the temporary table; ``rest``: the original statement from its bracket on."""
    parts, options = _parts(rest)
    kept = [part for part in parts if not _FOREIGN_KEY.match(part)]
    return f"CREATE TEMPORARY TABLE {_EXPECTED} ({','.join(kept)}){options.rstrip().rstrip(';')}"


def _parts(rest: str) -> tuple[list[str], str]:
    """Split the text in the outer brackets at its commas; return the parts, and the text after the brackets."""
    parts, depth, start, quote = list[str](), 0, 1, ""
    for place, letter in enumerate(rest):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"`":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter in ",)" and depth == 1:
            parts.append(rest[start:place])
            start = place + 1
            if letter == ")":
                return parts, rest[start:]
        elif letter == ")":
            depth -= 1
    return parts, ""


def _columns(connection: Connection, table: str) -> Columns:
    return {str(row[0]): tuple(row) for row in connection.exec_driver_sql(f"SHOW FULL COLUMNS FROM `{table}`")}


def _difference(expected: Columns, found: Columns) -> str:
    for name in expected:
        if name not in found:
            return f"it has no column {name}"
    for name, column in found.items():
        if name not in expected:
            return f"its column {name} is none of this service's"
        for what, place in _PROPERTIES:
            if _alike(what, column[place]) != _alike(what, expected[name][place]):
                return f"its column {name} differs in {what}: {column[place]} instead of {expected[name][place]}"
    return ""


def _alike(what: str, shown: Any) -> Any:
    """Return a property as it compares: of a temporary table MySQL 9 shows `NULL`, or nothing, for some extras."""
    return str(shown).replace("DEFAULT_GENERATED", "").replace("NULL", "").strip() if what == "extra" else shown
