"""Connections to MySQL: an engine for transactions, one for reads, and a few plain connections for point reads.

All together hold at most ``MYSQL_POOL_MAX_CONNECTIONS``. Callers never see the driver's errors (``driver_errors``), and
the driver never sees that a caller leaves (``chassis.pooling.detached``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

import asyncmy.errors
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.background import running
from chassis.context import deadline
from chassis.context.statements import named
from chassis.errors import DatabaseUnavailable
from chassis.logs import logging
from chassis.pooling.detached import Detached, proceed
from chassis.pooling.gate import PoolGate
from chassis.schema import SchemaState
from chassis.telemetry.queries import Queries, Spans, Target
from users_service.mysql import revisions, schema
from users_service.mysql.commits import Commits
from users_service.mysql.compiled import commit
from users_service.mysql.driver_errors import DEADLOCK, TextUnreadable, error_number, finds_dead, translated
from users_service.mysql.driver_text import marked
from users_service.mysql.engines import limited_arguments, new_engine
from users_service.mysql.idle import close_idle
from users_service.mysql.observing import observe
from users_service.mysql.pools import PointPool, PoolUse, use_of
from users_service.mysql.server_kind import refuse_unsafe
from users_service.mysql.server_settings import problems_of
from users_service.mysql.settings import MySQLSettings
from users_service.mysql.writability import QUESTION, PrimaryWritability

T = TypeVar("T")

# What a caller does with a connection: some statements, and a result.
Work = Callable[[AsyncConnection], Awaitable[T]]
# A context in which a connection decodes text in some way.
Reading = Callable[[AsyncConnection], AbstractContextManager[Any]]

# Connections kept for point reads: each kind has one query in flight (docs/performance.md).
POINT_CONNECTIONS = 2
# How often a transaction is carried out at most: where its connection is found gone, and where it loses a deadlock.
RETRIES = 3
DEADLOCK_RETRIES = 10
# Seconds at most before one that lost a deadlock begins again: at first, doubling, and in the end. Over shards all who
# want one address or account lose but one, and would do so again if they began at once (docs/scaling.md).
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.4
# Seconds for a rollback, however little time its transaction has left; then its connection is closed.
ROLLBACK_SECONDS = 2.0

log = logging.get(__name__)


class Database:
    """MySQL as the services use it: ``transaction`` for everything, ``read`` for the hot point reads."""

    def __init__(self, settings: MySQLSettings, spans: Spans | None = None) -> None:
        """``spans``: takes the statements of traced calls."""
        self._settings = settings
        # Whether the server and its settings were looked at, which is done once.
        self._is_known = False
        self._revisions = revisions.numbers()
        target = Target("mysql", settings.mysql_database, settings.mysql_host, settings.mysql_port)
        self.queries = Queries(target, settings.slow_query_ms, spans)
        self._query_timeout = settings.mysql_query_timeout_ms / 1000
        # Hears of transactions; work notes what about (``commits.note``).
        self.commits = Commits()
        share = settings.mysql_pool_max_connections - POINT_CONNECTIONS
        # A third of the rest reads: lists and counts take one statement, transactions several.
        reads = max(1, share // 3)
        patience = settings.mysql_pool_acquire_timeout_ms / 1000
        # Of which engine they are for whom a connection is being found, or opened.
        self._connecting = Counter[AsyncEngine]()
        self._transacting = Detached(PoolGate(share - share // 3, patience, lambda: self._opens_all(self.engine)))
        self._reading = Detached(PoolGate(reads, patience, lambda: self._opens_all(self._reader)))
        self._pointing = Detached(PoolGate(POINT_CONNECTIONS, patience, lambda: not self._points.lent))
        self._idle_seconds = settings.mysql_pool_idle_timeout_ms / 1000
        self._open = AsyncExitStack()
        recycle = max(1, settings.mysql_pool_idle_timeout_ms // 1000)
        self._points = PointPool(POINT_CONNECTIONS, recycle, limited_arguments(settings), self.queries)
        self.writability = PrimaryWritability(self._points.leave)
        primary: dict[str, Any] = {"writability": self.writability}
        self.engine = new_engine(settings, size=share - share // 3, isolation_level="READ COMMITTED", **primary)
        self._reader = new_engine(
            settings, size=reads, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True, **primary
        )
        for engine in (self.engine, self._reader):
            observe(engine, self.queries)

    @property
    def name(self) -> str:
        """The name of the database on its server."""
        return self._settings.mysql_database

    async def open(self) -> None:
        """Open the pool of point reads. It connects at the first read, so an absent server does not stop the start."""
        await self._points.open()
        pools: list[Any] = [self._points, self._reader.pool, self.engine.pool]
        await self._open.enter_async_context(running(close_idle(self._idle_seconds, *pools)))

    async def close(self) -> None:
        """Close every connection, those in use too, once work without a caller has ended or is cancelled."""
        await self._open.aclose()
        await asyncio.gather(self._pointing.close(), self._reading.close(), self._transacting.close())
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
        """Raise DatabaseUnavailable where the server does not answer, SchemaLacking where this version cannot serve.

        ServerRefused, a SchemaLacking, where the server is not safe.
        """
        found = await self.query(self._look)
        found.require(schema.SERVICE)

    @named
    async def meet(self) -> None:
        """Look at the server, once. Raises ServerRefused, or DatabaseUnavailable where it does not answer."""
        await self.query(self._meet)

    async def _meet(self, connection: AsyncConnection) -> None:
        if not self._is_known:
            await refuse_unsafe(connection)
            for problem in await problems_of(connection):
                log.error("the database is set such that the service cannot work", problem=problem)
            self._is_known = True

    async def _look(self, connection: AsyncConnection) -> SchemaState:
        await self._meet(connection)
        self.writability.looked(tuple((await connection.execute(text(QUESTION))).one()))
        return await schema.state(connection, self._revisions)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection that commits each statement by itself; for commands: calls use ``query``."""
        async with self._reading.gate.place():
            with translated():
                async with asyncio.timeout(deadline.timeout(self._query_timeout)), self._reader.connect() as connection:
                    yield connection

    async def query(self, work: Work[T]) -> T:
        """Carry out statements outside of any transaction that only read, or have the same effect when they repeat.

        ``work`` runs once more where its connection turns out dead, or where text is no UTF-8: then it gets the text
        with marks (``driver_text``). Raises DatabaseUnavailable, CallDeadlineExceeded, or Overloaded where all
        connections stay in use. If its caller leaves, ``work`` ends before its next statement.
        """
        return await self._reading.run(partial(self._query, work))

    async def _query(self, work: Work[T]) -> T:
        until = self._limit()
        try:
            return await self._query_until(until, work, nullcontext)
        except TextUnreadable:
            # The text of one row must not make the others unreadable.
            return await self._query_until(until, work, marked)

    async def _query_until(self, until: float, work: Work[T], reading: Reading) -> T:
        with translated(reading=True):
            try:
                return await self._query_once(until, work, reading)
            except (exc.DBAPIError, OSError) as error:
                if not finds_dead(error):
                    raise
            proceed()
            return await self._query_once(until, work, reading)

    async def _query_once(self, until: float, work: Work[T], reading: Reading) -> T:
        connection = await self._connected(self._reader, until)
        try:
            with reading(connection):
                async with asyncio.timeout_at(until):
                    return await work(connection)
        finally:
            await _give_back(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Lend a READ COMMITTED connection for as long as background work takes; it commits when it is told to."""
        async with self._transacting.gate.place():
            with translated():
                async with self.engine.connect() as connection:
                    yield connection

    async def transaction(self, work: Work[T]) -> T:
        """Carry out ``work`` in one READ COMMITTED transaction and commit it.

        ``work`` runs again, in a new transaction, after a deadlock or when its connection was found dead before
        the commit: it must have no other effects than those on its connection. Raises ConflictRetry when the
        retries did not help, DatabaseUnavailable, CallDeadlineExceeded, or Overloaded where all connections stay in
        use. If its caller leaves, it is rolled back after the statement that is under way.
        """
        return await self._transacting.run(partial(self._transaction, work))

    async def _transaction(self, work: Work[T]) -> T:
        with translated():
            until = self._limit()
            attempt = 0
            while True:
                attempt += 1
                try:
                    return await self._attempt(work, until)
                except exc.DBAPIError as error:
                    pause = random.uniform(0, _longest_pause(attempt)) if _lost(error) else 0.0  # noqa: S311 - spread
                    if not _repeatable(error, attempt) or asyncio.get_running_loop().time() + pause >= until:
                        raise
                    log.info("transaction repeated", number=error_number(error), attempt=attempt)
                await asyncio.sleep(pause)

    async def _attempt(self, work: Work[T], until: float) -> T:
        proceed()
        connection = await self._connected(self.engine, until)
        try:
            async with asyncio.timeout_at(until):
                self.commits.begin(connection)
                result = await work(connection)
                proceed()
                await self._commit(connection)
                self.commits.committed(connection)
                return result
        finally:
            await _give_back(connection)

    async def _connected(self, engine: AsyncEngine, until: float) -> AsyncConnection:
        self._connecting[engine] += 1
        try:
            async with asyncio.timeout_at(until):
                return await engine.connect()
        finally:
            self._connecting[engine] -= 1

    def _opens_all(self, engine: AsyncEngine) -> bool:
        """Whether the pool is full of those for whom a connection is still being opened."""
        return self._connecting[engine] == use_of(engine.pool).limit

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
        """Run one SELECT outside of SQLAlchemy; repeat it once where the pooled connection turns out dead.

        Text comes as bytes.
        """
        return await self._pointing.run(partial(self._read, statement, arguments))

    async def _read(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        with translated(reading=True):
            async with asyncio.timeout_at(self._limit()):
                try:
                    return await self._points.read(statement, arguments)
                except (asyncmy.errors.MySQLError, OSError, EOFError) as error:
                    if not finds_dead(error):
                        raise
                    return await self._points.read(statement, arguments)

    def _limit(self) -> float:
        """Return when, by the loop's clock, work that begins now is given up."""
        return asyncio.get_running_loop().time() + deadline.timeout(self._query_timeout)

    def pools(self) -> dict[str, PoolUse]:
        """Return what is in use of each pool."""
        uses = {
            "points": (self._pointing, self._points.use),
            "transactions": (self._transacting, use_of(self.engine.pool)),
            "reads": (self._reading, use_of(self._reader.pool)),
        }
        return {name: _with_waiters(use, work.gate) for name, (work, use) in uses.items()}


async def _give_back(connection: AsyncConnection) -> None:
    """Roll back an open transaction and return the connection to its pool, within a time limit of its own."""
    try:
        async with asyncio.timeout(ROLLBACK_SECONDS):
            await connection.close()
    except (TimeoutError, exc.SQLAlchemyError):
        # It is closed, and its transaction with it; the caller gets the error of the work itself.
        log.warning("a connection did not roll back in time")


def _with_waiters(use: PoolUse, gate: PoolGate) -> PoolUse:
    # Callers wait at the gate for a connection, and inside the pool only for one to be opened.
    return replace(use, waiting=use.waiting + gate.waiting, timeouts=use.timeouts + gate.timeouts)


def _lost(error: exc.DBAPIError) -> bool:
    """Whether the transaction lost a deadlock."""
    return error_number(error) == DEADLOCK


def _repeatable(error: exc.DBAPIError, attempts: int) -> bool:
    """Whether a transaction that failed so, after so many attempts, is carried out once more."""
    return attempts < DEADLOCK_RETRIES if _lost(error) else error.connection_invalidated and attempts < RETRIES


def _longest_pause(attempts: int) -> float:
    longest: float = FIRST_PAUSE * 2 ** (attempts - 1)
    return min(LONGEST_PAUSE, longest)
