"""Waiting within a watch."""

from __future__ import annotations

import asyncio

import pytest

from chassis.errors import ShuttingDown
from chassis.watching.waiting import unless_ended, while_beating
from chassis.watching.watcher import QueuedWatcher


async def _never() -> None:
    await asyncio.Event().wait()


async def test_signs_of_life_are_shown_until_the_work_is_done() -> None:
    """A caller that waits for a long history hears of the server meanwhile."""
    watcher: QueuedWatcher[object] = QueuedWatcher(1)
    beats, enough = 0, asyncio.Event()

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            enough.set()

    async def work() -> str:
        await enough.wait()
        return "done"

    assert await while_beating(watcher, work(), 0.01, beat) == "done"
    assert beats == 3


@pytest.mark.parametrize("beating", [True, False])
async def test_the_wait_ends_with_the_watch(beating: bool) -> None:
    """A drain does not wait for what a watch waits for."""
    watcher: QueuedWatcher[object] = QueuedWatcher(1)

    async def beat() -> None:
        raise AssertionError("nothing took that long")

    waiting = while_beating(watcher, _never(), 3_600, beat) if beating else unless_ended(watcher, _never())
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    watcher.end(ShuttingDown)
    with pytest.raises(ShuttingDown):
        await task
