"""Waiting within a watch: it ends with the watch, and shows signs of life meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from chassis import background
from chassis.watching.watcher import QueuedWatcher

T = TypeVar("T")


async def unless_ended(watcher: QueuedWatcher[Any], work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, and end with the watch."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait((task, watcher.ended), return_when="FIRST_COMPLETED")
        watcher.check()
        return task.result()
    finally:
        await background.end([task])


async def while_beating(
    watcher: QueuedWatcher[Any], work: Coroutine[Any, Any, T], interval: float, beat: Callable[[], Awaitable[None]]
) -> T:
    """Wait for ``work``, with a ``beat`` after each interval (in seconds), and end with the watch."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait((task, watcher.ended), timeout=interval, return_when="FIRST_COMPLETED")
            watcher.check()
            if not task.done():
                await beat()
        return task.result()
    finally:
        await background.end([task])
