"""Calling back in a lull: once the event loop has had nothing to do for a moment.

Work that can be put off costs those who wait for it nothing while the loop is busy with other calls, and gains from
every one of them that it can take along; once the loop is idle, waiting longer would only be waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Final

# The longest to put it off.
LONGEST_SECONDS: Final = 0.005
# A turn of the loop that took longer had work to do.
_IDLE_TURN_SECONDS: Final = 0.000_04


class Lull:
    """Calls back, in a context, after ``quiet`` seconds with no work, and within ``LONGEST_SECONDS`` at any rate.

    It looks at every turn of the loop, which keeps its thread awake meanwhile: timers come a whole millisecond apart,
    and by then the moment has passed.
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
