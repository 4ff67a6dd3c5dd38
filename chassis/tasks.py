"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_AFTER: Final = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended, whatever they raise.

    Once is not enough: before Python 3.12, ``asyncio.wait_for`` loses a cancellation that comes together with the
    result, and database drivers use it; a loop around a query would go on for ever. So they are cancelled again every
    half second.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_AFTER)
        for task in done:
            if not task.cancelled():
                task.exception()
