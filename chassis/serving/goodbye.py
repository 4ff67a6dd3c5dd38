"""The goodbye (HTTP/2's GOAWAY) at the end of a drain: sent at a moment when no call is on its way.

A call that reaches a server after its shutdown began, and before its client knows of that (GOAWAY), is ended by gRPC's
core with CANCELLED, which few retry policies repeat. So calls that arrive at the end of a drain are held: callers that
wait for an answer send nothing, and soon no call is on its way. Then the goodbye is sent, and the held calls are served
like all others in flight (docs/decisions/0055-how-a-process-ends.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from chassis.interceptors import Handler
from chassis.serving.transports import Served

# If no call came or ended for so long, none is on its way.
_QUIET_SECONDS: Final = 0.03
# The longest wait for that: callers that do not wait for answers never stop sending.
_LONGEST_SECONDS: Final = 0.2
# Turns of the loop after which all listeners have sent their goodbye; answers to held calls must come after it.
_STEPS: Final = 4


class Goodbye:
    """The one goodbye of a server, which holds calls until it was sent."""

    def __init__(self, serving: Callable[[], int]) -> None:
        """``serving``: tells how many calls are being served, which from now on only end."""
        self._serving = serving
        self._arrivals = 0
        self._said = asyncio.Event()

    def hold(self, served: Served | None) -> Served | None:
        """Return a method that waits for the goodbye before it runs the handler of ``served``."""
        if served is None:
            return None
        self._arrivals += 1
        return replace(served, handle=self._waiting(served.handle))

    def _waiting(self, handle: Handler) -> Handler:
        async def wait(request: Any, context: Any) -> Any:
            await self._said.wait()
            return await handle(request, context)

        return wait

    async def said_by(self, leave: Callable[[], Awaitable[None]]) -> None:
        """Wait until no call is on its way, start ``leave``, let the held calls go on, and wait for ``leave``."""
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
        seen = None
        # Who has just got an answer may have sent the next call, which is on its way still.
        while seen != (now := (self._arrivals, self._serving())) and monotonic() < end:
            seen = now
            await asyncio.sleep(_QUIET_SECONDS)
