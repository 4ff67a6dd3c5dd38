"""Schedules: a scenario run under many seeds, each of which can be replayed alone.

``SIMULATION_SEED=7`` has every scenario run under that seed only, and ``SIMULATION_SEED=1000-200000`` under a range:
as ``SIMULATION_SEED=7 script/test tests/simulation/test_lull.py``.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog

from tests.harness import samples
from tests.harness.simulation.loop import SimulatedLoop, Stuck
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.waiting import last_steps, waiting
from tests.harness.simulation.world import Broken, World

# Schedules of each scenario; a run that leaves the long tests out takes one of so many.
SCHEDULES: Final = 1_000
_OF: Final = 5
# Properties of every scenario.
ENDS: Final = "nobody waits for ever"
NOTHING_LEFT: Final = "nothing is left running at the end"
NO_ERROR_UNSEEN: Final = "no error goes unseen"

Scenario = Callable[[World], Coroutine[Any, Any, None]]

_PACKAGES: Final = ("chassis", "users_service", "notifications_service")
_SILENT: Final = 50


def explore(scenario: Scenario, schedules: int = SCHEDULES) -> None:
    """Run a scenario under so many seeds; the first that breaks a property fails the test, with how to replay it."""
    with _simulated():
        for seed in _seeds(schedules if samples.Run.is_whole else schedules // _OF):
            if (found := run(scenario, seed)) is not None:
                raise AssertionError(f"{found[0]}\nSIMULATION_SEED={seed} replays this. {found[1]}")


def found_by(scenario: Scenario, mutant: Mutant, schedules: int = SCHEDULES) -> int:
    """Return how many schedules it takes to see that a mutant breaks its property; fail if they do not suffice."""
    with _simulated(), mutant.applied():
        others: dict[str, int] = {}
        for seed in range(schedules):
            found = run(scenario, seed)
            if found is not None and found[0].rule == mutant.breaks:
                return seed + 1
            if found is not None:
                others.setdefault(found[0].rule, seed)
    raise AssertionError(f"{schedules} schedules do not see what breaks {mutant.breaks!r}; they see {others}")


def simulate(scenario: Scenario, seed: int) -> tuple[Broken, str] | None:
    """Run one schedule, as ``explore`` does."""
    with _simulated():
        return run(scenario, seed)


def run(scenario: Scenario, seed: int) -> tuple[Broken, str] | None:
    """Run one schedule; return the property that it breaks, with the last steps and what waits, or None."""
    # Of the schedule before; between two of them it disturbs none.
    gc.collect(0)
    random.seed(seed)
    world = World(seed)
    _Now.loop = loop = world.loop
    unseen: list[str] = []
    loop.set_exception_handler(lambda _, told: unseen.append(f"{told.get('exception')!r}: {told['message']}"))
    try:
        loop.run_until_complete(scenario(world))
        world.check(not loop.unfinished, NOTHING_LEFT)
        world.check(not unseen, NO_ERROR_UNSEEN, lambda: unseen[0])
    except Stuck as stuck:
        return Broken(ENDS, str(stuck)), _told(loop)
    except Broken as broken:
        return broken, _told(loop)
    finally:
        loop.abandon()
    return None


def _told(loop: SimulatedLoop) -> str:
    return f"Its last steps:\n{last_steps(loop)}\nWhat waits:\n{waiting(loop)}"


def _seeds(schedules: int) -> Sequence[int]:
    first, _, last = os.environ.get("SIMULATION_SEED", f"0-{schedules - 1}").partition("-")
    return range(int(first), int(last or first) + 1)


class _Now:
    """The loop that runs, for the modules whose clock is replaced."""

    loop: SimulatedLoop


def _monotonic() -> float:
    return _Now.loop.now


@contextmanager
def _simulated() -> Iterator[None]:
    """Let our modules read virtual time and write no logs, and draw from what a schedule has seeded."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in _PACKAGES]
    reading = [module for module in modules if getattr(module, "monotonic", None) is time.monotonic]
    drawn, logging, collecting = random.getstate(), structlog.get_config(), gc.isenabled()
    for module in reading:
        module.monotonic = _monotonic  # type: ignore[attr-defined]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
    # The garbage collector would come at another moment each time.
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        structlog.configure(**logging)
        for module in reading:
            module.monotonic = time.monotonic  # type: ignore[attr-defined]
        random.setstate(drawn)
