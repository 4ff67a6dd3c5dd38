"""Work on many items beside other work of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from chassis import slices
from chassis.slices import Slices


async def _turns(counted: list[int], over: asyncio.Event) -> None:
    while not over.is_set():
        counted[0] += 1
        await asyncio.sleep(0)


async def test_others_have_their_turn_after_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each item takes a slice, the loop turns once for each of them."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    counted, over = [0], asyncio.Event()
    other = asyncio.create_task(_turns(counted, over))
    assert await Slices().map(lambda item: item * 2, range(500)) == [item * 2 for item in range(500)]
    over.set()
    await other
    assert counted[0] >= 500


async def test_items_of_one_slice_are_done_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the loop costs more than an item: it is not given away for each."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 3_600.0)
    counted, over = [0], asyncio.Event()
    other = asyncio.create_task(_turns(counted, over))
    await Slices().map(str, range(500))
    assert counted[0] == 0
    over.set()
    await other


async def test_batches_are_worked_on_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve batches hold a turn of the loop for no longer than one does."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    shared, done = Slices(), list[int]()
    await asyncio.gather(*(shared.map(done.append, [batch] * 20) for batch in range(12)))
    assert done == [batch for batch in range(12) for _ in range(20)]


async def test_an_error_or_a_caller_who_leaves_lets_the_next_batch_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that does not end well keeps its turn from nobody."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    shared = Slices()
    with pytest.raises(ZeroDivisionError):
        await shared.map(lambda item: 1 // item, [1, 0, 2])
    leaving = asyncio.create_task(shared.map(str, range(1_000)))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await shared.map(str, range(2)) == ["0", "1"]
