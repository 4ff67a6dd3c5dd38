"""The hub: one change stream per process, whose events go to the watchers of the user concerned.

It opens with the first watcher, survives elections and restarts of the database by resuming after the last event that
it passed on, and closes some time after the last watcher has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Final

from bson import Timestamp
from pymongo.errors import PyMongoError

from chassis import background
from chassis.errors import DatabaseUnavailable, ServiceError, ShuttingDown
from chassis.logs import logging
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from chassis.watching.pauses import pause
from notifications_service.clock import MillisecondClock
from notifications_service.notification import documents
from notifications_service.notification.filters import Filter
from notifications_service.watch import changes
from notifications_service.watch.change_stream import ChangeStream
from notifications_service.watch.changes import ChangeEvent, HistoryLost, StreamPosition
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.watcher import Event, Watcher

Open = Callable[[StreamPosition], AbstractAsyncContextManager[ChangeStream]]
Now = Callable[[], Awaitable[Timestamp]]
ToEvent = Callable[[ChangeEvent, Filter], Event | None]

# While nothing happens, the stream is read about this often.
_READ_SECONDS: Final = 1.0
# Events handed on before the other tasks of the loop get their turn.
_BURST: Final = 16


class Hub:
    """Keeps the watchers of this process by user, and the position of the shared stream."""

    def __init__(
        self,
        open_stream: Open,
        now: Now,
        convert: ToEvent,
        limits: WatchLimits,
        draining: asyncio.Event,
        *,
        clock: MillisecondClock,
    ) -> None:
        """``now``: asks the database for a cluster time by which everything acknowledged so far was committed."""
        self.position: StreamPosition | None = None
        # Commit time of the last event handed on.
        self.changed_at: Timestamp | None = None
        self._open = open_stream
        self._now = now
        self._convert = convert
        self._limits = limits
        self._draining = draining
        self._clock = clock
        self._watchers: dict[str, set[Watcher]] = {}
        # Set while the stream is open, short interruptions included.
        self._ready = asyncio.Event()
        # When it was last read (the loop's clock).
        self._read_at = 0.0
        # Whether the last read reached the end of the stream.
        self._at_end = True
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.TimerHandle | None = None
        self._log = logging.get(__name__)

    @property
    def lag(self) -> float:
        """How far the shared stream is behind, in seconds: 0 at its end, and while nobody watches.

        While there is more to read, it is the age of the last event by the clock of the database's host; while the
        stream cannot be read, the time since the last read.
        """
        if not self._tasks:
            return 0.0
        unread = max(0.0, asyncio.get_running_loop().time() - self._read_at - _READ_SECONDS)
        if self._at_end or self.changed_at is None:
            return unread
        return max(unread, documents.milliseconds(self._clock()) / 1000 - self.changed_at.time)

    async def join(self, watcher: Watcher) -> None:
        """Pass events from now on to the watcher.

        Raises ShuttingDown, or DatabaseUnavailable when the shared stream does not open in time.
        """
        self._keep_open()
        watcher.join(await self._standing())
        self._watchers.setdefault(watcher.user_id, set()).add(watcher)

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher; does nothing if it has not joined."""
        watchers = self._watchers.get(watcher.user_id, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(watcher.user_id, None)
        if not self._watchers and self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(self._limits.linger, self._stop_if_idle)

    async def close(self) -> None:
        """End every watch and close the stream."""
        self._end_all(ShuttingDown)
        running = list(self._tasks)
        self._stop()
        await background.end(running)

    async def _standing(self) -> StreamPosition:
        """Wait until the shared stream is open and return its position."""
        try:
            async with asyncio.timeout(self._limits.start):
                while not self._draining.is_set():
                    await self._ready.wait()
                    if self._ready.is_set() and self.position is not None:
                        return self.position
        except TimeoutError:
            raise DatabaseUnavailable from None
        raise ShuttingDown

    def _keep_open(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._tasks:
            return
        self._read_at = asyncio.get_running_loop().time()
        # In a context of their own, because they outlive the call that starts them, and its deadline.
        for work in (self._run(), self._end_with_drain()):
            task = asyncio.create_task(work, context=Context())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    def _stop_if_idle(self) -> None:
        self._closing = None
        # A watcher may have joined since the last one left.
        if not self._watchers:
            self._stop()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._forget_position()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End all watches if a defect has ended the stream, so that none waits for it."""
        if task.cancelled() or task.exception() is None:
            return
        self._log.error("watch stream ended", exc_info=task.exception())
        self._end_all(WatchInterrupted)
        self._stop()

    def _forget_position(self) -> None:
        self.position = self.changed_at = None
        self._ready.clear()

    async def _end_with_drain(self) -> None:
        await self._draining.wait()
        self._ready.set()
        self._end_all(ShuttingDown)

    def _end_all(self, error: type[ServiceError]) -> None:
        watchers = [watcher for group in self._watchers.values() for watcher in group]
        self._watchers.clear()
        for watcher in watchers:
            watcher.end(error)

    async def _run(self) -> None:
        failures = 0
        while True:
            before = self._read_at
            try:
                await self._follow()
            except HistoryLost as error:
                self._log.warning("watch history lost", problem=str(error))
                self._end_all(ResumeTokenExpired)
                self._forget_position()
            except (PyMongoError, OSError, TimeoutError, ServiceError) as error:
                self._log.warning("watch stream interrupted", kind=type(error).__name__)
                self._note_outage()
            failures = 0 if self._read_at != before else failures + 1
            await asyncio.sleep(pause(failures))

    async def _follow(self) -> None:
        if self.position is None:
            self.position = changes.before(await self._now())
        async with self._open(self.position) as stream:
            self._ready.set()
            unbroken = 0
            while True:
                found = await stream.next()
                if asyncio.current_task() not in self._tasks:
                    # It was stopped, and the driver has lost the cancellation (see ``background.end``).
                    raise asyncio.CancelledError
                for change in found or ():
                    self._hand_on(change)
                self.position, self._read_at = stream.position, asyncio.get_running_loop().time()
                self._at_end = found is None
                unbroken = 0 if found is None else unbroken + 1
                if unbroken % _BURST == _BURST - 1:
                    # Reading events that have arrived already does not yield to other tasks.
                    await asyncio.sleep(0)

    def _note_outage(self) -> None:
        """End all watches after an outage that is too long: another process may reach the database."""
        if asyncio.get_running_loop().time() - self._read_at > self._limits.outage:
            self._ready.clear()
            self._end_all(WatchInterrupted)

    def _hand_on(self, change: ChangeEvent) -> None:
        self.changed_at = change.at
        # Converted once for each filter, which costs less than to write the event to the watcher that has it.
        events: dict[Filter, Event | None] = {}
        for watcher in tuple(self._watchers.get(change.user_id, ())):
            if watcher.chosen not in events:
                events[watcher.chosen] = self._convert(change, watcher.chosen)
            event = events[watcher.chosen]
            if event is not None and not watcher.offer(event):
                self.leave(watcher)
