"""Connections to MySQL: an engine for transactions, one for reads, and a few plain connections for point reads.

All together hold at most ``MYSQL_POOL_MAX_CONNECTIONS``. What a driver raises, callers do not see (``driver_errors``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import asyncmy.errors
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import deadline, logging
from chassis.errors import DatabaseUnavailable
from chassis.statements import named
from chassis.telemetry.queries import Queries, Spans, Target
from users_service.driver_errors import DEADLOCK, STATEMENT_TIMEOUTS, error_number, translated
from users_service.engines import limited_arguments, new_engine
from users_service.observing import observe
from users_service.pools import PointPool, Use, use_of
from users_service.prepared import commit
from users_service.settings import DatabaseSettings

T = TypeVar("T")

# Connections kept for point reads: each kind has one query in flight (docs/performance.md).
POINT_CONNECTIONS = 2
# How often a transaction that lost a deadlock, or found its connection gone, is carried out again.
RETRIES = 3

log = logging.get(__name__)


class Database:
    """MySQL as the services use it: ``transaction`` for everything, ``read`` for the hot point reads."""

    def __init__(self, settings: DatabaseSettings, spans: Spans | None = None) -> None:
        """``spans``: takes the statements of traced calls."""
        self._settings = settings
        target = Target("mysql", settings.mysql_database, settings.mysql_host, settings.mysql_port)
        self.queries = Queries(target, settings.slow_query_ms, spans)
        self._query_timeout = settings.mysql_query_timeout_ms / 1000
        self._acquire_timeout = settings.mysql_pool_acquire_timeout_ms / 1000
        share = settings.mysql_pool_max_connections - POINT_CONNECTIONS
        # A third of the rest reads: lists and counts take one statement, transactions several.
        self.engine = new_engine(settings, size=share - share // 3, isolation_level="READ COMMITTED")
        self._reader = new_engine(
            settings, size=max(1, share // 3), isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )
        recycle = max(1, settings.mysql_pool_idle_timeout_ms // 1000)
        self._points = PointPool(POINT_CONNECTIONS, recycle, limited_arguments(settings), self.queries)
        for engine in (self.engine, self._reader):
            observe(engine, self.queries)

    @property
    def name(self) -> str:
        """The name of the database on its server."""
        return self._settings.mysql_database

    async def open(self) -> None:
        """Open the pool of point reads. It connects at the first read, so an absent server does not stop the start."""
        await self._points.open()

    async def close(self) -> None:
        """Close every connection, those in use too."""
        await self._points.close()
        await self._reader.dispose()
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @named
    async def ping(self) -> None:
        """Raise DatabaseUnavailable where the server does not answer, or has no tables of ours."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1 FROM users LIMIT 1"))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection that commits each statement by itself: for single statements, reads above all."""
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                async with self._reader.connect() as connection:
                    yield connection

    async def query(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Carry out a read, of one statement or several, as ``connection`` does."""
        async with self.connection() as connection:
            return await work(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Lend a READ COMMITTED connection for as long as background work takes; it commits when it is told to."""
        with translated():
            async with self.engine.connect() as connection:
                yield connection

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Carry out ``work`` in one READ COMMITTED transaction and commit it.

        ``work`` runs again, in a new transaction, after a deadlock or when its connection was found dead before
        the commit: it must have no other effects than those on its connection. Raises ConflictRetry when the
        retries did not help, DatabaseUnavailable, or CallDeadlineExceeded.
        """
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                for attempt in range(RETRIES):
                    try:
                        return await self._attempt(work)
                    except exc.DBAPIError as error:
                        if attempt + 1 == RETRIES or not _repeatable(error):
                            raise
                        log.info("transaction repeated", number=error_number(error), attempt=attempt + 1)
                raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        connection = await self.engine.connect()
        try:
            result = await work(connection)
            await self._commit(connection)
        except BaseException:
            # With a rollback, which no second cancellation may interrupt: the pool would be a connection short.
            await asyncio.shield(asyncio.create_task(connection.close()))
            raise
        await connection.close()
        return result

    @named
    async def _commit(self, connection: AsyncConnection) -> None:
        started = time.monotonic()
        try:
            await commit(connection)
        except exc.DBAPIError as error:
            # Whether it took effect is not known, so it must not run again.
            raise DatabaseUnavailable from error
        self.queries.ended(started, "COMMIT", list)

    async def read(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one SELECT outside of SQLAlchemy; repeat it once where the pooled connection turns out dead."""
        with translated():
            async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                try:
                    return await self._points.read(statement, arguments)
                except (asyncmy.errors.OperationalError, asyncmy.errors.InterfaceError, OSError) as error:
                    if error_number(error) in STATEMENT_TIMEOUTS:
                        raise
                    return await self._points.read(statement, arguments)

    def pools(self) -> dict[str, Use]:
        """Return what is in use of each pool."""
        engines = {"transactions": self.engine, "reads": self._reader}
        return {"points": self._points.use} | {name: use_of(engine.pool) for name, engine in engines.items()}


def _repeatable(error: exc.DBAPIError) -> bool:
    return error.connection_invalidated or error_number(error) == DEADLOCK
