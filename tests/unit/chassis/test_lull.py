"""Lulls of the event loop: what is put off waits for the work that is ready, and not for ever."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from typing import Any

import pytest

from chassis import lull

QUIET = 0.001
FAR: ContextVar[str] = ContextVar("FAR", default="elsewhere")


class Turns:
    """A loop whose turns take as long as the test says; ``now`` is its clock, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self._ready: list[tuple[Any, Context]] = []

    def call_soon(self, callback: Any, *, context: Context) -> None:
        """Keep a callback for the next turn."""
        self._ready.append((callback, context))

    def turn(self, seconds: float) -> None:
        """Let that much time pass, then do what is ready."""
        self.now += seconds
        ready, self._ready = self._ready, []
        for callback, context in ready:
            context.run(callback)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Return a loop whose clock lulls are measured by."""
    found = Turns()
    monkeypatch.setattr(lull, "monotonic", lambda: found.now)
    return found


def _put_off(turns: Turns) -> list[float]:
    called: list[float] = []
    loop: Any = turns
    lull.call_in_lull(loop, lambda: called.append(turns.now), Context(), QUIET)
    return called


def _turns_until(turns: Turns, called: list[float], seconds: float) -> int:
    for number in range(1, 10_000):
        turns.turn(seconds)
        if called:
            return number
    raise AssertionError("never called back")


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
    lull.call_in_lull(asyncio.get_running_loop(), callback, context, QUIET)
    await asyncio.wait_for(called.wait(), 5)
    await asyncio.sleep(0.01)
    assert found == ["here"]
