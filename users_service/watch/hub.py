"""The hub: one loop per process that brings events into their order, reads them, and hands them to all watchers.

While somebody watches it looks after each commit of this process and every ``WATCH_POLL_MS``; otherwise every few
seconds, so that events are in order, and purged in time, whether or not anybody watches.
"""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

from chassis.errors import DatabaseUnavailable, ServiceError, ShuttingDown
from chassis.logs import logging
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from chassis.watching.pauses import pause
from users_service.events.model import OrderState, Place, PlaceLost, UserEvent
from users_service.events.sequencer import Sequencer
from users_service.watch.history import PART, after
from users_service.watch.limits import WatchLimits
from users_service.watch.messages import Responses
from users_service.watch.watcher import Watcher

# How often a process that nobody watches looks.
UNWATCHED_SECONDS: Final = 5.0
# From one look to the next, at least: what is committed meanwhile is dealt with together.
GATHERING_SECONDS: Final = 0.01
# Events offered to watchers before the other tasks of the loop get their turn.
BURST: Final = 256

log = logging.get(__name__)


class Hub:
    """Keeps the watchers of this process, and the place up to which they have all events."""

    def __init__(
        self,
        sequencer: Sequencer,
        responses: Responses,
        limits: WatchLimits,
        draining: asyncio.Event,
    ) -> None:
        # None: nobody watches, or what follows is not known.
        self.place: Place | None = None
        self._sequencer = sequencer
        self._responses = responses
        self._limits = limits
        self._draining = draining
        self._watchers: set[Watcher] = set()
        self._joining: dict[Watcher, asyncio.Future[None]] = {}
        self._due = asyncio.Event()
        # Events offered since the other tasks of the loop had their turn.
        self._handed = 0
        # When it looked last, successfully (the loop's clock).
        self._looked_at = asyncio.get_running_loop().time()

    @property
    def lag(self) -> float:
        """For how many seconds the database could not be looked at, beyond the time between two looks."""
        rest = self._limits.poll if self._is_watched else UNWATCHED_SECONDS
        return max(0.0, asyncio.get_running_loop().time() - self._looked_at - rest)

    @property
    def _is_watched(self) -> bool:
        return bool(self._watchers or self._joining)

    def wake(self) -> None:
        """Look now, if anybody watches: this process has committed an event."""
        if self._is_watched:
            self._due.set()

    async def join(self, watcher: Watcher) -> None:
        """Pass events from now on to the watcher: those that were committed before the call are not among them.

        Raises ShuttingDown, or DatabaseUnavailable where the database does not answer in time.
        """
        if self._draining.is_set():
            raise ShuttingDown
        joined = self._joining[watcher] = asyncio.get_running_loop().create_future()
        self._due.set()
        try:
            async with asyncio.timeout(self._limits.start):
                await joined
        except TimeoutError:
            raise DatabaseUnavailable from None
        finally:
            self._joining.pop(watcher, None)

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher; does nothing if it has not joined."""
        self._watchers.discard(watcher)

    async def run(self) -> NoReturn:
        """Look for events for ever."""
        failures = 0
        while True:
            await self._rest(failures)
            failures = failures + 1 if await self._failed() else 0

    async def end_with_drain(self) -> None:
        """End every watch once the server drains, and refuse those that are joining."""
        await self._draining.wait()
        self.close()

    def close(self) -> None:
        """End every watch."""
        self._end_all(ShuttingDown)
        for joined in self._joining.values():
            if not joined.done():
                joined.set_exception(ShuttingDown())

    def _end_all(self, error: type[ServiceError]) -> None:
        watchers = list(self._watchers)
        self._watchers.clear()
        for watcher in watchers:
            watcher.end(error)

    async def _rest(self, failures: int) -> None:
        # Where nobody watches, there is no hurry, and the log of an outage stays short.
        if failures and self._is_watched:
            await asyncio.sleep(pause(failures))
            return
        try:
            async with asyncio.timeout(self._limits.poll if self._is_watched else UNWATCHED_SECONDS):
                await self._due.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHERING_SECONDS)

    async def _failed(self) -> bool:
        try:
            await self._look()
        except PlaceLost as lost:
            log.warning("the history of events is broken: watchers have to list anew", problem=str(lost))
            self._forget(ResumeTokenExpired)
            return False
        except ServiceError as error:
            log.warning("watch interrupted", reason=error.reason)
        except Exception:
            # A defect in one look must not end all later ones.
            log.exception("watch interrupted")
        else:
            return False
        self._note_outage()
        return True

    async def _look(self) -> None:
        self._due.clear()
        # Those that come later may know of commits that this look does not see.
        joining = list(self._joining)
        state = await self._sequencer.sequence()
        if self._is_watched:
            await self._follow(state)
        else:
            self.place = None
        self._looked_at = asyncio.get_running_loop().time()
        for watcher in joining:
            self._admit(watcher)

    async def _follow(self, state: OrderState) -> None:
        """Hand on everything up to where a look has reached, and what has followed meanwhile in the same part."""
        if self.place is None:
            self.place = (await self._sequencer.look()).last
            return
        _check(self.place, state)
        while self.place.seq < state.reached:
            events = after(await self._sequencer.following(self.place, PART), self.place)
            if not events:
                # Lost since then, as after a failover; what is there, the next look sees.
                return
            for event in events:
                await self._hand_on(event)

    async def _hand_on(self, event: UserEvent) -> None:
        told = self._responses.of(event) if self._watchers else None
        if told is not None:
            for watcher in [each for each in self._watchers if each.wants(told)]:
                if not watcher.offer(told):
                    self.leave(watcher)
        self.place = event.place
        self._handed += len(self._watchers)
        if self._handed > BURST:
            # The watchers, and the other tasks of the loop, get their turn.
            self._handed = 0
            await asyncio.sleep(0)

    def _admit(self, watcher: Watcher) -> None:
        joined = self._joining.get(watcher)
        if joined is not None and not joined.done() and self.place is not None:
            watcher.join(self.place)
            self._watchers.add(watcher)
            joined.set_result(None)

    def _note_outage(self) -> None:
        """End all watches after an outage that is too long: another process may reach the database."""
        if asyncio.get_running_loop().time() - self._looked_at > self._limits.outage:
            self._forget(WatchInterrupted)

    def _forget(self, error: type[ServiceError]) -> None:
        self._end_all(error)
        self.place = None


def _check(place: Place, state: OrderState) -> None:
    """Raise PlaceLost where a database has events in the place of others, as after a failover that lost some."""
    last = state.last
    if place.seq > state.reached or place.epoch != last.epoch or (place.seq == last.seq and place.contradicts(last)):
        raise PlaceLost("the database does not have the events that it had")
