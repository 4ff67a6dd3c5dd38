"""Detached work: it runs in a task of its own, so that a caller that is cancelled does not cancel the driver's work.

A cancellation in the middle of a driver's work costs at least a connection. Together with a timeout it left PyMongo's
pool locked for ever on Python 3.11 (docs/decisions/0056). So a caller waits until its deadline at most, and the work
goes on without it. The gate of the pool limits how much such work there is, and limits of its own how long it takes. A
transaction calls ``proceed`` between its statements, and ends early where its caller has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

from chassis.context import deadline
from chassis.errors import CallDeadlineExceeded
from chassis.pooling.gate import PoolGate

T = TypeVar("T")

# Seconds that ``close`` waits for work that is still running, and then again for its cancellation.
CLOSING_SECONDS: Final = 1.0

# The future that the caller of the current work waits for. If it is done before the work is, nobody waits any more.
_awaited: Final[ContextVar[asyncio.Future[Any] | None]] = ContextVar("awaited", default=None)


class CallerLeft(Exception):
    """Nobody waits for the work any more; it never reaches a caller."""


def proceed() -> None:
    """Raise CallerLeft where nobody waits for the current work; to be called where the work can safely end."""
    awaited = _awaited.get()
    if awaited is not None and awaited.done():
        raise CallerLeft


class Detached:
    """Runs work on one pool, at most as much at a time as its gate admits."""

    def __init__(self, gate: PoolGate) -> None:
        self.gate: Final = gate
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How much work is running, with or without a caller."""
        return len(self._tasks)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out ``work``, in the caller's context but for its deadline, and return its result or raise its error.

        Raises CallDeadlineExceeded once the caller's time is up; Overloaded where the pool stays full, or
        DatabaseUnavailable where the database is away. Work that has no caller (``deadline.alone``) runs where it is.
        """
        if deadline.is_alone():
            await self.gate.enter()
            try:
                return await work()
            finally:
                self.gate.leave()
        left = deadline.remaining()
        if left is not None and left <= 0:
            raise CallDeadlineExceeded
        await self.gate.enter()
        return await self._apart(work)

    async def _apart(self, work: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[T] = loop.create_future()
        self._tasks.add(loop.create_task(self._carry_out(work, awaited)))
        left = deadline.remaining()
        if left is None:
            return await awaited
        timer = loop.call_later(left, _expire, awaited)
        try:
            return await awaited
        finally:
            timer.cancel()

    async def _carry_out(self, work: Callable[[], Awaitable[T]], awaited: asyncio.Future[T]) -> None:
        _awaited.set(awaited)
        deadline.leave_caller()
        try:
            result = await work()
        except asyncio.CancelledError:
            # Only a stopping process cancels work; nobody must wait for it for ever.
            awaited.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's, where there is one
            if not awaited.done():
                awaited.set_exception(error)
        else:
            if not awaited.done():
                awaited.set_result(result)
        finally:
            self.gate.leave()
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def close(self) -> None:
        """Wait for work that is still running, then cancel it; takes twice ``CLOSING_SECONDS`` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)


def _expire(awaited: asyncio.Future[Any]) -> None:
    if not awaited.done():
        awaited.set_exception(CallDeadlineExceeded())
