"""Background work: it outlives its failures and ends with the server."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from chassis.background import repeat, running
from chassis.errors import DatabaseUnavailable


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
        await asyncio.wait_for(enough.wait(), 5)
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
        await asyncio.wait_for(enough.wait(), 5)
    assert told[:4] == ["pause", "work", "pause", "work"]
