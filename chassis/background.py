"""Work that a server does beside its calls, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from chassis.errors import ServiceError
from chassis.logs import logging


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, NoReturn]) -> AsyncIterator[None]:
    """Run endless work for as long as the context lasts; at its end, cancel it and wait until it has stopped."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def repeat(name: str, work: Callable[[], Awaitable[object]], pause: Callable[[], Awaitable[object]]) -> NoReturn:
    """Do ``work`` after each ``pause``, for ever; a failure is logged, and the next round tries again."""
    log = logging.get("chassis.background")
    while True:
        await pause()
        try:
            await work()
        except ServiceError as error:
            log.warning("background work failed", work=name, reason=error.reason)
        except Exception:
            # A defect in one round must not end all later ones.
            log.exception("background work failed", work=name)
