"""Access to MongoDB: one client, limits on time, transactions, and driver errors turned into ours.

The driver never sees that a caller leaves (``chassis.pooling.detached``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import pymongo
from bson import Timestamp
from bson.errors import InvalidBSON
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError, WaitQueueTimeoutError

from chassis.batching.coalesce import Coalescer
from chassis.context import deadline
from chassis.context.statements import named
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable
from chassis.pooling.detached import Detached, proceed
from chassis.pooling.gate import PoolGate
from chassis.pooling.writability import Writability
from chassis.telemetry import shapes
from chassis.telemetry.families import Family
from chassis.telemetry.queries import Queries, Spans, Target
from notifications_service.mongodb import codec, drivers, undecoded
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.driver_errors import (
    NO_SNAPSHOT,
    REFUSING,
    TRANSIENT_TRANSACTION,
    codes,
    may_pass,
    translated,
)
from notifications_service.mongodb.drivers import ClientSession, Collection, Pipeline
from notifications_service.mongodb.observing import CommandSpans, PoolShare, families, use_of
from notifications_service.mongodb.settings import MongoDBSettings
from notifications_service.mongodb.url import SRV, address_of

T = TypeVar("T")

# How often a transaction that lost to another one is carried out; the pauses in between add up to about 0.2 s.
ATTEMPTS: Final = 6
# Seconds to end a transaction on the server, however little time the transaction itself has left.
ABORT_SECONDS: Final = 2.0

# The name under which a server lists our connections.
APPLICATION: Final = "notifications-service"
# Connections to each server with which the driver watches it: one hears of changes, one measures how far it is.
MONITORING: Final = 2
# The size of the first batch of an answer. The server's default is 101 rows, and the rest takes another round trip.
# Rows beyond the 16 MiB of an answer still come in a second one.
_ONE_BATCH: Final = 10_000
# Texts are compared byte for byte, also where the collection was made with another collation.
BYTEWISE: Final[Document] = {"locale": "simple"}


class CausalRead(NamedTuple):
    """A causally consistent read: the members that may answer, and the cluster time that they must have reached."""

    preference: Any
    after: Timestamp


class QueryResult(NamedTuple):
    """The rows of a query; ``cut``: they filled 16 MiB, and more rows may match.

    ``at``: the cluster time of which they are all that there was, where one was asked for and the database has one.
    """

    rows: list[Document]
    cut: bool = False
    at: Timestamp | None = None


class Database:
    """MongoDB as the services use it; calls access it inside ``run()``, everything else inside ``limits()``."""

    def __init__(self, settings: MongoDBSettings, spans: Spans | None = None, *, streams: int = 0) -> None:
        """``spans``: takes the commands of traced calls.

        ``streams``: connections that change streams hold all the time; the others are lent.
        """
        self._query_timeout = settings.mongodb_query_timeout_ms / 1000
        self._settings = settings
        self._streams = streams
        self._pool_timeouts = 0
        self.writability = Writability()
        url = settings.mongodb_url.get_secret_value()
        self.queries = Queries(Target("mongodb", *address_of(url)), settings.slow_query_ms, spans)
        listeners = [CommandSpans(self.queries)] if self.queries.traced else []
        options = _options(settings) | {"event_listeners": listeners}
        self.driver = drivers.connect(settings.mongodb_driver, url, options)
        self.default = self.driver.client.get_default_database()
        # Looks up the members, once for all who ask at a time; None where they are known.
        self._members: Coalescer[None, None] | None = None
        if url.startswith(SRV):
            self._members = Coalescer(self._find_members, max_in_flight=1, timeout=self._query_timeout)
        # Connections that are lent.
        self.places: Final = settings.mongodb_connection_pool_size - MONITORING - streams
        self._work = Detached(PoolGate(self.places, self._query_timeout, self._is_away))

    def _is_away(self) -> bool:
        return not self.driver.client.topology_description.has_writable_server()

    def collection(self, name: str) -> Collection:
        """Return a collection; its documents decode by ``codec.CODEC_OPTIONS``."""
        return self.default.get_collection(name, codec_options=codec.CODEC_OPTIONS)

    def pool_metrics(self) -> Iterator[Family]:
        """Yield the metrics of the pool, as two: what is lent to calls, and what is kept for change streams."""
        gate, use = self._work.gate, use_of(self.driver.client)
        streaming = min(self._streams, max(0, use.in_use - gate.inside))
        timeouts = self._pool_timeouts + gate.timeouts
        size, waiting = max(0, use.size - streaming), use.waiting + gate.waiting
        pools = [PoolShare("calls", self.places, size, gate.inside, waiting, timeouts)]
        if self._streams:
            pools.append(PoolShare("watches", self._streams, streaming, streaming))
        return families(pools, self._settings.mongodb_driver)

    async def close(self) -> None:
        """Close every connection, once work without a caller has ended or is cancelled."""
        await self._work.close()
        await self.driver.close()

    @named
    async def hello(self) -> Document:
        """Ask the server who it is; also the cheapest ping. Raises DatabaseUnavailable."""
        found: Document = await self.run(lambda: self.command({"hello": 1}))
        return found

    async def run(self, work: Callable[[], Awaitable[T]], parameters: Document | None = None) -> T:
        """Carry out ``work``, such as one command, to its end within ``limits``, even if its caller leaves meanwhile.

        Errors as ``limits``, or Overloaded where all connections stay in use.
        """
        return await self._work.run(partial(self._limited, work, parameters))

    async def _limited(self, work: Callable[[], Awaitable[T]], parameters: Document | None) -> T:
        with self.limits(parameters):
            await self._find()
            return await work()

    async def _find(self) -> None:
        if self._members is not None:
            await self._members.get(None)

    async def _find_members(self, _: list[None]) -> dict[None, None]:
        await self.driver.look_up()
        self._members = None
        return {}

    def place(self) -> AbstractAsyncContextManager[None]:
        """Hold one of the ``places`` for as long as the context lasts; for those who use the driver by themselves."""
        return self._work.gate.place()

    @contextmanager
    def limits(self, parameters: Document | None = None) -> Iterator[None]:
        """Limit the work inside to the query timeout or the call's deadline, and translate driver errors.

        ``parameters``: if the work is slow, the log gets their sizes. Raises DatabaseUnavailable, CallDeadlineExceeded
        or ConflictRetry; DuplicateKeyError passes.
        """
        with self._told(parameters or {}), pymongo.timeout(self._seconds()):
            yield

    def _seconds(self) -> float:
        """Return how long work that begins now may take. Without time left, raises as ``limits`` does."""
        seconds = deadline.timeout(self._query_timeout)
        if seconds <= 0:
            raise CallDeadlineExceeded if deadline.has_passed() else DatabaseUnavailable
        return seconds

    @contextmanager
    def _told(self, parameters: Document) -> Iterator[None]:
        """Translate driver errors, and log slow work."""
        started, failure = monotonic(), ""
        try:
            yield
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            failure = type(error).__name__
            self._pool_timeouts += isinstance(error, WaitQueueTimeoutError)
            self._note(error)
            raise translated(error) from error
        finally:
            self.queries.timed(started, lambda: shapes.of_command(parameters), failure=failure)

    def _note(self, error: PyMongoError) -> None:
        for code in codes(error) & set(REFUSING):
            self.writability.refused(REFUSING[code], code)

    async def find(
        self,
        collection: str,
        query: Document,
        *,
        limit: int,
        hint: str,
        sort: Document | None = None,
        projection: Document | None = None,
        place: CausalRead | None = None,
        snapshot: bool = False,
        **options: Any,
    ) -> QueryResult:
        """Run a query and return what fits into one batch of 16 MiB; repeat it once where the connection broke.

        It is sent as a plain command, since the driver's cursors take a third longer. Without ``place`` the primary
        answers. ``snapshot``: read what a majority had at one cluster time, and say which. ``options``: of the
        command. Rows of other systems may be so large that the batch is cut: see ``QueryResult``.
        """
        command: Document = {"find": collection, "filter": query, "limit": limit, "hint": hint, "collation": BYTEWISE}
        # The server begins with 101 rows unless told otherwise.
        command["batchSize"] = limit
        if sort is not None:
            command["sort"] = sort
        if projection is not None:
            command["projection"] = projection
        command.update(options)
        return await self._first_batch(collection, command, place, snapshot=snapshot)

    async def aggregate(
        self,
        collection: str,
        pipeline: Pipeline,
        *,
        hint: str,
        place: CausalRead | None = None,
        snapshot: bool = False,
    ) -> QueryResult:
        """Run an aggregation as ``find`` does a query."""
        command: Document = {"aggregate": collection, "pipeline": pipeline, "hint": hint, "collation": BYTEWISE}
        command["cursor"] = {"batchSize": _ONE_BATCH}
        return await self._first_batch(collection, command, place, snapshot=snapshot)

    async def _first_batch(
        self, collection: str, command: Document, place: CausalRead | None, *, snapshot: bool
    ) -> QueryResult:
        options: dict[str, Any] = {} if place is None else {"read_preference": place.preference}
        after = {} if place is None else {"afterClusterTime": place.after}
        if snapshot:
            try:
                return await self._concerned(collection, command, {"level": "snapshot", **after}, options)
            except OperationFailure as error:
                if error.code not in NO_SNAPSHOT:
                    raise
        return await self._concerned(collection, command, after, options)

    async def _concerned(
        self, collection: str, command: Document, concern: Document, options: dict[str, Any]
    ) -> QueryResult:
        if concern:
            command = command | {"readConcern": concern}
        return await self.run(partial(self._batch, collection, command, options), command)

    async def _batch(self, collection: str, command: Document, options: dict[str, Any]) -> QueryResult:
        try:
            cursor = (await self.command(command, **options))["cursor"]
            rows = cursor["firstBatch"]
        except InvalidBSON:
            # A value that the driver cannot decode must make only its own row unreadable.
            cursor = (await self.command(command, codec_options=undecoded.CODEC_OPTIONS, **options))["cursor"]
            rows = [undecoded.decoded(row) for row in cursor["firstBatch"]]
        at = cursor.get("atClusterTime")
        if not cursor["id"]:
            return QueryResult(rows, at=at)
        # The rest could be read only in the session of this command, which the driver does not expose.
        await self.default.command({"killCursors": collection, "cursors": [cursor["id"]]}, **options)
        return QueryResult(rows, cut=True, at=at)

    async def command(self, command: Document, **options: Any) -> Any:
        """Send a command that only reads, within ``run`` or ``limits``, once more where its first error may pass.

        The driver repeats its own reads so, but no plain commands. ``options``: of the driver's ``command``.
        """
        options.setdefault("codec_options", codec.CODEC_OPTIONS)
        try:
            return await self.default.command(command, **options)
        except PyMongoError as error:
            if not may_pass(error):
                raise
            return await self.default.command(command, **options)

    async def transaction(self, work: Callable[[ClientSession], Awaitable[T]]) -> T:
        """Carry out ``work`` in one transaction and commit it.

        ``work`` runs again after a conflict with another transaction: it must have no other effects. Raises
        ConflictRetry when ``ATTEMPTS`` did not help; DuplicateKeyError passes. However it ends, it does not stay open
        on the server; if its caller leaves, it is aborted after the statement that is under way.
        """
        return await self._work.run(partial(self._transaction, work))

    async def _transaction(self, work: Callable[[ClientSession], Awaitable[T]]) -> T:
        with self._told({}):
            until = monotonic() + self._seconds()
            await self._find()
            for attempt in range(1, ATTEMPTS):
                pause = random.uniform(0.5, 1.0) * 0.005 * 2**attempt  # noqa: S311
                try:
                    return await self._attempt(work, until)
                except PyMongoError as error:
                    # Timeouts have this label, too, but without time left the transaction must not run again.
                    if not error.has_error_label(TRANSIENT_TRANSACTION) or monotonic() + pause >= until:
                        raise
                await asyncio.sleep(pause)
            return await self._attempt(work, until)

    async def _attempt(self, work: Callable[[ClientSession], Awaitable[T]], until: float) -> T:
        proceed()
        async with await self.driver.start_session() as session:
            await self.driver.begin(session)
            try:
                # 0 would mean for ever.
                with pymongo.timeout(max(0.001, until - monotonic())):
                    result = await work(session)
                    proceed()
                    await session.commit_transaction()
            except BaseException:
                await self._end(session)
                raise
        return result

    async def _end(self, session: ClientSession) -> None:
        """End a transaction that failed on the server, too, within a time limit of its own."""
        with suppress(PyMongoError), pymongo.timeout(ABORT_SECONDS):
            if session.in_transaction:
                await session.abort_transaction()
            else:
                # Its commit failed or was not answered, and may not have arrived; if it did, it stays committed.
                await self.driver.client.admin.command({"killSessions": [session.session_id]})


def _options(settings: MongoDBSettings) -> dict[str, Any]:
    return {
        "appname": APPLICATION,
        "maxPoolSize": settings.mongodb_connection_pool_size - MONITORING,
        "serverSelectionTimeoutMS": settings.mongodb_server_selection_timeout_ms,
        "connectTimeoutMS": settings.mongodb_connect_timeout_ms,
        "w": "majority",
        # Whatever the URL says: idempotency, marks and watches would be wrong on other members. Reads that others may
        # answer name them (``CausalRead``).
        "readPreference": "primary",
        "retryWrites": True,
        "retryReads": True,
    }
