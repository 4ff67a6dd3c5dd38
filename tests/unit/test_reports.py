"""Tests of the harness's report of a run."""

from __future__ import annotations

import asyncio

from tests.harness.reports import LINES, end_of, waiting


def test_of_what_a_test_said_the_end_is_shown() -> None:
    """The last lines are there, whole, and whoever reads them knows that there were others."""
    lines = [f"line {number}\n" for number in range(LINES + 3)]
    assert end_of("".join(lines)) == f"… 3 lines before …\n{''.join(lines[3:])}"
    assert end_of("".join(lines[3:])) == "".join(lines[3:])
    assert end_of("") == ""


async def test_of_a_test_without_end_it_is_shown_what_it_waited_for() -> None:
    """The line of a task names each coroutine down to the one that waits, also where a generator is between them."""
    begun = asyncio.Event()

    async def inner() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def outer() -> None:
        await asyncio.wait_for(inner(), None)

    task = asyncio.create_task(outer(), name="without end")
    await begun.wait()
    line = waiting(task)
    task.cancel()
    places = [place.partition(" (")[0] for place in line.removeprefix("without end: ").split(" > ")]
    assert places == ["outer", "wait_for", "inner", "wait"]
    assert "test_reports.py:" in line
