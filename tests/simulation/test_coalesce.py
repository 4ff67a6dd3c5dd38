"""The coalescer among callers who come and leave at any time, and queries that fail, hang, and find poison."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from chassis.batching import coalesce
from chassis.batching.coalesce import GRACE_SECONDS, Coalescer
from chassis.errors import DatabaseUnavailable
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import ENDS, explore, found_by
from tests.harness.simulation.world import World

FRESH = "a caller gets what a query found that began after it had asked, under its own key"
APART = "a caller who is cancelled takes nobody along"
OWN_ERROR = "an error of a key reaches those who asked for that key, and one of a query those whom it was for"
BOUNDED = "so many queries run at a time, of so many distinct keys each, and no more"
IN_TIME = "no query takes longer than it may"
EMPTY = "nothing is kept once all are answered"

MUTANTS = (
    Mutant(
        FRESH,
        Coalescer,
        "get",
        "waiters = self._waiting.get(key)",
        "waiters = next((batch[key] for batch in self._running.values() if key in batch), self._waiting.get(key))",
    ),
    Mutant(FRESH, coalesce, "_deliver", "value = found.get(key)", "value = next(iter(found.values()), None)"),
    Mutant(APART, Coalescer, "get", "waiters.append(waiter)", "waiter = waiters[0]"),
    Mutant(OWN_ERROR, coalesce, "_deliver", "_fail({key: waiters}, value)", "_fail(batch, value)"),
    Mutant(
        BOUNDED, Coalescer, "_dispatch", "self._waiting and len(self._running) < self._max_in_flight", "self._waiting"
    ),
    Mutant(BOUNDED, Coalescer, "_take", "islice(self._waiting, self._max_batch)", "self._waiting"),
    Mutant(IN_TIME, Coalescer, "_fetch_in_time", "self._timeout + GRACE_SECONDS", "None"),
    Mutant(EMPTY, Coalescer, "_on_done", "self._running.pop(task)", "self._running[task]"),
    Mutant(ENDS, Coalescer, "_start_next", "self._waiting and", "not self._waiting and"),
    Mutant(ENDS, Coalescer, "_settle", "_fail(batch, error)", "pass"),
)

_TIMEOUT = 0.2


class Poison(Exception):
    """What a key holds that cannot be read."""

    def __init__(self, key: int) -> None:
        self.key = key


class QueryFailed(Exception):
    """A query that failed as a whole."""

    def __init__(self, keys: list[int]) -> None:
        self.keys = keys


@dataclass(frozen=True)
class Found:
    """What query number ``query`` found under a key."""

    key: int
    query: int


class Table:
    """A table, and how it is queried."""

    def __init__(self, world: World, max_batch: int, max_in_flight: int) -> None:
        self.world = world
        self.max_batch, self.max_in_flight = max_batch, max_in_flight
        self.begun = 0
        self.running = 0

    async def fetch(self, keys: list[int]) -> Mapping[int, Found | Exception]:
        """Answer after a drawn time, if ever."""
        world, number, began = self.world, self.begun, self.world.loop.now
        self.begun += 1
        self.running += 1
        world.check(self.running <= self.max_in_flight, BOUNDED, lambda: f"{self.running} queries at once")
        world.check(1 <= len(keys) <= self.max_batch and len(set(keys)) == len(keys), BOUNDED, lambda: f"{keys}")
        try:
            await world.pause(0.000_1, 2.0 if world.chance(world.trouble) else 0.005)
            if world.chance(world.trouble):
                raise QueryFailed(keys)
            return {key: Poison(key) if key % 7 == 0 else Found(key, number) for key in keys if key % 5}
        finally:
            self.running -= 1
            took = world.loop.now - began
            world.check(took <= _TIMEOUT + GRACE_SECONDS + 0.01, IN_TIME, lambda: f"{took:.3f} s")


async def calls(world: World) -> None:
    """Let up to 30 callers ask for a few keys, some of whom leave."""
    max_batch, max_in_flight = world.random.randint(1, 8), world.random.randint(1, 3)
    table = Table(world, max_batch, max_in_flight)
    coalescer = Coalescer(table.fetch, max_batch=max_batch, max_in_flight=max_in_flight, timeout=_TIMEOUT)
    keys, rush = world.random.randint(2, 30), world.random.choice((0.0, 0.002, 0.05))
    left: set[int] = set()

    async def call(number: int) -> None:
        await world.pause(0.0, rush)
        key, begun = world.random.randrange(1, keys + 1), table.begun
        try:
            found = await coalescer.get(key)
        except asyncio.CancelledError:
            world.check(number in left, APART)
        except Poison as poison:
            of = poison.key
            world.check(of == key, OWN_ERROR, lambda: f"{key} got the error of {of}")
        except QueryFailed as failed:
            of_all = failed.keys
            world.check(key in of_all, OWN_ERROR, lambda: f"{key} got the error of {of_all}")
        except DatabaseUnavailable:
            world.check(world.trouble, OWN_ERROR, lambda: "no query hangs in this schedule")
        else:
            if key % 5:
                world.check(
                    found is not None and found.key == key and found.query >= begun, FRESH, lambda: f"{key} got {found}"
                )
            else:
                world.check(found is None, FRESH, lambda: f"{key} got {found}")

    callers = [world.start(call(number)) for number in range(world.random.randint(1, 30))]
    for number, caller in enumerate(callers):
        if world.chance(0.2):
            await world.pause(0.0, 0.002)
            left.add(number)
            caller.cancel()
    await asyncio.wait(callers)
    await asyncio.sleep(_TIMEOUT + GRACE_SECONDS + 3.0)
    kept = (coalescer._waiting, coalescer._running, coalescer._callers, coalescer._due)
    world.check(not any(kept), EMPTY, lambda: f"{kept}")


def test_callers_are_answered_by_queries_of_their_own_time_and_apart_from_each_other() -> None:
    """Whoever asks together, and whatever happens to the queries and to the others."""
    explore(calls)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the coalescer is for."""
    found_by(calls, mutant)
