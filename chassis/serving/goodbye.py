"""The end of a drain: a moment without new calls, in which the listeners say goodbye and cut none of them off.

gRPC's core ends with CANCELLED, which few retry policies repeat, what reaches a server between the beginning of its
shutdown and its client's knowledge of that (GOAWAY). So calls that arrive at the end of a drain wait: callers that wait
for an answer send nothing, and once all is quiet nobody's call is on the way. After the goodbye those that wait are
served like all others in flight (docs/decisions/0055-how-a-process-ends.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from chassis.interceptors import Handler

# Nothing has come for so long: whatever was on the way is here.
_QUIET_SECONDS: Final = 0.03
# Callers that do not wait for answers are never quiet.
_LONGEST_SECONDS: Final = 0.2
_KINDS: Final = ("stream_unary", "stream_stream", "unary_unary", "unary_stream")
# Turns of the loop in which all listeners have sent their goodbye; calls served after that are answered behind it.
_STEPS: Final = 4


class Goodbye:
    """Is said once; holds calls until then."""

    def __init__(self) -> None:
        self._arrivals = 0
        self._said = asyncio.Event()

    def hold(self, handler: Any) -> Any:
        """Return a handler of gRPC's that waits for the goodbye before it does what ``handler`` does."""
        if handler is None:
            return None
        self._arrivals += 1
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        return handler._replace(**{kind: self._waiting(getattr(handler, kind))})

    def _waiting(self, handle: Handler) -> Handler:
        async def wait(request: Any, context: Any) -> Any:
            await self._said.wait()
            return await handle(request, context)

        return wait

    async def said_by(self, leave: Callable[[], Awaitable[None]]) -> None:
        """Wait for quiet, begin to ``leave``, let the calls that wait go on, and wait for the end of leaving."""
        try:
            await self._quiet()
            leaving = asyncio.ensure_future(leave())
            for _ in range(_STEPS):
                await asyncio.sleep(0)
        finally:
            self._said.set()
        await leaving

    async def _quiet(self) -> None:
        end = monotonic() + _LONGEST_SECONDS
        seen = -1
        while seen != self._arrivals and monotonic() < end:
            seen = self._arrivals
            await asyncio.sleep(_QUIET_SECONDS)
