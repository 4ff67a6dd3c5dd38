"""The relays of users' outbox in up to three processes, which are stopped, killed and started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest

from chassis import background
from chassis.errors import DatabaseUnavailable
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.world import World
from users_service.outbox import relay
from users_service.outbox.model import OutboxEntry
from users_service.outbox.relay import FIRST_PAUSE, LEASE, Relay

MADE = "every call is made in the end, whatever fails and whoever is killed, and whichever others never succeed"
ALONE = "no two relays make one call at the same time"
PATIENT = "a call that failed is not made again at once"
ONCE = "where nothing goes wrong each call is made once"

MUTANTS = (
    Mutant(MADE, Relay, "_record", " if error is None]", "]"),
    Mutant(MADE, Relay, "_call", "return error", "raise"),
    Mutant(MADE, relay, "repeat", 'log.warning("background work failed", work=name, reason=error.reason)', "return"),
    Mutant(ALONE, Relay, "_lease", "now + LEASE", "now"),
    Mutant(PATIENT, Relay, "_record", "now + pause", "now"),
    Mutant(ONCE, Relay, "_record", "[entry.id for entry in done]", "[]"),
)

# The longest that a call takes.
_CALL_SECONDS = 20.0


@dataclass
class Row:
    """A row of the outbox."""

    id: str
    available_at: datetime
    attempts: int = 0
    leased_until: datetime | None = None
    # The transaction that has locked it.
    locked_by: object = None
    # Calls of it: how many succeeded, by which process it is being made, and when the last one failed.
    made: int = 0
    calling: set[str] = field(default_factory=set)
    failed_at: float = -1e9


class Transaction:
    """A connection in a transaction; what it writes is there once it has committed."""

    def __init__(self, process: str) -> None:
        self.process = process
        self.writes: list[Callable[[], None]] = []


class Outbox:
    """The table, the statements on it, and the far end of its calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[str, Row] = {}
        self.open: list[Transaction] = []

    def end(self, transaction: Transaction) -> None:
        """Release what a transaction has locked."""
        if transaction in self.open:
            self.open.remove(transaction)
        for row in self.rows.values():
            if row.locked_by is transaction:
                row.locked_by = None

    def lost(self, process: str) -> None:
        """Roll back what a process had open that is gone."""
        for transaction in [each for each in self.open if each.process == process]:
            self.end(transaction)

    async def lease(self, transaction: Transaction, now: datetime, until: datetime, limit: int) -> list[OutboxEntry]:
        """Stand in for the repository's statements."""

        def take() -> list[OutboxEntry]:
            if transaction not in self.open:
                return []
            due = [row for row in self.rows.values() if row.available_at <= now and row.locked_by is None]
            due = sorted(due, key=lambda row: row.available_at)[:limit]
            for row in due:
                row.locked_by = transaction
                transaction.writes.append(lambda row=row: self._lease(row, until))  # type: ignore[misc]
            return [OutboxEntry(row.id, "call", {}, row.attempts + 1, until) for row in due]

        return await self.world.ask(take, DatabaseUnavailable)

    def _lease(self, row: Row, until: datetime) -> None:
        row.attempts, row.available_at, row.leased_until = row.attempts + 1, until, until

    async def remove(self, transaction: Transaction, ids: Collection[str]) -> None:
        """Stand in for the repository's statement."""
        for id_ in ids:
            transaction.writes.append(lambda id_=id_: cast("None", self.rows.pop(id_, None)))  # type: ignore[misc]

    async def postpone(self, transaction: Transaction, entry: OutboxEntry, available_at: datetime) -> None:
        """Stand in for the repository's statement."""

        def put_off() -> None:
            row = self.rows.get(entry.id)
            if row is not None and row.leased_until == entry.leased_until:
                row.available_at, row.leased_until = available_at, None

        transaction.writes.append(put_off)

    async def transaction(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Stand in for ``Database.transaction``."""
        transaction = Transaction(self.world.running or "")
        self.open.append(transaction)

        def commit() -> None:
            if transaction in self.open:
                for write in transaction.writes:
                    write()
                self.end(transaction)

        try:
            found = await work(transaction)
            await self.world.ask(commit, DatabaseUnavailable)
        except BaseException:
            self.end(transaction)
            raise
        return found

    async def call(self, entry: OutboxEntry, process: str, *, patient: bool, apart: bool) -> None:
        """Stand in for a call to the other service."""
        world, row = self.world, self.rows.get(entry.id)
        if row is None:
            return
        world.check(not apart or not row.calling, ALONE, lambda: f"{entry.id} by {process} and {row.calling}")
        pause = (FIRST_PAUSE * 0.5).total_seconds()
        waited = world.loop.now - row.failed_at
        world.check(not patient or waited >= pause, PATIENT, lambda: f"{entry.id} after {waited:.3f} s")
        row.calling.add(process)
        try:
            await world.pause(0.001, _CALL_SECONDS if world.chance(world.trouble) else 0.05)
        finally:
            row.calling.discard(process)
        if entry.id == "poison" or world.chance(world.trouble):
            row.failed_at = world.loop.now
            raise DatabaseUnavailable
        row.made += 1


async def relays(world: World) -> None:
    """Leave entries, and relay them in processes that come and go."""
    outbox = Outbox(world)
    module: Any = relay
    statements, module.repository = module.repository, outbox
    try:
        await _relays(world, outbox)
    finally:
        module.repository = statements


async def _relays(world: World, outbox: Outbox) -> None:
    # Clocks that differ, or processes that rest for longer than a lease, end it early; each schedule has at most one.
    ahead, rests = world.random.choice(((0.0, 0.0), (0.0, 5.0), (2.5, 5.0), (0.0, 300.0)))
    kills = world.random.choice((0, 0, 2))
    running: dict[str, asyncio.Task[Any]] = {}

    def start(name: str) -> None:
        clock = world.clock(world.random.uniform(-ahead, ahead))
        patient, apart = not ahead, rests < LEASE.total_seconds()
        made = Relay(
            cast("Any", outbox),
            {"call": lambda entry: outbox.call(entry, name, patient=patient, apart=apart)},
            clock,
            poll=timedelta(seconds=15),
        )
        running[name] = world.start(made.run(), name)

    for number in range(world.random.randint(1, 3)):
        start(f"relay{number}")
    due = world.clock()
    if world.chance(0.3):
        outbox.rows["poison"] = Row("poison", due())
    for number in range(world.random.randint(1, 30)):
        outbox.rows[f"entry{number}"] = Row(f"entry{number}", due())
        if world.chance(0.2):
            await world.pause(0.0, 3.0)
    everything = list(outbox.rows.values())
    for _ in range(kills):
        await world.pause(0.0, 10.0)
        name = world.random.choice(list(running))
        world.loop.kill_process(name)
        outbox.lost(name)
        for row in everything:
            row.calling.discard(name)
        del running[name]
        start(f"{name}'")
    if rests and running:
        name = world.random.choice(list(running))
        world.loop.stop_process(name)
        await world.pause(0.0, rests)
        world.loop.continue_process(name)
    calm = not (world.trouble or kills or rests)
    await asyncio.sleep(30.0)
    world.trouble = 0.0
    # A lease, and the longest pause.
    end = world.loop.now + 500.0
    while set(outbox.rows) - {"poison"} and world.loop.now < end:
        await asyncio.sleep(10.0)
    for row in everything:
        world.check(not calm or row.made < 2, ONCE, partial(str, f"{row.id} was made {row.made} times"))
        world.check(row.made or row.id == "poison", MADE, partial(str, f"{row.id} was never made"))
    world.check(not set(outbox.rows) - {"poison"}, MADE, lambda: f"{sorted(outbox.rows)} are left")
    with suppress(asyncio.CancelledError):
        await background.end(running.values())


def test_each_call_is_made_by_one_relay_at_a_time() -> None:
    """Whoever leases what, and whatever fails."""
    explore(relays)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the relay is for."""
    found_by(relays, mutant)
