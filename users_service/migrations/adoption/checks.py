"""The checks before an adoption: every row is converted, and nothing is changed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

from users_service import tables
from users_service.accounts.tokens import TokenCipher
from users_service.migrations import table_definitions
from users_service.migrations.adoption import reading
from users_service.migrations.adoption.origins import KINDS, Origin, RowKind
from users_service.migrations.adoption.rows import LeftOut, Rows, TheirRow, Unfit

_TWICE: Final = {
    "users": ("email", "two addresses are one once they are case-folded"),
    "sessions": ("token", "two sessions have one token"),
    "accounts": ("account_id", "two rows are one account"),
}
_CONSTRAINTS: Final = text(
    "SELECT table_name, constraint_name FROM information_schema.table_constraints "
    "WHERE table_schema = DATABASE() AND constraint_type = 'FOREIGN KEY'"
)


class CannotAdopt(Exception):
    """A row or key of another system cannot be adopted; the text is one line that names table, column and reason."""

    def __init__(self, table: str, what: str, reason: str, then: str = "Nothing was changed") -> None:
        """``what``: the column or key; ``then``: what has become of the rest."""
        self.table, self.what, self.reason = table, what, reason
        super().__init__(f"the table {table} cannot be adopted, for its {what}: {reason}. {then}")


def convert(rows: Rows, kind: RowKind, row: TheirRow) -> dict[str, object]:
    """Convert a row of a kind. Raises LeftOut or Unfit."""
    match kind:
        case "users":
            return rows.user(row)
        case "sessions":
            return rows.session(row)
        case "accounts":
            return rows.account(row)


def check(connection: Connection, origin: Origin, cipher: TokenCipher) -> None:
    """Raise CannotAdopt where something could not be copied. Every row is read once."""
    _check_keys(connection, origin)
    _check_room(connection, origin)
    rows = Rows(cipher, now(connection))
    for kind in KINDS:
        if kind in origin.layouts:
            _check_rows(connection, origin, kind, rows)
            _check_doubles(connection, origin, kind)


def now(connection: Connection) -> datetime:
    """Return the database's time."""
    found: datetime = connection.scalar(text("SELECT UTC_TIMESTAMP(6)"))
    return found.replace(tzinfo=UTC)


def place(kind: RowKind, id_: object) -> str:
    """Say which row it is. Not of sessions: their ids may be what clients hold."""
    return "" if kind == "sessions" else f", id {id_}"


def _check_rows(connection: Connection, origin: Origin, kind: RowKind, rows: Rows) -> None:
    number = Counter[tuple[str, str]]()
    first: dict[tuple[str, str], object] = {}
    for batch in reading.batches(connection, origin, kind):
        for row in batch:
            try:
                convert(rows, kind, row)
            except LeftOut:
                continue
            except Unfit as unfit:
                problem = unfit.column, unfit.reason
                number[problem] += 1
                first.setdefault(problem, row["id"])
    for problem, id_ in first.items():
        column, reason = problem
        layout = origin.layouts[kind]
        rows_ = f"{number[problem]:,} {'row' if number[problem] == 1 else 'rows'}"
        raise CannotAdopt(layout.table, f"column {layout.column(column)}", f"{reason} ({rows_}{place(kind, id_)})")


def _check_doubles(connection: Connection, origin: Origin, kind: RowKind) -> None:
    if ids := reading.doubled(connection, origin, kind):
        column, reason = _TWICE[kind]
        layout = origin.layouts[kind]
        where = "" if kind == "sessions" else f" (ids {ids[0]} and {ids[1]})"
        raise CannotAdopt(layout.table, f"column {layout.column(column)}", f"{reason}{where}")


def _check_room(connection: Connection, origin: Origin) -> None:
    """Refuse tables of ours that hold rows already, as of a database whose revisions are recorded no more."""
    for table in table_definitions.tables(connection).intersection(KINDS) - origin.tables:
        if connection.scalar(text(f"SELECT 1 FROM {table} LIMIT 1")):  # noqa: S608 - one of KINDS
            raise CannotAdopt(table, "rows", f"they are there already, beside tables of {origin.title}")


def _check_keys(connection: Connection, origin: Origin) -> None:
    """Refuse foreign keys with names of ours, which are unique in a database."""
    ours = {str(key.name): key for table in tables.metadata.tables.values() for key in table.foreign_key_constraints}
    for table, name in connection.execute(_CONSTRAINTS):
        if name in ours and (table != ours[name].table.name or table in origin.tables):
            raise CannotAdopt(table, f"key {name}", "its name is that of a key of this service: give it another")
