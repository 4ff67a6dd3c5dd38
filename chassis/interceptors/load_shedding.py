"""Load shedding: beyond a limit of calls in flight, refuse at once instead of queueing.

Health and reflection are registered past the interceptors, so probes are never refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chassis.errors import Overloaded
from chassis.interceptors import Context, Handler, Interceptor, Method


class InFlight:
    """Counts the calls being served; unary calls and streams have limits of their own.

    A stream is open for hours and mostly idle: counted together, a thousand watchers would leave no
    room for calls.
    """

    def __init__(self, max_unary: int, max_streams: int) -> None:
        self.limits = {False: max_unary, True: max_streams}
        self.counts = {False: 0, True: 0}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def total(self) -> int:
        """Return the number of calls and streams being served now."""
        return self.counts[False] + self.counts[True]

    def enter(self, streaming: bool) -> None:
        """Count a call in, or raise ``Overloaded``."""
        if self.counts[streaming] >= self.limits[streaming]:
            raise Overloaded
        self.counts[streaming] += 1
        self._idle.clear()

    def leave(self, streaming: bool) -> None:
        """Count a call out."""
        self.counts[streaming] -= 1
        if self.total == 0:
            self._idle.set()

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is in flight; False when ``seconds`` were not enough."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True


def load_shedding(in_flight: InFlight) -> Interceptor:
    """Make the interceptor that counts into ``in_flight``."""

    def intercept(method: Method, handler: Handler) -> Handler:
        streaming = method.streaming
        enter, leave = in_flight.enter, in_flight.leave

        async def handle(request: Any, context: Context) -> Any:
            enter(streaming)
            try:
                return await handler(request, context)
            finally:
                leave(streaming)

        return handle

    return intercept
