"""The simulation itself: the same seed makes the same schedule, and what hangs or fails is told."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.simulation.schedules import ENDS, NO_ERROR_UNSEEN, NOTHING_LEFT, explore, simulate
from tests.harness.simulation.world import Broken, World

ROOT = Path(__file__).parents[2]
_RULE = "every schedule is told"


async def _crowd(world: World) -> None:
    """Wake tasks by sets, timers and an edge, and tell in which order they ran."""
    order: list[str] = []

    async def one(name: str) -> None:
        await world.pause(0.0, 0.01)
        await world.ask(lambda: order.append(name), ValueError)
        order.append(name.upper())

    tasks = {world.start(one(name)) for name in "abcdefgh"}
    await asyncio.wait(tasks)
    for task in tasks:
        task.exception()
    raise Broken(_RULE, f"{order} at {world.loop.now:.9f}")


def _told(seed: int) -> str:
    found = simulate(_crowd, seed)
    assert found is not None
    return f"{found[0]}\n{found[1]}"


def test_a_seed_makes_one_schedule_in_every_process() -> None:
    """A failure in CI is replayed by its seed alone, to the step, wherever objects lie and however texts are hashed."""
    here = [_told(seed) for seed in range(30)]
    assert here == [_told(seed) for seed in range(30)]
    assert len(set(here)) > 25
    code = "from tests.simulation.test_simulation import _told; print([_told(seed) for seed in range(30)])"
    environment = os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, env=environment)
    assert there.stdout.decode().strip() == repr(here)


async def _deadlock(_: World) -> None:
    await asyncio.Event().wait()


async def _endless(_: World) -> None:
    while True:
        await asyncio.sleep(1.0)


async def _leaves_a_task(world: World) -> None:
    world.start(_deadlock(world))


async def _fails_in_a_callback(world: World) -> None:
    world.loop.call_soon(lambda: 1 // 0)
    await asyncio.sleep(1.0)


async def _is_swallowed(world: World) -> None:
    try:
        world.check(False, _RULE)
    except AssertionError:
        await asyncio.sleep(1.0)


@pytest.mark.parametrize(
    ("scenario", "rule"),
    [
        (_deadlock, ENDS),
        (_endless, ENDS),
        (_leaves_a_task, NOTHING_LEFT),
        (_fails_in_a_callback, NO_ERROR_UNSEEN),
        (_is_swallowed, _RULE),
    ],
)
def test_what_goes_wrong_is_told(scenario: object, rule: str) -> None:
    """What hangs, is left, fails in a callback, or is found where errors are caught, fails the schedule."""
    found = simulate(scenario, 1)  # type: ignore[arg-type]
    assert found is not None
    assert found[0].rule == rule


def test_a_deadlock_says_what_each_task_waits_for() -> None:
    """Whoever reads it knows where each task stands."""
    found = simulate(_deadlock, 1)
    assert found is not None
    assert "_deadlock (test_simulation.py:" in found[1]


def test_one_seed_is_replayed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SIMULATION_SEED`` runs that schedule and no other."""
    seeds: list[int] = []

    async def noted(world: World) -> None:
        seeds.append(world.seed)

    monkeypatch.setenv("SIMULATION_SEED", "7")
    explore(noted)
    monkeypatch.setenv("SIMULATION_SEED", "5-8")
    explore(noted)
    assert seeds == [7, 5, 6, 7, 8]
    monkeypatch.setenv("SIMULATION_SEED", "7")
    with pytest.raises(AssertionError, match="SIMULATION_SEED=7 replays this"):
        explore(_deadlock)


async def _processes(world: World) -> None:
    """Stop one process and kill another, both of which count."""
    counted = {"stopped": 0, "killed": 0, "left": 0}

    async def count(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                counted[name] += 1
        finally:
            counted["left"] += 1

    for name in ("stopped", "killed"):
        world.start(count(name), name)
    await asyncio.sleep(3.5)
    world.loop.stop_process("stopped")
    world.loop.kill_process("killed")
    await asyncio.sleep(3.0)
    world.check(counted == {"stopped": 3, "killed": 3, "left": 0}, _RULE, lambda: f"{counted}")
    world.loop.continue_process("stopped")
    await asyncio.sleep(2.0)
    world.check(counted == {"stopped": 5, "killed": 3, "left": 0}, _RULE, lambda: f"{counted}")
    world.loop.kill_process("stopped")


def test_a_process_that_is_stopped_rests_and_one_that_is_killed_cleans_nothing_up() -> None:
    """They are to a scenario what SIGSTOP and SIGKILL are to a server."""
    assert simulate(_processes, 1) is None
