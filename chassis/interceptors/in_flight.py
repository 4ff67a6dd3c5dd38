"""Calls in flight: refuse beyond a limit instead of queueing, and end what runs past the cap.

Health and reflection are registered past the interceptors, so probes are never refused.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

from chassis.calls import Call
from chassis.errors import Overloaded

_SWEEP_SECONDS: Final = 0.05


class InFlight:
    """The calls being served; unary calls and streams have limits of their own.

    A stream is open for hours and mostly idle: counted together, a thousand watchers would leave no
    room for calls. ``cap`` is the longest a unary call may run, in seconds; gRPC itself cancels a
    handler at its caller's deadline, so this matters to callers with none, or with a longer one.
    """

    def __init__(self, max_unary: int, max_streams: int, cap: float) -> None:
        self.cap = cap
        self._max_unary = max_unary
        self._max_streams = max_streams
        self._unary: dict[Call, None] = {}
        self._streams: dict[Call, None] = {}

    @property
    def total(self) -> int:
        """Return the number of calls and streams being served now."""
        return len(self._unary) + len(self._streams)

    @property
    def now(self) -> dict[str, int]:
        """Return the calls being served now, by kind."""
        return {"unary": len(self._unary), "stream": len(self._streams)}

    @property
    def limits(self) -> dict[str, int]:
        """Return how many calls of each kind are served at once."""
        return {"unary": self._max_unary, "stream": self._max_streams}

    def admit(self, call: Call) -> None:
        """Count a unary call in and start its cap, or raise ``Overloaded``."""
        unary = self._unary
        if len(unary) >= self._max_unary:
            raise Overloaded
        call.cap = self.cap
        call.task = asyncio.current_task()
        unary[call] = None

    def admit_stream(self, call: Call) -> None:
        """Count a stream in, or raise ``Overloaded``."""
        if len(self._streams) >= self._max_streams:
            raise Overloaded
        self._streams[call] = None

    def release(self, call: Call) -> None:
        """Count a call out; one that was never admitted is ignored."""
        self._unary.pop(call, None)

    def release_stream(self, call: Call) -> None:
        """Count a stream out; one that was never admitted is ignored."""
        self._streams.pop(call, None)

    async def enforce_cap(self) -> None:
        """Cancel calls that ran past the cap, for ever; 0.05 s late at most.

        One sweep for all calls: a timer for each costs 9 µs, 6% of a bare call. Calls are kept in the
        order of their start and share one cap, so a sweep stops at the first young one.
        """
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(monotonic())

    def sweep(self, now: float) -> None:
        """Cancel the calls that are past the cap at the time ``now`` (``time.monotonic``)."""
        for call in self._unary:
            if call.started + self.cap > now:
                return
            if not call.expired and call.task is not None:
                call.expired = True
                call.task.cancel()

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False when ``seconds`` were not enough."""
        end = monotonic() + seconds
        while self.total and monotonic() < end:  # noqa: ASYNC110 - an event would cost every call
            await asyncio.sleep(0.01)
        return self.total == 0


def cancelled_by_cap(call: Call | None) -> bool:
    """Say whether a cancellation came from the cap, and take it back from the task if so."""
    if call is None or not call.expired:
        return False
    task: asyncio.Task[Any] | None = call.task
    if task is not None:
        task.uncancel()
    return True
