"""The lull beside tasks that keep the event loop busy for drawn times."""

from __future__ import annotations

import asyncio
from contextvars import Context

import pytest

from chassis.batching.lull import _IDLE_TURN_SECONDS, LONGEST_SECONDS, Lull
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.world import World

QUIET = "it calls back early only where the loop was idle for as long as was asked for"
IN_TIME = "it calls back at the latest once the longest time is over"
ONCE = "it calls back once"
NEVER = "it does not call back once it is cancelled"

MUTANTS = (
    Mutant(QUIET, Lull, "_look", "now - self._last > _IDLE_TURN_SECONDS", "False"),
    Mutant(QUIET, Lull, "_look", "now - self._quiet_since >= self._quiet", "now - self._last < self._quiet"),
    Mutant(IN_TIME, Lull, "_look", " or now >= self._latest", ""),
    Mutant(ONCE, Lull, "_look", "    else:\n", "    if True:\n"),
    Mutant(NEVER, Lull, "cancel", "self._next.cancel()", "pass"),
)

# How much later than asked the loop may come to it, among the tasks of a schedule.
_LATE = 0.01


async def lulls(world: World) -> None:
    """Wait for one lull, in a loop that is busy at times, or all the time."""
    # When the loop did what is no idle turn.
    busy: list[tuple[float, float]] = []
    called: list[float] = []
    heaviest = world.random.choice((10e-6, 100e-6, 300e-6))
    until = world.loop.now + world.random.choice((0.001, 0.003, 0.02))

    async def work() -> None:
        while world.loop.now < until:
            begun = world.loop.now
            world.work(0.0, heaviest)
            if world.loop.now - begun > _IDLE_TURN_SECONDS:
                busy.append((begun, world.loop.now))
            await (asyncio.sleep(0) if world.chance(0.7) else world.pause(0.0, 0.000_5))

    tasks = [world.start(work()) for _ in range(world.random.randint(0, 4))]
    await world.pause(0.0, 0.001)
    quiet, begun, cancelled = world.random.uniform(30e-6, 300e-6), world.loop.now, False
    lull = Lull(world.loop, lambda: called.append(world.loop.now), Context(), quiet)
    if world.chance(0.3):
        await world.pause(0.0, 0.004)
        cancelled = not called
        lull.cancel()
    await asyncio.gather(*tasks)
    await asyncio.sleep(LONGEST_SECONDS + _LATE)
    if cancelled:
        world.check(not called, NEVER)
        return
    world.check(len(called) < 2, ONCE, lambda: f"{len(called)} times")
    world.check(called and called[0] <= begun + LONGEST_SECONDS + _LATE, IN_TIME, lambda: f"{called}, from {begun}")
    if called[0] < begun + LONGEST_SECONDS:
        idle_since = max([begun, *(end for start, end in busy if start < called[0])])
        world.check(called[0] - idle_since >= quiet, QUIET, lambda: f"{called[0] - idle_since:.6f} of {quiet:.6f} s")


def test_a_lull_is_waited_for_and_not_for_ever() -> None:
    """However busy the loop is, and whoever leaves meanwhile."""
    explore(lulls)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the lull is for."""
    found_by(lulls, mutant)
