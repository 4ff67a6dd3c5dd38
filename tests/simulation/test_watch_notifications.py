"""Watches of notifications: the hub and its sessions, over a change stream that breaks, among clients who do, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from bson import ObjectId, Timestamp
from pymongo.errors import AutoReconnect

from chassis.errors import DatabaseUnavailable
from chassis.watching.watcher import QueuedWatcher
from notifications_service.clock import in_milliseconds
from notifications_service.watch import changes
from notifications_service.watch.changes import ChangeEvent, ChangeKind, HistoryLost, ResumePoint, StreamPosition
from notifications_service.watch.history import HistoryPart, HistoryRange
from notifications_service.watch.hub import Hub
from notifications_service.watch.limits import WatchLimits
from notifications_service.watch.session import Sources, WatchSession
from notifications_service.watch.settings import WatchSettings
from notifications_service.watch.watcher import Event, Watcher
from tests.harness.simulation.loop import Numbered
from tests.harness.simulation.mutants import Mutant
from tests.harness.simulation.schedules import explore, found_by
from tests.harness.simulation.watches import BEGINS, DRAINED, EXACT, Client, Response, all_told, drained
from tests.harness.simulation.world import World

CLOSED = "the shared stream is closed soon after the last watcher has left"

MUTANTS = (
    Mutant(EXACT, WatchSession, "_send_event", "not self._reached().covers(event.position, event.at)", "True"),
    Mutant(EXACT, WatchSession, "_catch_up", ".position < until:", ".position < until and not self._greeted:"),
    Mutant(EXACT, QueuedWatcher, "offer", "self.behind = True", "return True"),
    Mutant(EXACT, Hub, "_follow", "if self.position is None:", "if True:"),
    Mutant(EXACT, Hub, "_run", "self._end_all(ResumeTokenExpired)", "pass"),
    Mutant(
        EXACT,
        Hub,
        "join",
        "watcher.join(await self._standing())",
        "position = await self._standing()\n    await asyncio.sleep(0.01)\n    watcher.join(position)",
    ),
    Mutant(
        BEGINS,
        WatchSession,
        "start_now",
        "ResumePoint(self._watcher.joined_at, moment)",
        "ResumePoint(self._watcher.joined_at)",
    ),
    Mutant(DRAINED, Hub, "_end_with_drain", "self._end_all(ShuttingDown)", "pass"),
    Mutant(DRAINED, Hub, "_standing", "while not self._draining.is_set():", "while True:"),
    Mutant(CLOSED, Hub, "leave", "if not self._watchers and self._closing is None:", "if False:"),
)

_LIMITS = replace(WatchLimits.of(WatchSettings(), catch_ups=4), queue=3, linger=2.0)
_USERS = ("ann", "bob")
# How long the server waits for an event, by the virtual clock.
_AWAIT_SECONDS = 1.0


class Oplog:
    """MongoDB's log of changes, and the streams over it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.events: list[ChangeEvent] = []
        self.time = Timestamp(100, 0)
        self.open = 0
        self.grown = asyncio.Event()

    def commit(self, users: list[str]) -> None:
        """Commit a transaction: a change for each user; those of one transaction share a time."""
        self.time = Timestamp(self.time.time + self.world.random.randint(0, 1), self.time.inc + 1)
        for place, user in enumerate(users):
            position = StreamPosition(f"{changes.before(self.time)}{place:02X}")
            self.events.append(ChangeEvent(position, self.time, ChangeKind.CREATED, ObjectId(), user, None))
        self.grown.set()
        self.grown = asyncio.Event()

    async def now(self) -> Timestamp:
        """Return a time by which all was committed."""
        return await self.world.ask(lambda: self.time, lambda: AutoReconnect("lost"))

    @asynccontextmanager
    async def stream(self, after: StreamPosition) -> AsyncIterator[Any]:
        """Open a change stream."""
        await self.world.ask(lambda: None, lambda: AutoReconnect("lost"))
        self.open += 1
        try:
            yield Stream(self, after)
        finally:
            self.open -= 1

    def after(self, position: StreamPosition) -> list[ChangeEvent]:
        """Return what follows a position."""
        return [event for event in self.events if event.position > position]


class Stream:
    """One change stream."""

    def __init__(self, log: Oplog, position: StreamPosition) -> None:
        self.log = log
        self.position = position

    async def next(self) -> tuple[ChangeEvent, ...] | None:
        """Return the next event, or None after a while without one."""
        world, log = self.log.world, self.log
        if world.trouble and world.chance(0.01):
            raise HistoryLost("the server answered 286")
        grown = log.grown
        found = await world.ask(lambda: log.after(self.position)[:1], lambda: AutoReconnect("lost"))
        if not found:
            try:
                async with asyncio.timeout(_AWAIT_SECONDS):
                    await grown.wait()
            except TimeoutError:
                self.position = max(self.position, changes.before(log.time))
            return None
        self.position = found[0].position
        return tuple(found)


class SimulatedWatcher(Numbered, Watcher):
    """A watcher whose place among others does not depend on its address in memory."""


class Service:
    """The sources of the sessions, and what a client has to be told."""

    def __init__(self, world: World, log: Oplog, draining: asyncio.Event) -> None:
        self.world = world
        self.log = log
        self.hub = Hub(
            log.stream, log.now, lambda change, _: told(change), _LIMITS, draining, clock=in_milliseconds(world.clock())
        )
        part: Any = self
        self.sources = Sources(self.hub, part, part, part, part)

    async def read(self, wanted: HistoryRange) -> HistoryPart:
        """Read a part of a history."""
        return await self.world.ask(lambda: self._part(wanted), DatabaseUnavailable)

    def _part(self, wanted: HistoryRange) -> HistoryPart:
        between = [event for event in self.log.after(wanted.after) if event.position <= wanted.until]
        read = between[: self.world.random.randint(1, 4)]
        reached = wanted.until if len(read) == len(between) else read[-1].position
        return HistoryPart([event for event in read if event.user_id == wanted.user_id], reached)

    async def now(self, _: Timestamp | None) -> Timestamp:
        """Return a time by which all that was acknowledged was committed."""
        return await self.world.ask(lambda: self.log.time, DatabaseUnavailable)

    def of(self, change: ChangeEvent, _: Any) -> Event:
        """Return a change as it is told."""
        return told(change)

    def heartbeat(self, _: str, place: ResumePoint | None, __: Any) -> Response:
        """Return a heartbeat."""
        return Response(place)

    def moment(self) -> int:
        """Return how many events have been committed."""
        return len(self.log.events)

    def number(self, event: Any) -> int:
        """Return how many events had been committed before this one."""
        return self.log.events.index(event)

    def expected(self, client: Client) -> list[Any]:
        """Return what a client must have been told."""
        first: ResumePoint = client.first
        return [
            event
            for event in self.log.events
            if event.user_id == client.user and not first.covers(event.position, event.at)
        ]

    is_settled = True

    async def connect(self, client: Client, write: Callable[[Response], Awaitable[None]]) -> None:
        """Watch, as ``WatchService`` does."""
        watcher, as_written = SimulatedWatcher(client.user, _LIMITS.queue), cast("Any", write)
        try:
            await self.hub.join(watcher)
            session = WatchSession(
                self.sources, watcher, self.world.random.uniform(0.5, 5.0), as_written, counting=False
            )
            if client.token is None:
                await session.start_now()
            else:
                session.start_after(client.token)
            await session.run()
        finally:
            self.hub.leave(watcher)


def told(change: ChangeEvent) -> Event:
    """Return a change as it goes to all watchers."""
    response: Any = Response(ResumePoint(change.position), change)
    return Event(change.position, change.at, response)


async def watches(world: World) -> None:
    """Watch while notifications change, connections break, and readers lag; then let all leave, or drain."""
    draining, log = asyncio.Event(), Oplog(world)
    service = Service(world, log, draining)
    clients = [
        Client(world, service, world.random.choice(_USERS), world.random.choice((0.0, 0.0, 0.02)))
        for _ in range(world.random.randint(1, 4))
    ]
    following = [world.start(client.follow()) for client in clients]
    for _ in range(world.random.randint(1, 12)):
        await world.pause(0.0, world.random.choice((0.002, 0.1, 1.0)))
        log.commit([world.random.choice((*_USERS, "nobody")) for _ in range(world.random.choice((1, 1, 1, 2, 6)))])
        leaving = world.random.choice(clients)
        if world.chance(0.2):
            leaving.leave()
    await all_told(world, clients)
    if world.chance(0.5):
        await drained(world, clients, draining)
    else:
        for client in clients:
            client.is_over = True
            client.leave()
        await asyncio.wait(following)
        await asyncio.sleep(_LIMITS.linger + 3.0)
        world.check(not log.open and not service.hub._tasks, CLOSED, lambda: f"{log.open} streams are open")
    await asyncio.wait(following)
    await service.hub.close()


def test_watches_tell_each_change_once_and_in_order() -> None:
    """Whatever breaks between the database and the clients."""
    explore(watches)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_missing_guard_is_found(mutant: Mutant) -> None:
    """The simulation sees what each guard of the watches is for."""
    found_by(watches, mutant)
