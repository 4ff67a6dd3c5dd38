"""Responses that wait for their callers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

import pytest

from chassis.errors import ServiceError, ShuttingDown
from chassis.watching.errors import WatcherTooSlow
from chassis.watching.limits import WatcherLimits
from chassis.watching.settings import WatcherSettings
from chassis.watching.stalls import Stalls
from chassis.watching.watcher import QueuedWatcher
from tests.harness.patience import PATIENCE_SECONDS

LIMITS: Final = WatcherLimits.of(WatcherSettings())

RESPONSE = object()
FOR_EVER = 3_600.0


class Caller:
    """A caller that takes responses when it is told to."""

    def __init__(self, limits: WatcherLimits, *, behind: bool = False, settled: bool = True) -> None:
        self.watcher: QueuedWatcher[object] = QueuedWatcher(limit=1)
        self.watcher.behind, self.watcher.settled = behind, settled
        self.takes = asyncio.Event()
        self.given_up: list[type[ServiceError]] = []
        self.gave_up = asyncio.Event()
        self.write = Stalls(limits).guarded(self._write, self.watcher, self._give_up)

    async def _write(self, _: object) -> None:
        await self.takes.wait()

    def _give_up(self, error: ServiceError) -> None:
        self.given_up.append(type(error))
        self.gave_up.set()


@pytest.mark.parametrize(
    ("limits", "behind", "settled"),
    [
        (replace(LIMITS, patience=0.05, untaken=FOR_EVER), True, True),
        (replace(LIMITS, patience=FOR_EVER, untaken=0.05), False, True),
        (replace(LIMITS, patience=0.01, untaken=0.05), True, False),
    ],
)
async def test_who_takes_nothing_is_given_up_once(limits: WatcherLimits, behind: bool, settled: bool) -> None:
    """The patience is that with one that is behind, or the longer one; the watch ends when it takes the response."""
    caller = Caller(limits, behind=behind, settled=settled)
    writing = asyncio.ensure_future(caller.write(RESPONSE))
    await asyncio.wait_for(caller.gave_up.wait(), PATIENCE_SECONDS)
    with pytest.raises(WatcherTooSlow):
        caller.watcher.check()
    assert not writing.done()
    caller.takes.set()
    await writing
    assert caller.given_up == [WatcherTooSlow]


async def test_one_that_is_new_is_not_hurried() -> None:
    """A snapshot, or a long history, may take its time, whatever runs over meanwhile."""
    caller = Caller(replace(LIMITS, patience=0.01, untaken=FOR_EVER), behind=True, settled=False)
    writing = asyncio.ensure_future(caller.write(RESPONSE))
    await asyncio.sleep(0.2)
    assert not caller.given_up
    writing.cancel()


async def test_who_takes_slowly_but_steadily_stays() -> None:
    """What counts is a single response, not the time since the watcher was up to date."""
    caller = Caller(replace(LIMITS, patience=0.1, untaken=FOR_EVER), behind=True)
    for _ in range(30):
        writing = asyncio.ensure_future(caller.write(RESPONSE))
        await asyncio.sleep(0.01)
        caller.takes.set()
        await writing
        caller.takes.clear()
    assert not caller.given_up


async def test_a_loop_that_is_held_is_not_taken_for_a_slow_caller() -> None:
    """The time that the process itself loses, to other work or to a pause, is not the caller's."""
    caller = Caller(replace(LIMITS, patience=0.4, untaken=FOR_EVER), behind=True)
    writing = asyncio.ensure_future(caller.write(RESPONSE))
    await asyncio.sleep(0)
    time.sleep(0.8)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0)
    caller.takes.set()
    await writing
    assert not caller.given_up


async def test_a_watch_that_has_ended_otherwise_keeps_its_reason() -> None:
    """Who does not take the end of a drain is given up with that."""
    caller = Caller(replace(LIMITS, patience=0.05, untaken=FOR_EVER))
    writing = asyncio.ensure_future(caller.write(RESPONSE))
    caller.watcher.end(ShuttingDown)
    await asyncio.wait_for(caller.gave_up.wait(), PATIENCE_SECONDS)
    assert caller.given_up == [ShuttingDown]
    writing.cancel()
