"""Background tasks: work that a server does beside its calls, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from chassis.errors import ServiceError
from chassis.logs import logging

_AGAIN_AFTER_SECONDS: Final = 0.5


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, NoReturn]) -> AsyncIterator[None]:
    """Run endless work for as long as the context lasts; at its end, cancel it and wait until it has stopped."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        await end(tasks)


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


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended, whatever they raise.

    They are cancelled again every half second. Before Python 3.12, ``asyncio.wait_for``, which database drivers use,
    loses a cancellation that arrives together with the result: a loop around a query would go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_AFTER_SECONDS)
        for task in done:
            if not task.cancelled():
                task.exception()
