"""Waiting for a place: in order, for as long as one has, and without losing one."""

from __future__ import annotations

import asyncio

import pytest

from chassis.context import deadline
from chassis.errors import CallDeadlineExceeded, DatabaseUnavailable, Overloaded
from chassis.pooling.gate import PoolGate
from tests.harness.patience import PATIENCE_SECONDS


async def test_places_are_handed_on_in_order() -> None:
    """Whoever came first is next, and nobody passes by those who wait."""
    gate, order = PoolGate(1, 10), []

    async def enter(name: str) -> None:
        await gate.enter()
        order.append(name)

    await gate.enter()
    waiting = [asyncio.create_task(enter(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert (gate.inside, gate.waiting) == (1, 3)
    for _ in waiting:
        gate.leave()
        await next_in(gate, order)
    assert order == ["a", "b", "c"]
    gate.leave()
    assert (gate.inside, gate.waiting) == (0, 0)


async def next_in(gate: PoolGate, order: list[str]) -> None:
    """Let the loop run until whoever was let in has gone on."""
    before = len(order)
    while len(order) == before:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    assert gate.inside == 1


async def test_a_gate_that_stays_full_is_overload() -> None:
    """It is our limit that is told, not a database that is away, and it is counted."""
    gate = PoolGate(1, 0.01)
    await gate.enter()
    with pytest.raises(Overloaded):
        await gate.enter()
    assert (gate.timeouts, gate.waiting) == (1, 0)


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    """Whose time is up hears that it is."""
    gate = PoolGate(1, 10)
    await gate.enter()
    with deadline.within(0.01), pytest.raises(CallDeadlineExceeded):
        await gate.enter()


async def test_a_place_given_to_one_who_leaves_at_that_moment_goes_on_to_the_next() -> None:
    """A cancellation in the same turn of the loop as the hand-over loses no place."""
    gate = PoolGate(1, 10)
    await gate.enter()
    leaving, next_one = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.leave()
    leaving.cancel()
    await asyncio.wait([leaving, next_one], timeout=PATIENCE_SECONDS)
    assert leaving.cancelled()
    assert next_one.done()
    gate.leave()
    assert gate.inside == 0


async def test_a_gate_that_stays_full_of_those_who_look_for_the_database_is_no_overload() -> None:
    """While the database is away no limit of ours is the cause, and a breaker may take it for what it is."""
    gate = PoolGate(1, 0.01, lambda: True)
    await gate.enter()
    with pytest.raises(DatabaseUnavailable):
        await gate.enter()
    with deadline.within(0), pytest.raises(CallDeadlineExceeded):
        await gate.enter()
