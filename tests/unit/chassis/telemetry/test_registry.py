"""Reading all metrics: whoever fails or hangs is left out, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from chassis.errors import DatabaseUnavailable
from chassis.telemetry import registry as module
from chassis.telemetry.families import Family, gauge
from chassis.telemetry.registry import Registry


def several() -> Iterator[Family]:
    """Yield many metrics."""
    for number in range(50):
        yield gauge(f"metric_{number}", "Help.", number)


async def answering() -> AsyncIterator[Family]:
    """Answer after a moment, as a database does."""
    await asyncio.sleep(0)
    yield gauge("answered", "Help.", 1)


async def away() -> AsyncIterator[Family]:
    """Fail half-way."""
    yield gauge("half", "Help.", 1)
    raise DatabaseUnavailable


async def hanging() -> AsyncIterator[Family]:
    """Never answer."""
    await asyncio.Event().wait()
    yield gauge("never", "Help.", 1)


async def names(registry: Registry, *, asking: bool = True) -> set[str]:
    """Return the names of all metrics read."""
    return {family.name async for family in registry.collect(asking=asking)}


async def test_a_database_that_is_away_takes_only_its_own_metrics_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a database is away the other metrics are what one needs to see."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    registry = Registry()
    registry.add_asking(hanging)
    registry.add_asking(away)
    registry.add_asking(answering)
    registry.add(several)
    assert await names(registry) == {f"metric_{number}" for number in range(50)} | {"answered"}
    assert "answered" not in await names(registry, asking=False)


async def test_calls_have_their_turn_while_metrics_are_read() -> None:
    """A scrape of a large process must not hold up the calls that it measures."""
    turns = 0

    async def call() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    registry = Registry()
    registry.add(several)
    calls = asyncio.create_task(call())
    await names(registry)
    calls.cancel()
    assert turns >= 50
