"""The world of one schedule: its loop, what is drawn for it, its clocks, and its edge, where operations take time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar

from tests.harness.simulation.loop import SimulatedLoop

T = TypeVar("T")

_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
# How often operations at the edge fail, by schedule.
_TROUBLES: Final = (0.0, 0.05, 0.25)


class Broken(AssertionError):
    """A property does not hold; ``detail`` says how."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}{': ' if detail else ''}{detail}")
        self.rule = rule


class World:
    """What one seed makes: ``random`` draws all that a scenario leaves open."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = SimulatedLoop(self.random)
        self.trouble = self.random.choice(_TROUBLES)

    @property
    def running(self) -> str | None:
        """The process that runs now."""
        return self.loop.running

    def chance(self, probability: float) -> bool:
        """Draw whether something happens."""
        return self.random.random() < probability

    def check(self, holds: object, rule: str, detail: Callable[[], str] = str) -> None:
        """End the schedule as a failure of the property ``rule`` unless it holds, even where errors are caught."""
        if not holds:
            broken = Broken(rule, detail())
            self.loop.failed = self.loop.failed or broken
            raise broken

    async def pause(self, low: float, high: float) -> None:
        """Let a drawn time pass, in seconds."""
        await asyncio.sleep(self.random.uniform(low, high))

    def work(self, low: float, high: float) -> None:
        """Use the processor for a drawn time, in seconds: nothing else runs meanwhile."""
        self.loop.now += self.random.uniform(low, high)

    def clock(self, ahead: float = 0.0) -> Callable[[], datetime]:
        """Return the clock of a process, which is ``ahead`` of the world's by so many seconds."""
        return lambda: _DAY + timedelta(seconds=self.loop.now + ahead)

    def start(self, work: Coroutine[Any, Any, T], process: str | None = None) -> asyncio.Task[T]:
        """Start a task in a process."""
        with self.loop.process(process):
            return self.loop.create_task(work)

    async def ask(
        self,
        act: Callable[[], T],
        error: Callable[[], Exception],
        *,
        seconds: tuple[float, float] = (0.000_1, 0.02),
    ) -> T:
        """Return what a system at the edge answers: it does ``act`` at one moment, some time after it was asked.

        As often as this schedule has trouble it answers with an error in place, half of the time after it has acted
        all the same. It acts, too, where its caller is cancelled, stopped or killed meanwhile.
        """
        answer: asyncio.Future[T] = self.loop.create_future()
        fails, acts = self.chance(self.trouble), self.chance(0.5)

        def reached() -> None:
            try:
                result = act() if acts or not fails else None
            except Exception as raised:  # noqa: BLE001 - it is the caller's to see
                self.loop.call_later(self.random.uniform(*seconds), tell, None, raised)
                return
            self.loop.call_later(self.random.uniform(*seconds), tell, result, error() if fails else None)

        def tell(result: Any, raised: Exception | None) -> None:
            if answer.done():
                return
            if raised is None:
                answer.set_result(result)
            else:
                answer.set_exception(raised)

        with self.loop.process(None):
            self.loop.call_later(self.random.uniform(*seconds), reached)
        return await answer
