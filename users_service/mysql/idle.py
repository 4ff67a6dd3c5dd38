"""Idle connections: they are given back to the server once nobody has needed them for a while."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, NoReturn, Protocol

from chassis.background import repeat

# How often pools are looked at, in seconds: a quarter of the time that a connection may be idle, within these bounds.
SHORTEST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0


class Pool(Protocol):
    """A pool that can close what lies idle."""

    async def close_idle(self, seconds: float) -> None:
        """Close the connections that have been idle for longer."""
        ...


async def close_idle(seconds: float, *pools: Pool) -> NoReturn:
    """Close what has been idle in the pools for longer, for ever."""

    async def look() -> None:
        for pool in pools:
            await pool.close_idle(seconds)

    pause = min(max(seconds / 4, SHORTEST_PAUSE), LONGEST_PAUSE)
    await repeat("closing idle connections", look, partial(asyncio.sleep, pause))
