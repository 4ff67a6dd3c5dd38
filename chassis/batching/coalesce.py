"""Coalescing: point reads that arrive together become one query.

While ``max_in_flight`` queries run, new keys gather, and the next query takes all of them. So one query answers many
calls under load, and a lone call waits for nobody.

When many calls come at once, the next query also waits until the event loop has dealt with all of them
(``chassis.batching.lull``). A query that is full starts at once: the database works on it while the callers of the
last one get their answers.
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

# The load from which on the next query waits for more keys: keys of the last query, of those that run and of the next
# one, added up. From here on more keys are almost certainly on their way; below, no call waits.
CROWD: Final = 5
# How long the event loop must be idle before such a query starts, for each of those keys: the more calls there are,
# the longer the next one may take to arrive.
QUIET_SECONDS_A_KEY: Final = 0.000_03
LONGEST_QUIET_SECONDS: Final = 0.000_3

# How much later than its own limit a query is cancelled: a driver that is about to give up by itself must not be
# cancelled at that very instant (docs/decisions/0056).
GRACE_SECONDS: Final = 0.25

Fetch = Callable[[list[K]], Awaitable[Mapping[K, V | Exception]]]
_Batch = dict[K, list[asyncio.Future[V | None]]]


class Coalescer(Generic[K, V]):
    """Gathers ``get`` calls into calls of ``fetch``.

    ``fetch`` gets 1 to ``max_batch`` distinct keys and returns what it found. An exception that it returns under a key
    is raised to those who asked for that key, and to nobody else. ``timeout``: seconds for one query. Inside
    ``fetch``, ``deadline.remaining()`` returns what is left of them; a query that takes longer ends with
    ``DatabaseUnavailable``. A query runs outside the context of the calls that it serves, except that it appears in
    their traces (``trace.shared``).
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
        # The active span of the first caller to ask for each key, if that caller is traced.
        self._callers: dict[K, trace.ActiveSpan] = {}
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
            # The next query is sent before the callers of this one go on, which may take longer than a query does.
            # A turn of the loop lies in between, because PyMongo sends from a task of its own.
            self._dispatch()
            loop.call_soon(self._settle, batch, task)
        else:
            self._settle(batch, task)
            # Only once they have gone on: until then the loop is not idle.
            loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        if self._waiting and self._due is None and len(self._running) < self._max_in_flight:
            self._schedule(asyncio.get_running_loop())

    def _take(self) -> tuple[_Batch[K, V], list[trace.ActiveSpan]]:
        """Take the oldest keys that somebody still waits for, and the active spans of callers that are traced."""
        batch: _Batch[K, V] = {}
        callers: list[trace.ActiveSpan] = []
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
