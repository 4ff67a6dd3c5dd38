"""Statements that are made once, and sent by the driver itself.

What SQLAlchemy does for each execution of a statement takes five times as long as the driver takes to carry it out
(``docs/decisions/0003``). Here it writes the statement once; what is hot then goes past it, on the connection that it
lends. Errors are handed to it, so that they look, are told of and end connections as those of all other statements.
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

# More than there are: each is kept once for each engine.
_KEPT: Final = 256

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StatementResult:
    """What a statement brought: its rows, how many rows it met, and the value of its ``LAST_INSERT_ID(…)``."""

    rows: list[Row]
    count: int
    last_id: int

    def one_or_none(self) -> Row | None:
        """Return the only row, None where there is none."""
        return self.rows[0] if self.rows else None


class StandIn(Protocol):
    """Takes statements in a connection's place, and wants them as SQLAlchemy's."""

    async def execute(self, statement: Any, values: Any = None) -> Any:
        """Take a statement."""
        ...


class CompiledStatement:
    """A statement of SQLAlchemy's whose values are all parameters; make it once, as a constant.

    Values reach the driver, and come from it, as they are: no type of SQLAlchemy's converts them.
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
        # No list, which among SQLAlchemy's parameters means many rows.
        return tuple([known[name] for name in self.names])


@lru_cache(_KEPT)
def _written(statement: ClauseElement, dialect: Dialect) -> _Text:
    """Return a statement as the driver takes it; a name whose value is missing in a call is a KeyError there."""
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
    """Commit what was done on the connection, by prepared statements or by others. Raises what SQLAlchemy would."""
    if connection.in_transaction():
        # Begun by it, for a statement of its own.
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
    """Do as SQLAlchemy does with an error of its own cursors: wrap it, tell of it, give up what is broken."""
    if not target.in_transaction():
        # Otherwise it would take the statement for one that stands alone, and roll back.
        target.begin()
    if isinstance(error, Exception) and not isinstance(error, target.dialect.loaded_dbapi.Error):
        # No error of the database's, and not to be dressed as one; what is left to be read, nobody knows.
        target.invalidate(error)
        raise error
    try:
        raise error  # noqa: TRY301 - it looks for the error that is being handled
    except BaseException:  # noqa: BLE001 - it raises it again
        target._handle_dbapi_exception(error, sql, parameters, None, None)  # noqa: SLF001 - nothing else does all this
