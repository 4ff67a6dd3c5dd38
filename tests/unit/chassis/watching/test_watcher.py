"""A watcher's queue."""

from __future__ import annotations

import asyncio

import pytest

from chassis.errors import ShuttingDown
from chassis.watching.errors import WatchInterrupted
from chassis.watching.watcher import QueuedWatcher


def events(count: int) -> list[object]:
    """Return different events."""
    return [object() for _ in range(count)]


async def test_events_come_out_in_order_and_wake_the_reader() -> None:
    """A reader that waits gets what is offered, first in, first out."""
    watcher: QueuedWatcher[object] = QueuedWatcher(limit=10)
    reading = asyncio.create_task(watcher.next(10))
    await asyncio.sleep(0)
    offered = events(3)
    for event in offered:
        assert watcher.offer(event)
    assert [await reading, await watcher.next(1), await watcher.next(1)] == offered


async def test_nothing_in_time_is_none() -> None:
    """The wait for an event ends with the time given, for a heartbeat."""
    assert await QueuedWatcher[object](limit=1).next(0.01) is None


async def test_a_full_queue_puts_the_watcher_behind_until_it_begins_again() -> None:
    """What it holds is handed out; nothing is taken in, so that no event is missing in the middle."""
    watcher: QueuedWatcher[object] = QueuedWatcher(limit=2)
    first, second, third, fourth = events(4)
    assert [watcher.offer(event) for event in (first, second, third)] == [True, True, False]
    assert await watcher.next(1) is first
    assert not watcher.offer(fourth)
    assert await watcher.next(1) is second
    assert await watcher.next(60) is None
    watcher.begin()
    assert watcher.offer(fourth)
    assert await watcher.next(1) is fourth


async def test_an_end_reaches_a_waiting_reader_at_once_and_stays() -> None:
    """The first reason counts, and what is queued is dropped: the last token handed out lies before it."""
    watcher: QueuedWatcher[object] = QueuedWatcher(limit=5)
    reading = asyncio.create_task(watcher.next(60))
    await asyncio.sleep(0)
    watcher.end(ShuttingDown)
    watcher.end(WatchInterrupted)
    with pytest.raises(ShuttingDown):
        await reading
    watcher.offer(events(1)[0])
    with pytest.raises(ShuttingDown):
        await watcher.next(1)
    assert watcher.ended.done()


async def test_a_cancelled_reader_leaves_no_timer() -> None:
    """A call that is cancelled while it waits cleans up after itself."""
    watcher: QueuedWatcher[object] = QueuedWatcher(limit=5)
    reading = asyncio.create_task(watcher.next(60))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    event = events(1)[0]
    watcher.offer(event)
    assert await watcher.next(1) is event
