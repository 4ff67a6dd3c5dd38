"""Causally consistent reads from secondaries: they show everything that was acknowledged before the read began.

The primary is asked for its cluster time, once for all reads that begin at the same time; a secondary answers when it
has reached that time (``afterClusterTime``). If none answers in time, the primary does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

from bson import Timestamp
from pymongo.read_preferences import Nearest, SecondaryPreferred

from chassis.batching.coalesce import Coalescer
from chassis.context import deadline
from chassis.context.statements import naming
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable
from chassis.logs import logging
from chassis.peers.breaker import CircuitBreaker, CircuitOpen
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import CausalRead, Database, QueryResult
from notifications_service.mongodb.drivers import Pipeline

T = TypeVar("T")
Preference: TypeAlias = Literal["primary", "secondaryPreferred", "nearest"]

# After so many failed reads in a row, secondaries are not asked for a while.
FAILURES: Final = 3

_MODES: Final = {"secondaryPreferred": SecondaryPreferred, "nearest": Nearest}

log = logging.get(__name__)


class Reader(Protocol):
    """Runs queries that have no other effects."""

    async def find(
        self,
        collection: str,
        query: Document,
        *,
        limit: int,
        hint: str,
        sort: Document | None = None,
        projection: Document | None = None,
        snapshot: bool = False,
        **options: Any,
    ) -> QueryResult:
        """Run a query as ``Database.find``."""
        ...

    async def aggregate(self, collection: str, pipeline: Pipeline, *, hint: str, snapshot: bool = False) -> QueryResult:
        """Run an aggregation as ``Database.aggregate``."""
        ...


class Secondaries:
    """Reads on the members other than the primary.

    For metrics: ``reads`` that they were asked, and ``fallbacks``, those of them that the primary answered in the end.
    """

    def __init__(self, database: Database, timeout: float) -> None:
        """``timeout``: seconds that a secondary has for a read, catching up included."""
        self.reads = self.fallbacks = 0
        self._database = database
        self._timeout = timeout
        self._breaker = CircuitBreaker(failures=FAILURES)
        self._asked: Coalescer[None, Timestamp] = Coalescer(self._ask, max_in_flight=1)

    async def read(self, preference: Any, read: Callable[[CausalRead | None], Awaitable[T]]) -> T:
        """Carry out a causally consistent read on a secondary, or else (None) on the primary."""
        place = await self._place(preference)
        if place is None:
            return await read(None)
        self.reads += 1
        try:
            with deadline.within(self._timeout):
                found = await read(place)
        except (DatabaseUnavailable, CallDeadlineExceeded):
            self._failed()
            return await read(None)
        self._breaker.succeeded()
        return found

    async def _place(self, preference: Any) -> CausalRead | None:
        if self._breaker.is_open:
            return None
        now = await self._asked.get(None)
        try:
            self._breaker.before()
        except CircuitOpen:
            return None
        return None if now is None else CausalRead(preference, now)

    async def _ask(self, _: list[None]) -> dict[None, Timestamp]:
        with naming("secondaries.now"):
            answer = await self._database.run(lambda: self._database.command({"ping": 1}))
        time = answer.get("operationTime")
        return {} if time is None else {None: time}

    def _failed(self) -> None:
        self.fallbacks += 1
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            log.warning("secondaries out of use for a while: they did not answer in time")


class SecondaryReader:
    """Reads by a preference of pymongo's."""

    def __init__(self, database: Database, secondaries: Secondaries, preference: Any) -> None:
        self._database = database
        self._secondaries = secondaries
        self._preference = preference

    async def find(self, collection: str, query: Document, **options: Any) -> QueryResult:
        """Run a query as ``Database.find``."""
        return await self._secondaries.read(
            self._preference, lambda place: self._database.find(collection, query, place=place, **options)
        )

    async def aggregate(self, collection: str, pipeline: Pipeline, *, hint: str, snapshot: bool = False) -> QueryResult:
        """Run an aggregation as ``Database.aggregate``."""
        return await self._secondaries.read(
            self._preference,
            lambda place: self._database.aggregate(collection, pipeline, hint=hint, place=place, snapshot=snapshot),
        )


def reader(database: Database, secondaries: Secondaries, preference: Preference, max_staleness: int) -> Reader:
    """Return what reads by a preference; for ``primary`` the database itself. ``max_staleness``: seconds."""
    if preference == "primary":
        return database
    return SecondaryReader(database, secondaries, _MODES[preference](max_staleness=max_staleness))
