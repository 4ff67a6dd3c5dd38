"""Clients that watch in a simulation: they read at drawn speeds, lose their connections, and resume by their tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from chassis.errors import DatabaseUnavailable, ServiceError, ShuttingDown
from chassis.watching.errors import ResumeTokenExpired, WatchInterrupted
from tests.harness.simulation.world import World

EXACT: Final = "a watch tells all that happens after its beginning once, in order, over all its connections"
BEGINS: Final = "a new watch does not tell what its caller may have read before"
DRAINED: Final = "a drain ends every watch with SHUTTING_DOWN, and refuses new ones"

# The errors after which a caller is to try again with the token that it has.
_AGAIN: Final = (DatabaseUnavailable, WatchInterrupted, ShuttingDown)


@dataclass
class Response:
    """What a watch writes: an event, or a heartbeat; ``token``: what a caller keeps of it."""

    token: Any
    event: Any = None


class Watched(Protocol):
    """One of the two services, as far as its clients know it."""

    def moment(self) -> int:
        """Return how many events have been committed."""
        ...

    def number(self, event: Any) -> int:
        """Return how many events had been committed before this one."""
        ...

    def expected(self, client: Client) -> list[Any]:
        """Return what a client must have been told by now."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether all that has been committed can be told."""
        ...

    async def connect(self, client: Client, write: Callable[[Response], Awaitable[None]]) -> None:
        """Watch from the client's token on, until an error ends that."""
        ...


@dataclass
class Client:
    """A caller that watches; ``told``: the events since its ``first`` token."""

    world: World
    watched: Watched
    user: str
    slowness: float
    token: Any = None
    first: Any = None
    told: list[Any] = field(default_factory=list)
    # How many events had been committed when it asked for a watch without a token.
    asked_at: int = 0
    refused: list[type[ServiceError]] = field(default_factory=list)
    at_work: asyncio.Task[None] | None = None
    is_over: bool = False

    async def follow(self) -> None:
        """Watch until it is over, over any number of connections."""
        while not self.is_over:
            self.at_work = self.world.loop.create_task(self._connection())
            await asyncio.wait((self.at_work,))
            if not self.at_work.cancelled():
                self.at_work.result()
            await self.world.pause(0.0, self.world.random.choice((0.01, 0.5)))

    def leave(self) -> None:
        """Lose the connection, and at times all that it remembers."""
        if self.at_work is not None:
            self.at_work.cancel()
        if self.world.chance(0.4):
            self.token, self.told = None, []

    async def _connection(self) -> None:
        if self.token is None:
            self.asked_at = self.watched.moment()
        try:
            await self.watched.connect(self, self._write)
        except ResumeTokenExpired:
            # It has to list anew, and watch from now on.
            self.token, self.told = None, []
        except _AGAIN as error:
            self.refused.append(type(error))

    async def _write(self, response: Response) -> None:
        if self.slowness:
            await self.world.pause(0.0, self.slowness)
        if self.token is None:
            self.first, self.told = response.token, []
        self.token = response.token
        if response.event is not None:
            number = self.watched.number(response.event)
            self.world.check(number >= self.asked_at, BEGINS, lambda: f"event {number}, asked at {self.asked_at}")
            self.told.append(response.event)

    def check(self) -> None:
        """Compare what was told with what happened."""
        expected = self.watched.expected(self)
        self.world.check(
            self.token is not None and self.told == expected,
            EXACT,
            lambda: f"{self.user} was told {self.told}, and not {expected}",
        )

    @property
    def is_up_to_date(self) -> bool:
        """Whether it has been told as many events as there are."""
        return self.token is not None and len(self.told) == len(self.watched.expected(self))


async def all_told(world: World, clients: list[Client], seconds: float = 200.0) -> None:
    """Let the world calm down and wait until all clients are up to date; check that they were told the truth."""
    world.trouble = 0.0
    end = world.loop.now + seconds
    # Long enough for each process to look at its database once more.
    await asyncio.sleep(2.5)
    while world.loop.now < end and not all(each.watched.is_settled and each.is_up_to_date for each in clients):
        await asyncio.sleep(1.0)
    for client in clients:
        client.check()


async def drained(world: World, clients: list[Client], draining: asyncio.Event) -> None:
    """Drain, and check that it ends every watch at once and lets none begin."""
    for client in clients:
        client.refused.clear()
        if world.chance(0.5):
            client.leave()
    await world.pause(0.0, 0.05)
    draining.set()
    await asyncio.sleep(2.0)
    at_work = [client.at_work for client in clients]
    for client in clients:
        client.is_over = True
    # Whoever came at this very moment is refused by then.
    await asyncio.sleep(0.1)
    for client, task in zip(clients, at_work, strict=True):
        held = task is not None and not task.done() and not client.slowness
        refused = set(client.refused)
        world.check(not held and refused <= {ShuttingDown}, DRAINED, lambda refused=refused: f"{refused}")  # type: ignore[misc]
        world.check(client.refused, DRAINED, lambda: "its watch goes on")
