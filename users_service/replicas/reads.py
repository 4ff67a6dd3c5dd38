"""Routing of reads: to a replica that has caught up with the primary, or to the primary itself.

Before a read the primary is asked for its GTID set, once for all reads that begin at the same time. A replica that has
all of these transactions shows everything that was acknowledged to anybody before the read began.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, NoReturn, Protocol, TypeVar

from chassis.background import repeat
from chassis.batching.coalesce import Coalescer
from chassis.context import deadline
from chassis.context.statements import naming
from chassis.errors import DatabaseUnavailable
from chassis.logs import logging
from users_service.mysql.database import Database, Work
from users_service.mysql.driver_errors import TextUnreadable, translated
from users_service.mysql.idle import close_idle
from users_service.replicas import staleness
from users_service.replicas.errors import NoneInUse, NotAnswered
from users_service.replicas.gtid_sets import GtidSet, Log, parse
from users_service.replicas.link import PRIMARY_POSITION
from users_service.replicas.replica import Replica
from users_service.replicas.settings import ReplicaSettings

T = TypeVar("T")
# How many times a replica is looked at within the allowed lag, which is therefore known to a fifth.
LOOKS: Final = 5
# Seconds to wait for a set that was reached already; to MySQL 0 would mean "for ever".
AT_ONCE: Final = 0.01

log = logging.get(__name__)


class Query(Protocol):
    """Carries out a read, possibly twice, so it must have no other effects."""

    async def __call__(self, work: Work[T]) -> T:
        """Return the result of ``work``. Raises DatabaseUnavailable or CallDeadlineExceeded."""
        ...


class ReplicaReads:
    """Reads on replicas, or else on the primary. For metrics: ``replicas``, and ``fallbacks`` by cause."""

    def __init__(self, database: Database, settings: ReplicaSettings) -> None:
        self.fallbacks: Counter[str] = Counter()
        self._database = database
        self._query_timeout = settings.mysql_query_timeout_ms / 1000
        self._idle = settings.mysql_pool_idle_timeout_ms / 1000
        self._max_lag = settings.mysql_replica_max_lag_ms / 1000
        self._wait = settings.mysql_replica_wait_ms / 1000
        self._interval = self._max_lag / LOOKS
        self._passed = Log(2 * LOOKS)
        self._primary_answers = True
        self._keeps_log: bool | None = None
        self._position: Coalescer[None, GtidSet] = Coalescer(
            self._ask_position, max_in_flight=1, timeout=self._query_timeout
        )
        self.replicas: Sequence[Replica] = [
            Replica(settings, endpoint, self._passed, database.queries) for endpoint in settings.replica_endpoints
        ]

    async def query(self, work: Work[T]) -> T:
        """Carry out a read as ``Query`` promises; if no replica answers, the primary does."""
        try:
            with translated(reading=True):
                async with asyncio.timeout(deadline.timeout(self._query_timeout)):
                    return await self._on_replica(work)
        except NotAnswered as error:
            self.fallbacks[error.cause] += 1
        except TextUnreadable:
            # On the primary such text can be read with marks.
            self.fallbacks["unreadable"] += 1
        return await self._database.query(work)

    async def _on_replica(self, work: Work[T]) -> T:
        candidates = [replica for replica in self.replicas if replica.in_use]
        if not candidates:
            raise NoneInUse
        old = self._old_enough()
        if old and (there := [replica for replica in candidates if replica.has(old)]):
            return await _least_busy(there).read(work, old, AT_ONCE)
        position = await self._position.get(None)
        if not position:
            # Nobody knows how far behind the replicas are.
            raise NoneInUse
        there = [replica for replica in candidates if replica.has(position)]
        replica = _least_busy(there) if there else min(candidates, key=lambda candidate: candidate.lag)
        return await replica.read(work, position, self._wait)

    def _old_enough(self) -> GtidSet | None:
        """Return the primary's set at the oldest time that the caller accepts; None where that is now."""
        seconds = min(staleness.tolerated(), self._max_lag)
        return self._passed.since(monotonic() - seconds) if seconds else None

    async def _ask_position(self, _: Sequence[None] = ()) -> dict[None, GtidSet]:
        with naming("replicas.position"):
            ((text,),) = await self._database.read(PRIMARY_POSITION, ())
        return {None: parse(text.decode())}

    def loops(self) -> list[Coroutine[Any, Any, NoReturn]]:
        """Return the endless loops that track the primary and each replica, and close idle connections."""
        following = [repeat("replica", replica.look, partial(replica.due, self._interval)) for replica in self.replicas]
        closing = close_idle(self._idle, *(replica.pool for replica in self.replicas))
        return [repeat("replicas", self._note, self._pause), closing, *following]

    async def _pause(self) -> None:
        # While the primary is away there is nothing to follow.
        await asyncio.sleep(self._interval if self._primary_answers else max(self._interval, 1.0))

    async def _note(self) -> None:
        """Note the primary's set; while it does not answer, all replicas eventually count as too far behind."""
        before = monotonic()
        self._primary_answers = False
        try:
            position = (await self._ask_position())[None]
        except DatabaseUnavailable:
            return
        self._primary_answers = True
        if position:
            self._passed.add(before, position)
        if self._keeps_log is not bool(position):
            self._keeps_log = bool(position)
            if not position:
                log.warning("replicas not in use: the primary keeps no binary log with GTIDs")

    async def close(self) -> None:
        """Close every connection to replicas."""
        await asyncio.gather(*(replica.close() for replica in self.replicas), return_exceptions=True)


def _least_busy(replicas: Sequence[Replica]) -> Replica:
    # In turn where they are equally busy.
    return min(replicas, key=lambda replica: (replica.in_flight, replica.reads))
