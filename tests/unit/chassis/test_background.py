"""Background work: it outlives its failures and ends with the server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn

import pytest

from chassis.background import end, repeat, running
from chassis.errors import DatabaseUnavailable
from tests.harness.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("error", [DatabaseUnavailable(), RuntimeError("a defect"), TimeoutError()])
async def test_a_failed_round_does_not_end_the_work(error: Exception) -> None:
    """Whatever one round raises, the next one comes."""
    rounds, enough = list[int](), asyncio.Event()

    async def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise error
        enough.set()

    async with running(repeat("test", work, lambda: asyncio.sleep(0))):
        await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
    assert rounds[:2] == [0, 1]


async def test_the_work_has_stopped_when_the_context_ends() -> None:
    """What a round was in the middle of is given up before the connections it uses are closed."""
    began, ended = asyncio.Event(), list[str]()

    async def endless() -> NoReturn:
        try:
            began.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended.append("cleaned up")
        raise AssertionError("it sleeps for ever")

    async with running(endless()):
        await began.wait()
    assert ended == ["cleaned up"]


async def test_it_pauses_first() -> None:
    """A server that starts has better things to do than the first round."""
    told, enough = list[str](), asyncio.Event()

    async def pause() -> None:
        told.append("pause")
        await asyncio.sleep(0)

    async def work() -> None:
        told.append("work")
        if len(told) == 4:
            enough.set()

    async with running(repeat("test", work, pause)):
        await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)
    assert told[:4] == ["pause", "work", "pause", "work"]


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """A driver may swallow the first one; the end does not wait for ever."""

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await end([task])
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
    await end([ended, raising])
    assert ended.done()
    assert isinstance(raising.exception(), ValueError)
