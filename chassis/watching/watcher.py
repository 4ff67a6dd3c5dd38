"""One watcher's queue of events: bounded, and cheap while nothing happens."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from chassis.errors import ServiceError
from chassis.watching.errors import WatchInterrupted

E = TypeVar("E")


class QueuedWatcher(Generic[E]):
    """The queue of one call that watches, which a hub fills.

    Once the queue is full, the watcher is ``behind``: it gets no more events, returns those that it has, and has to
    catch up and begin again.
    """

    __slots__ = ("_error", "_limit", "_loop", "_queue", "_waiter", "behind", "ended", "settled")

    def __init__(self, limit: int) -> None:
        """``limit``: events that wait in memory."""
        self.behind = False
        # Whether it has been up to date once: a snapshot, or a long history, may take its time.
        self.settled = False
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._error: type[ServiceError] | None = None
        self._limit = limit
        self._queue: deque[E] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Begin to take events, with an empty queue."""
        self.behind = False
        self._queue.clear()

    def offer(self, event: E) -> bool:
        """Queue an event; False when there is no room, and from then on until it begins again."""
        if len(self._queue) >= self._limit:
            self.behind = True
        if self.behind:
            return False
        self._queue.append(event)
        self._wake()
        return True

    def end(self, error: type[ServiceError]) -> None:
        """End the watch and drop queued events: the caller's last token resumes before them."""
        self._error = self._error or error
        self._queue.clear()
        if not self.ended.done():
            self.ended.set_result(None)
        self._wake()

    def error(self) -> ServiceError:
        """Return the error that has ended the watch."""
        return (self._error or WatchInterrupted)()

    def check(self) -> None:
        """Raise the error that ends the watch, if there is one."""
        if self._error is not None:
            raise self._error

    async def next(self, timeout: float) -> E | None:  # noqa: ASYNC109 - a timer is cheaper than a scope
        """Return the next event; None when none came in ``timeout`` seconds or the watcher is behind."""
        if not self._queue and not self.behind and self._error is None:
            self.settled = True
            await self._wait(timeout)
        self.check()
        return self._queue.popleft() if self._queue else None

    async def _wait(self, seconds: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
