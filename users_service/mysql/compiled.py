"""Compiled statements: SQLAlchemy compiles each once, and the driver executes it directly.

SQLAlchemy's work for each execution takes five times as long as the driver's (``docs/decisions/0003``), so hot
statements bypass it, on a connection of its pool. Errors are passed to SQLAlchemy, so that they are wrapped and
observed, and end connections, like those of all other statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any, Final, Protocol, cast

from sqlalchemy import Dialect, Executable
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ClauseElement

from chassis.pooling.detached import proceed
from chassis.telemetry import shapes
from users_service.mysql.observing import STARTED, queries_of

# More than there are compiled statements: one is kept for each engine.
_KEPT: Final = 256

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StatementResult:
    """The result of a statement: its rows, the number of rows affected, and the value of its ``LAST_INSERT_ID(…)``."""

    rows: list[Row]
    count: int
    last_id: int

    def one_or_none(self) -> Row | None:
        """Return the only row, None where there is none."""
        return self.rows[0] if self.rows else None


class StandIn(Protocol):
    """Takes SQLAlchemy's statements in place of a connection, such as to explain them."""

    async def execute(self, statement: Any, values: Any = None) -> Any:
        """Take a statement."""
        ...


class CompiledStatement:
    """A statement of SQLAlchemy whose values are all parameters; make it once, as a constant.

    SQLAlchemy's types convert neither the values nor the results: the driver gets and returns them as they are.
    """

    def __init__(self, statement: Executable) -> None:
        self.statement: Final = statement

    async def on(self, connection: AsyncConnection | StandIn, values: Mapping[str, Any]) -> StatementResult:
        """Carry the statement out. Raises what SQLAlchemy would raise."""
        if not isinstance(connection, AsyncConnection):
            result = await connection.execute(self.statement, values)
            return StatementResult(list(result.all()), result.rowcount, 0)
        target = cast("Connection", connection.sync_connection)
        text = _written(self.statement, target.dialect)
        return await _carry_out(connection, target, text.sql, text.parameters(values))


@dataclass(frozen=True, slots=True)
class _Text:
    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def parameters(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        known = {**self.constants, **values}
        # A list would mean many rows to SQLAlchemy.
        return tuple([known[name] for name in self.names])


@lru_cache(_KEPT)
def _written(statement: ClauseElement, dialect: Dialect) -> _Text:
    """Return a statement as the driver takes it. A call that lacks a value raises KeyError."""
    compiled: Any = statement.compile(dialect=dialect)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return _Text(str(compiled), tuple(compiled.positiontup), constants)


async def _carry_out(connection: AsyncConnection, target: Connection, sql: str, parameters: Row) -> StatementResult:
    proceed()
    lent = target.connection
    driver: Any = lent.driver_connection
    lent.info[STARTED] = started = monotonic()
    try:
        cursor = driver.cursor()
        await cursor.execute(sql, parameters)
        rows = list(await cursor.fetchall()) if cursor.description else []
    except BaseException as error:
        await connection.run_sync(_raise, error, sql, parameters)
        raise
    queries_of(lent.info).ended(started, sql, lambda: shapes.of(parameters), rows=max(0, cursor.rowcount))
    return StatementResult(rows, cursor.rowcount, cursor.lastrowid)


async def commit(connection: AsyncConnection) -> None:
    """Commit the transaction, of compiled statements and of others. Raises what SQLAlchemy would."""
    if connection.in_transaction():
        # SQLAlchemy has begun it, for a statement of its own.
        await connection.commit()
        return
    lent = cast("Connection", connection.sync_connection).connection
    driver: Any = lent.driver_connection
    lent.info[STARTED] = monotonic()
    try:
        await driver.commit()
    except BaseException as error:
        await connection.run_sync(_raise, error, "COMMIT", ())
        raise


def _raise(target: Connection, error: BaseException, sql: str, parameters: Row) -> None:
    """Do as SQLAlchemy does with an error of its own cursors: wrap it, notify listeners, give up broken connections."""
    if not target.in_transaction():
        # Otherwise SQLAlchemy would consider the statement a transaction of its own, and roll back.
        target.begin()
    if isinstance(error, Exception) and not isinstance(error, target.dialect.loaded_dbapi.Error):
        # It is no error of the database, so it is not wrapped; an answer may still be unread on the connection.
        target.invalidate(error)
        raise error
    try:
        raise error  # noqa: TRY301 - it looks for the error that is being handled
    except BaseException:  # noqa: BLE001 - it raises it again
        target._handle_dbapi_exception(error, sql, parameters, None, None)  # noqa: SLF001 - nothing else does all this
