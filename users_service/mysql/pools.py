"""Connection pools that count who waits for them and close what lies idle, and their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import asyncmy
import asyncmy.errors
from sqlalchemy import exc
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from chassis.telemetry import shapes
from chassis.telemetry.families import Family, Labels, MetricType
from chassis.telemetry.queries import Queries
from users_service.mysql.driver_errors import ends_connection, finds_dead

# The key of a pooled connection's ``info``: when it was given back last (``time.monotonic``).
IDLE_SINCE: Final = "idle_since"


class MeasuredPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool for asyncio, which counts the callers that wait for a connection and those that gave up.

    It also closes connections that nobody needs.
    """

    waiting = 0
    timeouts = 0

    def _do_get(self) -> ConnectionPoolEntry:
        self.waiting += 1
        try:
            return super()._do_get()
        except exc.TimeoutError:
            self.timeouts += 1
            raise
        finally:
            self.waiting -= 1

    async def close_idle(self, seconds: float) -> None:
        """Close the connections that have been idle for longer."""
        for record in self._taken_idle(monotonic() - seconds):
            await greenlet_spawn(record.close)

    def _taken_idle(self, before: float) -> list[ConnectionPoolEntry]:
        """Take out what has been idle since before a time; from now on others may be opened in its place."""
        there = [self._pool.get(False) for _ in range(self.checkedin())]
        idle = [record for record in there if record.info.get(IDLE_SINCE, before) < before]
        # The one used last was taken first, and must be on top again.
        for record in reversed(there):
            if record in idle:
                self._dec_overflow()
            else:
                self._pool.put(record, False)
        return idle


class PointPool:
    """A few plain connections of asyncmy, opened when they are first needed, for reads without SQLAlchemy.

    Text is returned as bytes, so that one text that is no UTF-8 makes no other row unreadable.
    """

    def __init__(self, size: int, recycle: int, arguments: Mapping[str, Any], queries: Queries) -> None:
        """``recycle``: seconds after which an idle connection is replaced; ``arguments``: how to connect."""
        self._options = {
            "minsize": 0,
            "maxsize": size,
            "pool_recycle": recycle,
            "autocommit": True,
            "use_unicode": False,
            **arguments,
        }
        self._queries = queries
        self._pool: Any = None
        self._reading = 0
        # How often connections were given up.
        self._generation = 0

    async def open(self) -> None:
        """Make the pool; it connects at the first read."""
        self._pool = await asyncmy.create_pool(**self._options)

    def leave(self) -> None:
        """Give up every connection made until now, each when it would be lent next."""
        self._generation += 1

    @property
    def lent(self) -> int:
        """The number of connections that are in use, without those that are being opened."""
        return len(self._pool._used)  # noqa: SLF001 - its size has both

    @property
    def use(self) -> PoolUse:
        """What is in use now; asked once it is open."""
        pool = self._pool
        waiting = max(0, self._reading - (pool.size - pool.freesize))
        return PoolUse(limit=pool.maxsize, size=pool.size, idle=pool.freesize, waiting=waiting, timeouts=0)

    async def read(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one SELECT and return its rows. Raises the driver's errors."""
        self._reading += 1
        try:
            while True:
                async with self._pool.acquire() as connection:
                    if self._is_left(connection):
                        # The pool keeps none that is closed.
                        connection.close()
                        continue
                    return await self._on(connection, statement, arguments)
        finally:
            self._reading -= 1

    def _is_left(self, connection: Any) -> bool:
        # One that was just opened has no number yet.
        return bool(connection.__dict__.setdefault("generation", self._generation) != self._generation)

    async def _on(self, connection: Any, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            async with connection.cursor() as cursor:
                return await self._observed(cursor, statement, arguments)
        except BaseException as error:
            if ends_connection(error):
                connection.close()
            if finds_dead(error):
                self.leave()
            raise

    async def _observed(self, cursor: Any, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        started = monotonic()
        try:
            await cursor.execute(statement, arguments)
            rows = list(await cursor.fetchall())
        except BaseException as error:
            self._queries.ended(started, statement, lambda: shapes.of(arguments), failure=type(error).__name__)
            raise
        self._queries.ended(started, statement, lambda: shapes.of(arguments), rows=len(rows))
        return rows

    async def close_idle(self, seconds: float) -> None:
        """Close the connections that have been idle for longer."""
        free, before = self._pool._free, self._pool._loop.time() - seconds  # noqa: SLF001 - it closes none by itself
        for connection in [each for each in free if each.last_usage < before]:
            free.remove(connection)
            await _goodbye(connection)

    async def close(self) -> None:
        """Close every connection, those in use too."""
        if self._pool is not None:
            self._pool.terminate()
            await self._pool.wait_closed()


async def _goodbye(connection: Any) -> None:
    try:
        await connection.ensure_closed()
    except (asyncmy.errors.MySQLError, OSError):
        # The server has gone already.
        connection.close()


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections of one pool: open at most and now, idle, and callers that wait or gave up waiting so far."""

    limit: int
    size: int
    idle: int
    waiting: int
    timeouts: int


def use_of(pool: Any) -> PoolUse:
    """Return the use of an engine's pool (``engine.pool``)."""
    idle, lent = pool.checkedin(), pool.checkedout()
    return PoolUse(pool.size(), idle + lent, idle, pool.waiting, pool.timeouts)


def families(uses: Mapping[str, PoolUse]) -> Iterator[Family]:
    """Yield the metrics of pools, by name."""

    def family(name: str, kind: MetricType, help_: str, values: Iterable[float]) -> Family:
        labels: list[Labels] = [(("driver", "mysql"), ("pool", pool)) for pool in uses]
        return Family(f"vibework_pool_{name}", kind, help_, list(zip(labels, values, strict=True)))

    found = uses.values()
    yield family("limit", "gauge", "Connections that a pool may open.", [use.limit for use in found])
    yield family("size", "gauge", "Connections that are open.", [use.size for use in found])
    yield family("in_use", "gauge", "Connections that are lent.", [use.size - use.idle for use in found])
    yield family(
        "waiting", "gauge", "Callers that wait for a connection, or for it to open.", [use.waiting for use in found]
    )
    yield family("timeouts_total", "counter", "Callers that waited in vain.", [use.timeouts for use in found])
