"""Online migrations: big tables may change only in ways that leave them readable and writable meanwhile.

Only the server knows which DDL it can do online. So ``LOCK=NONE`` is added to each DDL statement on a big table, and a
server that would have to lock refuses the statement before it begins (errors 1845 and 1846; MySQL and MariaDB alike).
Statements that change rows lock the rows that they read; whether one is allowed depends on the estimate in its plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from chassis.commands.migrations import LockLimits, WouldLock
from users_service.mysql.driver_errors import error_number

# Errors: the server cannot do it without a lock, or allows no LOCK clause in this statement (partitions).
_REFUSED: Final = frozenset({1064, 1221, 1845, 1846})

_NOISE: Final = re.compile(
    r"""/\*(?!!).*?\*/ | --[^\n]* | \#[^\n]* | '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" """, re.DOTALL | re.VERBOSE
)
_NAME: Final = r"(?:`?\w+`?\s*\.\s*)?`?(\w+)`?"
_ALTER: Final = re.compile(rf"\s*ALTER\s+(?:ONLINE\s+)?(?:IGNORE\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?{_NAME}", re.IGNORECASE)
_CREATE_INDEX: Final = re.compile(
    rf"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:\w+\s+)?INDEX\s+.*?\sON\s+{_NAME}", re.IGNORECASE | re.DOTALL
)
_DROP_INDEX: Final = re.compile(r"\s*DROP\s+INDEX\s+(?P<index>.*?)\s+ON\s+(?P<table>\S+)\s*;?\s*", re.IGNORECASE)
_WRITES: Final = re.compile(
    r"\s*(UPDATE|DELETE|INSERT|REPLACE|WITH\b(?=.*\b(?:UPDATE|DELETE)\b))\b", re.IGNORECASE | re.DOTALL
)
# These statements change no row of an existing table, or drop or rename it at once.
_HARMLESS: Final = re.compile(
    r"\s*(SELECT|WITH|SHOW|EXPLAIN|DESCRIBE|SET|DO|USE|ANALYZE|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|BEGIN|START|DROP|TRUNCATE"
    r"|CREATE\s+TABLE(?!.*\bSELECT\b)|CREATE\s+.*?\b(?:VIEW|TRIGGER|PROCEDURE|FUNCTION)\b)\b",
    re.IGNORECASE | re.DOTALL,
)
_LIMIT: Final = re.compile(r"\bLIMIT\s+(\d+|%s)\s*;?\s*$", re.IGNORECASE)
_TABLES: Final = text(
    "SELECT table_name, table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_rows > :big"
)


class StatementKind(Enum):
    """The kind of a migration's statement, by the locks that it takes."""

    DEFINITION = auto()
    WRITE = auto()
    HARMLESS = auto()
    UNKNOWN = auto()


def kind_of(statement: str) -> tuple[StatementKind, str]:
    """Return the kind of a statement, and the table that a definition changes (else empty)."""
    bare = without_noise(statement)
    if found := _ALTER.match(bare) or _CREATE_INDEX.match(bare):
        return StatementKind.DEFINITION, found[1].lower()
    if found := _DROP_INDEX.match(bare):
        return StatementKind.DEFINITION, found["table"].replace("`", "").rpartition(".")[2].lower()
    if _WRITES.match(bare):
        return StatementKind.WRITE, ""
    return (StatementKind.HARMLESS if _HARMLESS.match(bare) else StatementKind.UNKNOWN), ""


def without_lock(statement: str) -> str:
    """Return a definition such that a server that would lock the table refuses it."""
    if re.search(r"\bALGORITHM\s*=?\s*INSTANT\b", statement, re.IGNORECASE):
        # MySQL allows no LOCK clause beside INSTANT, which it refuses anyway where it would have to lock.
        return statement
    if found := _DROP_INDEX.fullmatch(statement):
        # MariaDB allows no LOCK clause in DROP INDEX.
        return f"ALTER TABLE {found['table']} DROP INDEX {found['index']}, LOCK=NONE"
    comma = "," if _ALTER.match(without_noise(statement)) else ""
    # On a line of its own, since the line before may end in a comment. Of several LOCK clauses the last one counts.
    return f"{statement.rstrip().rstrip(';')}\n{comma} LOCK=NONE"


def without_noise(statement: str) -> str:
    """Return a statement without its comments and the texts in quotation marks."""
    return _NOISE.sub(" ", statement)


@contextmanager
def enforced(connection: Connection, limits: LockLimits) -> Iterator[None]:
    """Refuse, inside the block, what would lock a big table. Raises WouldLock."""
    check = _Check(big_tables(connection, limits.big), limits)
    event.listen(connection, "before_cursor_execute", check, retval=True)
    try:
        yield
    except DBAPIError as error:
        if check.asked is None or error_number(error) not in _REFUSED:
            raise
        raise check.asked from None
    finally:
        event.remove(connection, "before_cursor_execute", check)


def big_tables(connection: Connection, rows: int) -> dict[str, int]:
    """Return the tables of more than ``rows`` rows, by lower-case name, and about how many rows each has."""
    # Otherwise MySQL shows cached statistics, which may be a day old.
    connection.execute(text("SET @unused = 0 /*!80000 , SESSION information_schema_stats_expiry = 0 */"))
    return {name.lower(): number for name, number in connection.execute(_TABLES, {"big": rows})}


class _Check:
    """Looks at each statement before it is carried out."""

    def __init__(self, big: Mapping[str, int], limits: LockLimits) -> None:
        self.asked: WouldLock | None = None
        self._big = big
        self._batch = limits.batch

    def __call__(
        self, _connection: Connection, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> tuple[str, Any]:
        self.asked = None
        kind, target = kind_of(statement)
        if kind is StatementKind.DEFINITION:
            return self._online(statement, target), parameters
        table = self._named(statement)
        if table is None or kind is StatementKind.HARMLESS:
            return statement, parameters
        if kind is StatementKind.UNKNOWN:
            raise self._refusal(table, f"{_verb(statement)} is not known to leave a table usable")
        self._check_rows(cursor, statement, parameters[0] if many else parameters, table)
        return statement, parameters

    def _online(self, statement: str, target: str) -> str:
        if target not in self._big:
            return statement
        self.asked = self._refusal(target, f"{_verb(statement)}, which this server cannot do with LOCK=NONE")
        return without_lock(statement)

    def _check_rows(self, cursor: Any, statement: str, parameters: Any, table: str) -> None:
        if (limit := _limit(statement, parameters)) is not None and limit <= self._batch:
            return
        rows = _rows_read(cursor, statement, parameters)
        if rows > self._batch:
            raise self._refusal(
                table, f"{_verb(statement)} that reads, and locks, about {rows:,} rows at once (up to {self._batch:,})"
            )

    def _named(self, statement: str) -> str | None:
        words = {word.lower() for word in re.findall(r"\w+", without_noise(statement))}
        return max(words & self._big.keys(), key=lambda name: self._big[name], default=None)

    def _refusal(self, table: str, what: str) -> WouldLock:
        return WouldLock(table, self._big[table], what)


def _verb(statement: str) -> str:
    # Words of SQL only: what follows may be values.
    words = without_noise(statement).upper().split()
    return " ".join(words[:2]) if words[0] in ("ALTER", "CREATE", "DROP", "LOCK", "OPTIMIZE", "REPAIR") else words[0]


def _limit(statement: str, parameters: Any) -> int | None:
    found = _LIMIT.search(without_noise(statement))
    if found is None:
        return None
    return int(parameters[-1] if found[1] == "%s" else found[1])


def _rows_read(cursor: Any, statement: str, parameters: Any) -> int:
    """Return how many rows the server expects to read for a statement; it is not carried out."""
    cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {statement}", parameters)
    names = [column[0] for column in cursor.description]
    plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return max((int(step["rows"] or 0) for step in plan), default=0)
