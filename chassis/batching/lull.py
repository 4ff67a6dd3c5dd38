"""Idle callbacks: called once the event loop has had nothing to do for a moment.

While the loop is busy with other calls, putting a query off delays nobody, and the query can take those calls' keys
along. Once the loop is idle, waiting longer gains nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Final

# A callback is put off no longer than this.
LONGEST_SECONDS: Final = 0.005
# A turn of the loop that took longer had work to do.
_IDLE_TURN_SECONDS: Final = 0.000_04


class Lull:
    """Calls back, in a context, once the loop was idle for ``quiet`` seconds, or after ``LONGEST_SECONDS``.

    It looks at every turn of the loop, which keeps the thread awake meanwhile. A timer would be too coarse: the loop's
    timers are a millisecond apart.
    """

    __slots__ = ("_callback", "_context", "_last", "_latest", "_loop", "_next", "_quiet", "_quiet_since")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object], context: Context, quiet: float
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._context = context
        self._quiet = quiet
        self._last = self._quiet_since = monotonic()
        self._latest = self._last + LONGEST_SECONDS
        self._next = loop.call_soon(self._look, context=self._context)

    def cancel(self) -> None:
        """Do not call back."""
        self._next.cancel()

    def _look(self) -> None:
        now = monotonic()
        if now - self._last > _IDLE_TURN_SECONDS:
            self._quiet_since = now
        self._last = now
        if now - self._quiet_since >= self._quiet or now >= self._latest:
            self._callback()
        else:
            self._next = self._loop.call_soon(self._look, context=self._context)
