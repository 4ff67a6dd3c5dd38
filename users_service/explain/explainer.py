"""A connection that has each statement explained instead of carried out, and a database that lends it.

Repositories are called as always. Their statements are caught right before the driver would send them, so exactly these
are explained, with their values. Nothing is changed or locked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import asyncmy.errors
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context import statements
from users_service.mysql.database import Database, Work
from users_service.mysql.driver_errors import DENIED, NothingSent, error_number

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """The name and text of a statement, and the steps of its plan; none where the account may not explain it."""

    name: str
    statement: str
    steps: list[dict[str, Any]]


class _Stopped(NothingSent):
    """The statement was explained and goes no further."""


class _Answer:
    """The answer that a repository gets to its statement: the rows that an example names, and one row changed."""

    rowcount = 1

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        """Return the rows."""
        return self._rows

    def first(self) -> Any:
        """Return the first row, or None."""
        return next(iter(self._rows), None)

    one_or_none = scalar_one_or_none = one = scalar_one = first

    def scalars(self) -> Self:
        """Return the same: nobody looks into these rows."""
        return self


class Explainer:
    """Stands in for the connection that repositories and services are given."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.plans: list[Plan] = []
        # The answer to the next statements.
        self.rows: Sequence[Any] = ()
        self._connection = connection

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch statements inside the block before the driver sends them."""
        target = self._connection.sync_connection
        event.listen(target, "before_cursor_execute", self._stop)
        try:
            yield
        finally:
            event.remove(target, "before_cursor_execute", self._stop)

    async def execute(self, statement: Any, values: Any = None) -> _Answer:
        """Explain a statement of SQLAlchemy's."""
        try:
            await self._connection.execute(statement, values)
        except _Stopped:
            return _Answer(self.rows)
        raise AssertionError("a statement was carried out")

    async def scalar(self, statement: Any, values: Any = None) -> Any:
        """Explain a statement that has one value."""
        await self.execute(statement, values)
        return 1

    async def read(self, statement: str, arguments: Sequence[Any]) -> list[Any]:
        """Explain a statement in the driver's own words."""
        try:
            await self._connection.exec_driver_sql(statement, tuple(arguments))
        except _Stopped:
            return list(self.rows)
        raise AssertionError("a statement was carried out")

    async def commit(self) -> None:
        """Do nothing: nothing was changed."""

    async def rollback(self) -> None:
        """Do nothing: nothing was changed."""

    def _stop(self, _connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        steps = _explained(cursor, statement, parameters[0] if many else parameters)
        self.plans.append(Plan(statements.current(), " ".join(statement.split()), steps))
        raise _Stopped


def _explained(cursor: Any, statement: str, parameters: Any) -> list[dict[str, Any]]:
    """Return the steps; none where the account may not do what the statement does."""
    try:
        # MySQL 9 shows trees unless asked for a table.
        cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {statement}", parameters)
    except asyncmy.errors.MySQLError as error:
        if error_number(error) not in DENIED:
            raise
        return []
    names = [column[0].lower() for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class ExplainingDatabase:
    """Stands in for ``Database``: whatever is asked for, the explaining connection is lent."""

    name = "explain"

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    @property
    def as_database(self) -> Database:
        """The same, for those who ask for a database."""
        return cast("Database", self)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend the connection."""
        yield cast("AsyncConnection", self._explainer)

    session = connection

    async def transaction(self, work: Work[T]) -> T:
        """Call ``work`` with the connection."""
        return await work(cast("AsyncConnection", self._explainer))

    query = transaction

    async def read(self, statement: str, arguments: Sequence[Any]) -> list[Any]:
        """Explain a point read."""
        return await self._explainer.read(statement, arguments)
