"""The workers of one channel in up to three processes, which rest, are killed, and are told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from chassis import background
from chassis.errors import DatabaseUnavailable
from notifications_service.clock import in_milliseconds
from notifications_service.delivery import settling
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.facts import Facts
from notifications_service.delivery.leased import CLOCKS_APART, Leased
from notifications_service.delivery.numbers import Numbers
from notifications_service.delivery.rules import DeliveryRules
from notifications_service.delivery.settling import Try
from notifications_service.delivery.worker import Worker
from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import OPEN, DeliveryState
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Kind, Reason
from notifications_service.outbox.repository import Decide
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.world import World

ENDED = "every delivery ends, sent or given up, whatever fails and whoever is killed"
ALONE = "no two workers send one delivery at the same time"
COUNTED = "no delivery is tried more often than it may be"
ONCE = "where nothing goes wrong each delivery is sent once"
STOPPED = "a worker that was told to stop begins nothing, and gives back at once what it has not tried"

MUTANTS = (
    Mutant(ENDED, Worker, "_wait", "asyncio.timeout(self._poll)", "asyncio.timeout(None)"),
    Mutant(ENDED, Worker, "_work", "self._to_send.remove_all(batch.lease)", "pass"),
    Mutant(ALONE, Leased, "may_begin", "monotonic() + self.seconds + margin < self._holds_until", "True"),
    Mutant(COUNTED, DeliveryRules, "_over", 'row["attempts"] >= self.attempts', "False"),
    Mutant(ONCE, settling, "settled", "not any(each.is_open for each in tries) or ", ""),
    Mutant(STOPPED, Worker, "_decide", "self._stopping or not batch.may_begin", "not batch.may_begin"),
    Mutant(STOPPED, Worker, "_decide", 'batch.unsent.add(row["_id"])', "pass"),
    Mutant(STOPPED, Worker, "run", "if self._batches:", "if False:"),
    Mutant(STOPPED, Leased, "give_back", "if not self.unsent:", "if True:"),
)

_ATTEMPTS = 2
_CHANNEL = "email"


@dataclass
class Far:
    """What the far end knows of a delivery: how often it has accepted it, and until when each attempt may last."""

    accepted: int = 0
    tried: int = 0
    tried_by: set[str] = field(default_factory=set)
    attempts: dict[str, float] = field(default_factory=dict)


class Deliveries:
    """The collection, and the mail relay behind the workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[str, Document] = {}
        self.far: dict[str, Far] = {}
        # How long a claim or a renewal may take.
        self.slow = world.random.choice((0.02, 0.02, 25.0))
        self.stopping: set[str] = set()
        # Which process has taken a lease.
        self.leases: dict[str, str] = {}

    def add(self, key: str, now: datetime) -> None:
        """Store a direct mail."""
        self.far[key] = Far()
        self.rows[key] = {
            "_id": key, "kind": Kind.DIRECT.value, "channel": _CHANNEL, "state": DeliveryState.PENDING.value,
            "attempts": 0, "rev": 1, "dueAt": now, "createdAt": now, "content": b"", "log": [],
            "expiresAt": now + timedelta(days=30),
        }  # fmt: skip

    def untried_of(self, process: str) -> list[str]:
        """Return what a process has taken and not tried."""
        taken = [row["_id"] for row in self.rows.values() if self.leases.get(row.get("lease", "")) == process]
        return [key for key in taken if process not in self.far[key].tried_by]

    @property
    def open(self) -> list[str]:
        """Those that have not ended."""
        return [key for key, row in self.rows.items() if DeliveryState(row["state"]) in OPEN]


class Outbox:
    """The repository of one process."""

    def __init__(self, deliveries: Deliveries, process: str, clock: Any) -> None:
        self.deliveries = deliveries
        self.process = process
        self.world = deliveries.world
        self.clock = clock

    def _held(self, lease: str, ids: Collection[str]) -> list[Document]:
        return [row for key in sorted(ids) if (row := self.deliveries.rows[key]).get("lease") == lease]

    async def claim(self, _: str, lease: str, limit: int, length: timedelta, **__: Any) -> list[Document]:
        """Take what is due."""
        now = self.clock()
        self.deliveries.leases[lease] = self.process

        def take() -> list[Document]:
            due = [row for row in self.deliveries.rows.values() if row.get("dueAt", now + length) <= now][:limit]
            for row in due:
                row["attempts"] += row["state"] == DeliveryState.SENDING.value
                row |= {
                    "state": DeliveryState.SENDING.value,
                    "lease": lease,
                    "dueAt": now + length,
                    "rev": row["rev"] + 1,
                }
            return [dict(row) for row in due]

        return await self.world.ask(take, DatabaseUnavailable, seconds=(0.0, self.deliveries.slow / 2))

    async def renew(self, lease: str, ids: Collection[str], length: timedelta, _: Collection[str | None]) -> None:
        """Extend a lease; the end is reckoned when the statement is made."""
        until = self.clock() + length

        def extend() -> None:
            for row in self._held(lease, ids):
                row["dueAt"] = until

        await self.world.ask(extend, DatabaseUnavailable, seconds=(0.0, self.deliveries.slow / 2))

    async def release(self, lease: str, ids: Collection[str], _: Collection[str | None]) -> None:
        """Give rows back."""
        now = self.clock()

        def free() -> None:
            for row in self._held(lease, ids):
                row |= {"state": DeliveryState.PENDING.value, "dueAt": now, "rev": row["rev"] + 1}
                del row["lease"]

        await self.world.ask(free, DatabaseUnavailable)

    async def complete(self, lease: str, decisions: Mapping[str, Decide], _: Collection[str | None]) -> set[str]:
        """Settle rows in a transaction."""

        def settle() -> set[str]:
            held = self._held(lease, decisions)
            made: list[Change | None] = [decisions[row["_id"]](dict(row)) for row in held]
            for change in filter(None, made):
                after = change.after
                after["rev"] += 1
                self.deliveries.rows[after["_id"]] = after
            return {row["_id"] for row in held}

        return await self.world.ask(settle, DatabaseUnavailable)

    async def seen(self, made: Sequence[Change]) -> set[str]:
        """Tell in which rows changes are to be seen."""

        def look() -> set[str]:
            return {change.row["_id"] for change in made if change.is_seen_in(self.deliveries.rows[change.row["_id"]])}

        return await self.world.ask(look, DatabaseUnavailable)


class Process:
    """The facts and the channel of one process, and its worker."""

    def __init__(self, deliveries: Deliveries, name: str, ahead: float, lease: float) -> None:
        self.deliveries, self.world, self.name = deliveries, deliveries.world, name
        self.clock = in_milliseconds(self.world.clock(ahead))
        self.lease = lease
        self.channel, self.has_digests, self.most = _CHANNEL, False, None
        self.concurrency = self.world.random.choice((1, 3))
        self.users = self
        self.is_away = False
        part: Any = self
        outbox: Any = Outbox(deliveries, name, self.clock)
        self.worker = Worker(
            part, outbox, part, DeliveryRules(_CHANNEL, _ATTEMPTS),
            poll=timedelta(seconds=15), lease=timedelta(seconds=lease), numbers=Numbers(),
        )  # fmt: skip
        # There are not as many here as a worker takes at a time.
        self.worker.ahead = self.world.random.choice((0, 10))

    async def of(self, _: str, rows: Sequence[Document]) -> Facts:
        """Read the facts of a batch."""
        addresses = {row["_id"]: "ann@example.com" for row in rows}
        return await self.world.ask(lambda: Facts({}, {}, {}, {}, {}, {}, addresses), DatabaseUnavailable)

    async def send(self, row: Document, _: Any, __: Any, seconds: float) -> Sequence[Try]:
        """Send a mail: the far end takes it, or not, at some moment before the time is up."""
        world, key, started = self.world, row["_id"], self.clock()
        far = self.deliveries.far[key]
        world.check(self.name not in self.deliveries.stopping, STOPPED, lambda: f"{self.name} begins {key}")
        others = [name for name, until in far.attempts.items() if until > world.loop.now and name != self.name]
        world.check(not others, ALONE, lambda: f"{key} by {self.name} and {others}")
        far.attempts[self.name] = world.loop.now + seconds
        far.tried += 1
        far.tried_by.add(self.name)
        world.check(far.tried <= _ATTEMPTS, COUNTED, lambda: f"{key}: {far.tried} times")
        if key == "poison":
            del far.attempts[self.name]
            raise ValueError("no mail can be made of it")
        longest = seconds / 2 if world.chance(0.5) else 0.5

        def take() -> Outcome:
            if world.chance(world.trouble):
                return Outcome(Reason.REJECTED_TEMPORARY)
            far.accepted += 1
            return Outcome()

        try:
            outcome = await world.ask(take, TimeoutError, seconds=(0.0, longest))
        except TimeoutError:
            outcome = Outcome(Reason.TIMEOUT)
        if far.attempts.get(self.name, 0.0) > world.loop.now:
            del far.attempts[self.name]
        return [Try(outcome, started, self.clock())]

    async def note(self, _: Sequence[Try]) -> None:
        """Keep nothing of an attempt."""


async def workers(world: World) -> None:
    """Deliver a few mails in processes that come and go."""
    deliveries = Deliveries(world)
    lease = world.random.choice((6.0, 30.0, 60.0))
    apart = min(CLOCKS_APART.total_seconds(), lease / 6) * world.random.choice((0.0, 0.9))
    kills, rests = world.random.choice((0, 0, 4)), world.random.choice((0.0, 0.0, 90.0))
    running: dict[str, tuple[Process, asyncio.Task[Any]]] = {}
    everybody: list[Process] = []

    def start(name: str) -> None:
        with world.loop.process(name):
            process = Process(deliveries, name, world.random.choice((-apart / 2, apart / 2)), lease)
        everybody.append(process)
        running[name] = process, world.start(process.worker.run(), name)

    for number in range(world.random.randint(1, 3)):
        start(f"worker{number}")
    if world.chance(0.3):
        deliveries.add("poison", in_milliseconds(world.clock())())
    for number in range(world.random.randint(1, 12)):
        deliveries.add(f"dlv{number}", in_milliseconds(world.clock())())
    for _ in range(kills):
        await world.pause(0.0, lease)
        name = world.random.choice(list(running))
        world.loop.kill_process(name)
        del running[name]
        start(f"{name}'")
    if rests:
        name = world.random.choice(list(running))
        await world.pause(0.0, 2.0)
        world.loop.stop_process(name)
        await world.pause(0.0, rests)
        world.loop.continue_process(name)
    calm = not (world.trouble or kills or rests or deliveries.slow > 1.0)
    if world.chance(0.5):
        await world.pause(0.0, 2.0)
        name = world.random.choice(list(running))
        await _told_to_stop(world, deliveries, *running.pop(name), calm=calm)
        start(f"{name} anew")
        calm = False
    await world.pause(0.0, 60.0)
    world.trouble, deliveries.slow = 0.0, 0.02
    end = world.loop.now + 2_000.0
    while deliveries.open and world.loop.now < end:
        await asyncio.sleep(20.0)
    world.check(not deliveries.open, ENDED, lambda: f"{[deliveries.rows[key] for key in deliveries.open]}")
    for key, far in deliveries.far.items():
        sent = deliveries.rows[key]["state"] == DeliveryState.SENT.value
        world.check(far.accepted or not sent, ENDED, partial(str, f"{key} was not accepted"))
        world.check(not calm or far.accepted == (key != "poison"), ONCE, partial(str, f"{far.accepted} times"))
    for process, _ in running.values():
        await process.worker.stop(1.0)
    await background.end(task for _, task in running.values())


async def _told_to_stop(
    world: World, deliveries: Deliveries, process: Process, running: asyncio.Task[Any], *, calm: bool
) -> None:
    """Stop a worker as ``assembly.working`` does; its process is gone afterwards."""
    for number in range(world.random.randint(0, 5)):
        deliveries.add(f"late{number}", process.clock())
    process.worker.wake()
    await world.pause(0.0, 0.05)
    deliveries.stopping.add(process.name)
    await asyncio.gather(world.start(process.worker.stop(1.0), process.name), running)
    world.loop.kill_process(process.name)
    kept = deliveries.untried_of(process.name)
    world.check(not calm or not kept, STOPPED, lambda: f"{kept} are not given back")


def test_each_delivery_ends_and_is_sent_by_one_worker_at_a_time() -> None:
    """Whoever has it, and whatever fails."""
    explore(workers, schedules=500)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the worker is for."""
    found_by(workers, mutant)
