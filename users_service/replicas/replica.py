"""One replica: whether it is in use, how far behind it is, and the reads on it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import naming
from chassis.errors import Overloaded
from chassis.logs import logging
from chassis.peers.breaker import CircuitBreaker
from chassis.pooling.detached import Detached
from chassis.pooling.gate import PoolGate
from chassis.telemetry.queries import Queries
from users_service.endpoints import Endpoint
from users_service.mysql.database import Work
from users_service.mysql.driver_errors import STATEMENT_TIMEOUTS, error_number
from users_service.mysql.engines import new_engine
from users_service.mysql.observing import observe
from users_service.replicas.errors import ReplicaBehind, ReplicaBusy, ReplicaFailed
from users_service.replicas.gtid_sets import NEVER, NOWHERE, GtidSet, Log
from users_service.replicas.link import CONNECTIONS, LINK_ERRORS, Link
from users_service.replicas.settings import ReplicaSettings

T = TypeVar("T")
ReplicaState = Literal["unknown", "in use", "behind", "unreachable", "failing", "writable"]

# The answer 0 means reached. MariaDB and MySQL each ignore the other's comment.
_WAIT: Final = text(
    "SELECT /*M!100100 MASTER_GTID_WAIT(:position, :seconds) */ "
    "/*!80000 WAIT_FOR_EXECUTED_GTID_SET(:position, :seconds) */"
)

# The key of a connection's ``info`` with the GTID set that its server is known to have reached.
_REACHED: Final = "replica_reached"

log = logging.get(__name__)


class Replica:
    """A server that follows the primary.

    For metrics: ``state``, ``lag``, ``reads`` and ``failures`` (reads that began there, and those of them that had
    to be repeated on the primary), ``in_flight``.
    """

    def __init__(self, settings: ReplicaSettings, endpoint: Endpoint, passed: Log, queries: Queries) -> None:
        """``passed``: the primary's GTID sets; ``queries``: observes the statements."""
        own = settings.model_copy(update={"mysql_host": endpoint.host, "mysql_port": endpoint.port})
        self.address: Final = str(endpoint)
        self.state: ReplicaState = "unknown"
        self._told: ReplicaState = self.state
        self.reads = self.failures = 0
        self._passed = passed
        self._max_lag = settings.mysql_replica_max_lag_ms / 1000
        self._position = NOWHERE
        # A set that was waited for in vain: nobody waits again before it is reached.
        self._missed = NOWHERE
        self._complete_to = NEVER
        self._breaker = CircuitBreaker()
        self._running: set[asyncio.Timeout] = set()
        self._woken = asyncio.Event()
        self._link = Link(own, settings.mysql_replica_timeout_ms / 1000)
        size = settings.mysql_replica_pool_max_connections - CONNECTIONS
        self._query_timeout = settings.mysql_query_timeout_ms / 1000
        self._work = Detached(PoolGate(size, settings.mysql_pool_acquire_timeout_ms / 1000))
        self._engine = new_engine(own, size=size, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
        observe(self._engine, queries.at(*endpoint))

    @property
    def pool(self) -> Any:
        """The connections of its reads."""
        return self._engine.pool

    @property
    def lag(self) -> float:
        """An upper bound in seconds: all that the primary had acknowledged so long ago, or longer, is there."""
        return monotonic() - self._complete_to

    @property
    def in_flight(self) -> int:
        """Reads that it carries out now."""
        return len(self._running)

    @property
    def in_use(self) -> bool:
        """Whether it may be asked."""
        return self.state == "in use" and self.lag <= self._max_lag and not self._breaker.is_open

    def has(self, position: GtidSet) -> bool:
        """Say whether it is known to have all these transactions."""
        return self._position.covers(position)

    async def read(self, work: Work[T], position: GtidSet, seconds: float) -> T:
        """Carry out a read once the replica has all these transactions, for which it has so many seconds.

        Raises ReplicaBehind, ReplicaBusy; ReplicaFailed where the replica, and not the read, is the cause.
        """
        self.reads += 1
        try:
            result = await self._work.run(partial(self._read, work, position, seconds))
        except Overloaded as error:
            raise ReplicaBusy from error
        except ReplicaFailed as error:
            self._note_failure(error)
            raise
        self._breaker.succeeded()
        return result

    async def _read(self, work: Work[T], position: GtidSet, seconds: float) -> T:
        try:
            async with asyncio.timeout(self._query_timeout) as cut:
                self._running.add(cut)
                try:
                    async with self._engine.connect() as connection:
                        await self._reach(connection, position, seconds)
                        return await work(connection)
                finally:
                    self._running.discard(cut)
        except exc.TimeoutError as error:
            raise ReplicaBusy from error
        except (exc.SQLAlchemyError, *LINK_ERRORS) as error:
            if error_number(error) in STATEMENT_TIMEOUTS:
                # It would take the primary as long.
                raise
            raise ReplicaFailed from error

    def _note_failure(self, error: ReplicaFailed) -> None:
        self.failures += 1
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open and self.state != "unreachable":
            number = error_number(error.__cause__)
            log.warning("replica left alone for a while: reads fail on it", replica=self.address, number=number)
        self._suspect()

    async def _reach(self, connection: AsyncConnection, position: GtidSet, seconds: float) -> None:
        """Wait on the read's own connection, since one address may lead to several servers."""
        if connection.info.get(_REACHED, NOWHERE).covers(position):
            # A connection always leads to the same server, so what it had reached still holds.
            return
        if not self.has(position) and not self.has(self._missed):
            raise ReplicaBehind
        with naming("replicas.reach"):
            arguments = {"position": position.text, "seconds": seconds}
            missed = (await connection.execute(_WAIT, arguments)).scalar_one()
        if missed != 0:
            self._missed = position
            raise ReplicaBehind
        connection.info[_REACHED] = position
        if position.covers(self._position):
            self._position = position

    async def due(self, interval: float) -> None:
        """Wait until it should be looked at: so many seconds, or until a read failed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._woken.wait()

    async def look(self) -> None:
        """Ask for its state, and decide whether it is in use."""
        self._woken.clear()
        try:
            look = await self._link.look()
        except ReplicaFailed as error:
            self._turn("unreachable", number=error_number(error.__cause__))
            self._cut()
            return
        self._position = look.position
        self._complete_to = self._passed.complete_to(look.position)
        if not look.read_only:
            self._turn("writable")
        elif self._passed:
            self._turn("in use" if self.lag <= self._max_lag else "behind")

    def _suspect(self) -> None:
        """Take it out of use until it has been looked at."""
        if self.state == "in use":
            self.state = "failing"
        self._woken.set()

    def _cut(self) -> None:
        """End the reads under way, which hang or soon will, so that the primary can answer them."""
        now = asyncio.get_running_loop().time()
        for read in self._running:
            if not read.expired():
                read.reschedule(now)

    def _turn(self, state: ReplicaState, **why: int) -> None:
        if "unreachable" in (self.state, state):
            # The failures have their cause; when the replica is back, it starts without them.
            self._breaker.succeeded()
        self.state = state
        if state == self._told:
            return
        self._told = state
        if state == "in use":
            log.info("replica in use", replica=self.address)
        else:
            log.warning("replica out of use", replica=self.address, state=state, **why)

    async def close(self) -> None:
        """Close every connection."""
        await self._work.close()
        try:
            await self._link.close()
        finally:
            await self._engine.dispose()
