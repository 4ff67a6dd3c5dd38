"""Coalescing: point reads that arrive together become one query.

While ``max_in_flight`` queries run, new keys gather; the next query takes all of them. Where calls come in
crowds, keys gather until the event loop has dealt with the rest of the crowd (``chassis.batching.lull``), or until a
query is full: then the database works on it while the callers of the last one get their answers. Under load
one query answers many calls, and a lone call waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Mapping
from itertools import islice
from typing import Final, Generic, TypeVar

from chassis.batching.lull import Lull
from chassis.context import deadline, trace
from chassis.errors import DatabaseUnavailable, ServiceError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# From so many keys on, those of the query that ended last, of those that run and of the next one, more are surely on
# their way. To wait for them spares most calls a query of their own; where calls are fewer, none waits.
CROWD: Final = 5
# How long the event loop must be idle before a crowd's query starts: the more there are, the longer the next one may
# still be on its way.
QUIET_SECONDS_A_KEY: Final = 0.000_03
LONGEST_QUIET_SECONDS: Final = 0.000_3

# How much later than its own limit a query is cancelled: a driver that is about to give up by itself must not be
# cancelled at that very instant (docs/decisions/0056).
GRACE_SECONDS: Final = 0.25

Fetch = Callable[[list[K]], Awaitable[Mapping[K, V | Exception]]]
_Batch = dict[K, list[asyncio.Future[V | None]]]


class Coalescer(Generic[K, V]):
    """Gathers ``get`` calls into calls of ``fetch``.

    ``fetch`` gets 1 to ``max_batch`` distinct keys and returns what it found; an exception that it returns under a key
    is raised for those who asked for that key, and nobody else. ``timeout`` in seconds is what a query
    has; inside ``fetch``, ``deadline.remaining()`` is what is left of it, and one that does not keep to it ends with
    ``DatabaseUnavailable`` a moment later. The query runs outside the context of the calls it serves: it belongs to
    none of them, but for their traces (``trace.shared``).
    """

    def __init__(
        self,
        fetch: Fetch[K, V],
        *,
        max_batch: int = 64,
        max_in_flight: int = 2,
        timeout: float = 5.0,
        timed_out: type[ServiceError] = DatabaseUnavailable,
    ) -> None:
        self._fetch = fetch
        self._max_batch: Final = max_batch
        self._max_in_flight: Final = max_in_flight
        self._timeout: Final = timeout
        self._timed_out = timed_out
        # Each waiter has a future of its own, so that one that is cancelled takes nobody along.
        self._waiting: _Batch[K, V] = {}
        # Where traced callers that were the first to ask for a key are in their traces.
        self._callers: dict[K, trace.Position] = {}
        self._running: dict[asyncio.Task[Mapping[K, V | Exception]], _Batch[K, V]] = {}
        # The next query, if it is about to start.
        self._due: asyncio.Handle | Lull | None = None
        # Keys of the query that ended last.
        self._answered = 0

    def get(self, key: K) -> asyncio.Future[V | None]:
        """Return what ``fetch`` will find under ``key``; None when nothing. Await it.

        A key joins only a query that has not started: one under way may have read the row before a
        change that the caller has already seen.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[V | None] = loop.create_future()
        waiters = self._waiting.get(key)
        if waiters is None:
            self._waiting[key] = [waiter]
            if (caller := trace.current()) is not None:
                self._callers[key] = caller
        else:
            waiters.append(waiter)
        if len(self._running) < self._max_in_flight:
            if len(self._waiting) >= self._max_batch:
                contextvars.Context().run(self._dispatch)
            elif self._due is None:
                self._schedule(loop)
        return waiter

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        # In an empty context: a query belongs to none of the calls it serves.
        context = contextvars.Context()
        keys = self._answered + sum(map(len, self._running.values())) + len(self._waiting)
        if keys >= CROWD:
            quiet = min(keys * QUIET_SECONDS_A_KEY, LONGEST_QUIET_SECONDS)
            self._due = Lull(loop, self._dispatch, context, quiet)
        else:
            self._due = loop.call_soon(self._dispatch, context=context)

    def _dispatch(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        while self._waiting and len(self._running) < self._max_in_flight:
            batch, callers = self._take()
            if batch:
                context = trace.shared(callers) if callers else None
                task = asyncio.get_running_loop().create_task(self._fetch_in_time(list(batch)), context=context)
                self._running[task] = batch
                task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Mapping[K, V | Exception]]) -> None:
        batch = self._running.pop(task)
        self._answered = len(batch)
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self._max_batch and not task.cancelled():
            # Sent before the callers of this one go on, which may take them longer than a query. A turn of the loop
            # lies between, for PyMongo sends from a task of its own.
            self._dispatch()
            loop.call_soon(self._settle, batch, task)
        else:
            self._settle(batch, task)
            # Not before they have gone on, for that is no lull.
            loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        if self._waiting and self._due is None and len(self._running) < self._max_in_flight:
            self._schedule(asyncio.get_running_loop())

    def _take(self) -> tuple[_Batch[K, V], list[trace.Position]]:
        """Take the oldest keys, leaving out those that nobody waits for any more, and who asked if that is traced."""
        batch: _Batch[K, V] = {}
        callers: list[trace.Position] = []
        for key in list(islice(self._waiting, self._max_batch)):
            waiters = self._waiting.pop(key)
            caller = self._callers.pop(key, None)
            if not all(waiter.done() for waiter in waiters):
                batch[key] = waiters
                if caller is not None:
                    callers.append(caller)
        return batch, callers

    def _settle(self, batch: _Batch[K, V], task: asyncio.Task[Mapping[K, V | Exception]]) -> None:
        if task.cancelled():
            # Only a stopping loop cancels a query; nobody must wait for it for ever.
            _cancel(batch)
        elif isinstance(error := task.exception(), TimeoutError):
            _fail(batch, self._timed_out())
        elif error is not None:
            _fail(batch, error)
        else:
            _deliver(batch, task.result())

    async def _fetch_in_time(self, keys: list[K]) -> Mapping[K, V | Exception]:
        with deadline.alone(self._timeout):
            async with asyncio.timeout(self._timeout + GRACE_SECONDS):
                return await self._fetch(keys)


def _deliver(batch: _Batch[K, V], found: Mapping[K, V | Exception]) -> None:
    for key, waiters in batch.items():
        value = found.get(key)
        if isinstance(value, Exception):
            _fail({key: waiters}, value)
            continue
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(value)


def _fail(batch: _Batch[K, V], error: BaseException) -> None:
    for waiters in batch.values():
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)


def _cancel(batch: _Batch[K, V]) -> None:
    for waiters in batch.values():
        for waiter in waiters:
            waiter.cancel()
