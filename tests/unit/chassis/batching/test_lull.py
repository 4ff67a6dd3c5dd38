"""Lulls of the event loop: what is put off waits for the work that is ready, and not for ever."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from chassis.batching import lull
from tests.harness.patience import PATIENCE_SECONDS

QUIET = 0.001
FAR: ContextVar[str] = ContextVar("FAR", default="elsewhere")


@dataclass
class Entry:
    """What a loop will call."""

    callback: Any
    context: Context
    cancelled: bool = False

    def cancel(self) -> None:
        """Do not call it."""
        self.cancelled = True


class Turns:
    """A loop whose turns take as long as the test says; ``now`` is its clock, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self._ready: list[Entry] = []

    def call_soon(self, callback: Any, *, context: Context) -> Entry:
        """Keep a callback for the next turn."""
        entry = Entry(callback, context)
        self._ready.append(entry)
        return entry

    def turn(self, seconds: float) -> None:
        """Let that much time pass, then do what is ready."""
        self.now += seconds
        ready, self._ready = self._ready, []
        for entry in ready:
            if not entry.cancelled:
                entry.context.run(entry.callback)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Return a loop whose clock lulls are measured by."""
    found = Turns()
    monkeypatch.setattr(lull, "monotonic", lambda: found.now)
    return found


def _put_off(turns: Turns) -> list[float]:
    called: list[float] = []
    _lull(turns, called)
    return called


def _lull(turns: Turns, called: list[float]) -> lull.Lull:
    loop: Any = turns
    return lull.Lull(loop, lambda: called.append(turns.now), Context(), QUIET)


def _turns_until(turns: Turns, called: list[float], seconds: float) -> int:
    for number in range(1, 10_000):
        turns.turn(seconds)
        if called:
            return number
    raise AssertionError("never called back")


@pytest.mark.parametrize("turned", [0, 1, 5])
def test_what_is_called_off_is_not_called(turns: Turns, turned: int) -> None:
    """Neither before the loop's first look nor between two."""
    called: list[float] = []
    waiting = _lull(turns, called)
    for _ in range(turned):
        turns.turn(QUIET / 10)
    waiting.cancel()
    for _ in range(20):
        turns.turn(QUIET)
    assert not called


def test_an_idle_loop_calls_back_after_a_moment(turns: Turns) -> None:
    """Where nothing else is to be done, the wait is short."""
    called = _put_off(turns)
    _turns_until(turns, called, 0.000_01)
    assert called[0] - 100.0 == pytest.approx(QUIET, abs=0.000_05)


def test_work_goes_first(turns: Turns) -> None:
    """While turns of the loop have work, it is not called back; the quiet moment counts from the last of them."""
    called = _put_off(turns)
    for _ in range(8):
        turns.turn(0.000_4)
        turns.turn(0.000_01)
        assert not called
    _turns_until(turns, called, 0.000_01)
    assert called[0] - 100.0 >= 8 * 0.000_41 + QUIET - 0.000_05


def test_work_without_end_does_not_put_it_off_for_ever(turns: Turns) -> None:
    """A loop that is never idle calls back all the same, one turn after the longest wait."""
    called = _put_off(turns)
    _turns_until(turns, called, 0.000_5)
    assert lull.LONGEST_SECONDS <= called[0] - 100.0 <= lull.LONGEST_SECONDS + 0.001_1


async def test_a_real_loop_calls_back_once_and_in_the_context_given() -> None:
    """What is put off runs in the context it was put off with: it belongs to none of the calls it serves."""
    called = asyncio.Event()
    found: list[str] = []

    def callback() -> None:
        found.append(FAR.get())
        called.set()

    context = Context()
    context.run(FAR.set, "here")
    lull.Lull(asyncio.get_running_loop(), callback, context, QUIET)
    await asyncio.wait_for(called.wait(), PATIENCE_SECONDS)
    await asyncio.sleep(0.01)
    assert found == ["here"]
