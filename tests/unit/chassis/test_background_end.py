"""Ending tasks."""

from __future__ import annotations

import asyncio
import contextlib

from chassis import background


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """A driver may swallow the first one; the end does not wait for ever."""

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await background.end([task])
    assert task.cancelled()


async def test_what_a_task_raises_at_its_end_is_not_the_callers() -> None:
    """Tasks that have ended, or fail while they end, are ended too."""

    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError

    ended, raising = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(failing())
    await asyncio.sleep(0.01)
    await background.end([ended, raising])
    assert ended.done()
    assert isinstance(raising.exception(), ValueError)
