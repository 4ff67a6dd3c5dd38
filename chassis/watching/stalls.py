"""Stalled watches: their callers take nothing, and gRPC alone would let them stand for as long as they answer pings.

A response waits in ``write`` until its caller has room for it (HTTP/2's windows). How long one has waited is counted in
looks of the event loop and not by a clock, so that a loop that is busy or held is not taken for a slow caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from chassis.errors import ServiceError
from chassis.watching.errors import WatcherTooSlow
from chassis.watching.limits import WatcherLimits
from chassis.watching.watcher import QueuedWatcher

WriteEvent = Callable[[Any], Awaitable[None]]

# Ends a watch whose response is still waiting.
GiveUp = Callable[[ServiceError], None]

# Looks within the patience with a watcher that is behind, and the longest time between two, in seconds.
_LOOKS: Final = 8
_LONGEST_SECONDS: Final = 0.25


class _Waiting:
    """The response of a watch that waits to be taken, and for how many looks it has."""

    __slots__ = ("give_up", "looks", "watcher")

    def __init__(self, watcher: QueuedWatcher[Any], give_up: GiveUp) -> None:
        self.watcher = watcher
        self.give_up = give_up
        self.looks = 0


class Stalls:
    """Looks after the responses of a process that wait to be taken; while none waits, nothing runs."""

    def __init__(self, limits: WatcherLimits) -> None:
        self._pause = min(limits.patience / _LOOKS, _LONGEST_SECONDS)
        self._patience = limits.patience
        self._untaken = limits.untaken
        self._waiting: set[_Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None

    def guarded(self, write: WriteEvent, watcher: QueuedWatcher[Any], give_up: GiveUp) -> WriteEvent:
        """Return the ``write`` of a watch, and call ``give_up`` once its caller lets a response wait for too long.

        The watch then ends as soon as the response is taken, if ever.
        """
        waiting = _Waiting(watcher, give_up)

        async def guarded(response: Any) -> None:
            waiting.looks = 0
            self._waiting.add(waiting)
            if self._timer is None:
                self._look_later()
            try:
                await write(response)
            finally:
                self._waiting.discard(waiting)

        return guarded

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def _look(self) -> None:
        self._timer = None
        for waiting in list(self._waiting):
            waiting.looks += 1
            if waiting.looks * self._pause >= self._allowed(waiting.watcher):
                self._waiting.discard(waiting)
                waiting.watcher.end(WatcherTooSlow)
                waiting.give_up(waiting.watcher.error())
        if self._waiting:
            self._look_later()

    def _allowed(self, watcher: QueuedWatcher[Any]) -> float:
        """Return how many seconds a response may wait: fewer where more happens than is kept, or the watch is over."""
        hurried = (watcher.behind and watcher.settled) or watcher.ended.done()
        return self._patience if hurried else self._untaken
