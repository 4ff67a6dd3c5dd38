"""Watches of users: two processes that number events, over a database that fails, and may lose its last events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest

from chassis import background
from chassis.errors import DatabaseUnavailable
from chassis.watching.watcher import QueuedWatcher
from tests.harness.simulation.loop import Numbered
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.watches import BEGINS, DRAINED, EXACT, Client, Response, all_told, drained
from tests.harness.simulation.world import World
from users_service.events import sequencer
from users_service.events.model import OrderState, Place, Stretch, UserEvent
from users_service.events.sequencer import Sequencer
from users_service.watch.history import History
from users_service.watch.hub import Hub
from users_service.watch.limits import WatchLimits
from users_service.watch.session import Sources, WatchSession
from users_service.watch.settings import WatchSettings
from users_service.watch.watcher import Event, Watcher

MUTANTS = (
    Mutant(
        EXACT,
        WatchSession,
        "run",
        "self._require_place()\n        part = await self._read()",
        "self._require_place()\n        part = []",
    ),
    Mutant(EXACT, WatchSession, "_require_place", "if ahead or self._place.epoch != joined.epoch:", "if False:"),
    Mutant(EXACT, Hub, "_failed", "self._forget(ResumeTokenExpired)", "self.place = None"),
    Mutant(EXACT, QueuedWatcher, "offer", "self.behind = True", "return True"),
    Mutant(BEGINS, Hub, "_look", "for watcher in joining:", "for watcher in list(self._joining):"),
    Mutant(DRAINED, Hub, "end_with_drain", "self.close()", "pass"),
    Mutant(DRAINED, Hub, "close", "joined.set_exception(ShuttingDown())", "pass"),
    Mutant(DRAINED, Hub, "join", "if self._draining.is_set():", "if False:"),
)

_LIMITS = replace(WatchLimits.of(WatchSettings(), poll=1.0), queue=3, start=1.0)
_EPOCH: Final = bytes(16)


class Table:
    """The events, numbered and not, and the statements on them; each is one moment of the database."""

    def __init__(self, world: World) -> None:
        self.world = world
        # How many were committed, also of those that were lost since.
        self.committed = 0
        self.commits: dict[str, int] = {}
        self.pending: list[UserEvent] = []
        self.numbered: list[UserEvent] = []

    def commit(self) -> None:
        """Commit an event, which has no number yet."""
        name = f"u{self.committed}"
        self.commits[name] = self.committed
        self.committed += 1
        self.pending.append(UserEvent(Place(_EPOCH, 0, 0), name, "changed", 1, "", datetime(2026, 1, 1, tzinfo=UTC)))

    def lose(self, number: int) -> None:
        """Lose the last events that have a number, as a failover to a replica that was behind does."""
        del self.numbered[max(0, len(self.numbered) - number) :]

    def state(self) -> OrderState:
        """Return how far the order goes."""
        last = self.numbered[-1].place if self.numbered else Place(_EPOCH, 0, 0)
        return OrderState(last, 0, [self.commits[event.user_id] for event in self.pending[:50]])

    def give_numbers(self, state: OrderState) -> bool:
        """Number the pending events of a state, unless another process was faster."""
        if state.last.seq != len(self.numbered):
            return False
        stamp = int(self.world.loop.now * 1_000_000)
        chosen = [event for event in self.pending if self.commits[event.user_id] in state.pending]
        for event in chosen:
            self.pending.remove(event)
            self.numbered.append(replace(event, place=Place(_EPOCH, len(self.numbered) + 1, stamp)))
        return len(chosen) == len(state.pending)

    async def look(self, _: Any) -> OrderState:
        """Stand in for the repository's statement."""
        return await self.world.ask(self.state, DatabaseUnavailable)

    async def number(self, _: Any, state: OrderState) -> bool:
        """Stand in for the repository's statement."""
        return await self.world.ask(lambda: self.give_numbers(state), DatabaseUnavailable)

    async def following(self, _: Any, *, seq: int, limit: int) -> Stretch:
        """Stand in for the repository's statement."""
        first = max(seq - 1, 0)
        return await self.world.ask(
            lambda: Stretch(_EPOCH, 0, self.numbered[first : first + limit]), DatabaseUnavailable
        )

    async def query(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Stand in for ``Database.query``."""
        return await work(self)


class SimulatedWatcher(Numbered, Watcher):
    """A watcher whose place among others does not depend on its address in memory."""


class Service:
    """One process."""

    def __init__(self, world: World, table: Table, draining: asyncio.Event) -> None:
        self.world = world
        self.table = table
        self.sequencer = Sequencer(cast("Any", table))
        # Those that a client may be connected to.
        self.processes = [self]
        part: Any = self
        self.hub = Hub(self.sequencer, part, _LIMITS, draining)
        self.sources = Sources(self.hub, History(self.sequencer, size=world.random.randint(2, 6)), part)

    def of(self, event: UserEvent) -> Event:
        """Return an event as it goes to all watchers."""
        return Event(event.place, cast("Any", Response(event.place, event)))

    def heartbeat(self, place: Place) -> Response:
        """Return a heartbeat."""
        return Response(place)

    def moment(self) -> int:
        """Return how many events have been committed."""
        return self.table.committed

    def number(self, event: Any) -> int:
        """Return how many events had been committed before this one."""
        return self.table.commits[event.user_id]

    def expected(self, client: Client) -> list[Any]:
        """Return what a client must have been told."""
        return self.table.numbered[client.first.seq :]

    @property
    def is_settled(self) -> bool:
        """Whether all events have a number."""
        return not self.table.pending

    async def connect(self, client: Client, write: Callable[[Response], Awaitable[None]]) -> None:
        """Watch at one of the processes, as its ``WatchService`` does."""
        process, watcher = self.world.random.choice(self.processes), SimulatedWatcher(_LIMITS.queue)
        try:
            await process.hub.join(watcher)
            session = WatchSession(process.sources, watcher, self.world.random.uniform(0.5, 5.0), cast("Any", write))
            if client.token is not None:
                session.start_after(client.token)
            await session.run()
        finally:
            process.hub.leave(watcher)


async def watches(world: World) -> None:
    """Watch while users change, connections break, readers lag, and a failover loses events; then drain."""
    draining, table = asyncio.Event(), Table(world)
    module: Any = sequencer
    statements, module.repository = module.repository, table
    table.BATCH = statements.BATCH  # type: ignore[attr-defined]
    try:
        await _watches(world, table, draining)
    finally:
        module.repository = statements


async def _watches(world: World, table: Table, draining: asyncio.Event) -> None:
    services = [Service(world, table, draining) for _ in range(2)]
    running: list[asyncio.Task[Any]] = []
    for service in services:
        service.processes = services
        running += (world.start(service.hub.run()), world.start(service.hub.end_with_drain()))
    clients = [
        Client(world, services[0], "all", world.random.choice((0.0, 0.0, 0.02)))
        for _ in range(world.random.randint(1, 3))
    ]
    following = [world.start(client.follow()) for client in clients]
    for _ in range(world.random.randint(1, 10)):
        await world.pause(0.0, world.random.choice((0.002, 0.1, 1.0)))
        for _ in range(world.random.choice((1, 1, 2, 8))):
            table.commit()
            world.random.choice(services).hub.wake()
        leaving = world.random.choice(clients)
        if world.chance(0.2):
            leaving.leave()
        if world.chance(0.1):
            table.lose(world.random.randint(1, 3))
    await all_told(world, clients)
    world.check(not table.pending, EXACT, lambda: f"{table.pending} have no number")
    await drained(world, clients, draining)
    await asyncio.wait(following)
    await background.end(running)


def test_watches_tell_each_event_once_and_in_order() -> None:
    """Whatever breaks between the database and the clients, and whoever numbers the events."""
    explore(watches, schedules=500)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the watches is for."""
    found_by(watches, mutant)
