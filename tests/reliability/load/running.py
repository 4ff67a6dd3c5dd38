"""The load in a thread of its own, which is told when to begin, to pause, and to hand over what it has recorded."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from vibework.client import TLS, RetryPolicy
from vibework.client.aio import Notifications, Users

from tests.harness.history import streams
from tests.harness.history.record import History
from tests.harness.patience import PATIENCE_SECONDS, until, wait_for
from tests.reliability.load.caller import Caller, Clients, Pace
from tests.reliability.load.objects import make_user
from tests.reliability.load.stories import STORIES, Story
from tests.reliability.load.watchers import Watchers

T = TypeVar("T")

CALLS_A_SECOND: Final = 50.0
RECIPIENTS: Final = 2
# How long the first users of a history may take to be made, and watchers to be told of the last changes, in seconds.
BEGINNING_SECONDS: Final = PATIENCE_SECONDS
TELLING_SECONDS: Final = 60.0
# Never repeats a call.
ONCE: Final = RetryPolicy(attempts=1)


@dataclass
class Load:
    """Callers of both services, by the addresses of their processes."""

    users: Sequence[str]
    notifications: Sequence[str]
    pace: Pace = field(default_factory=lambda: Pace(CALLS_A_SECOND))
    seed: int = 0
    # How the services of this history are called.
    tls: TLS | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    caller: Caller | None = None
    # How often each story of this history was told to its end.
    told: Counter[str] = field(default_factory=Counter)
    _clients: list[Any] = field(default_factory=list)
    _watchers: Watchers | None = None
    _telling: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self, name: str, *, only_patient: bool = False, tls: TLS | None = None) -> Caller:
        """Begin a new history, whose nonces begin with a name, and go on until ``end``."""
        self.tls = tls
        return self._run(self._begin(name, only_patient=only_patient))

    def await_stories(self, times: int, *stories: Story) -> None:
        """Wait until each of these stories was told so often."""
        wait_for(lambda: all(self.told[each.__name__] >= times for each in stories), "stories to be told")

    def pause(self) -> None:
        """Let no call be made, and wait for those that are in flight."""
        self._run(self._pause())

    def resume(self) -> None:
        """Go on."""
        self.loop.call_soon_threadsafe(self.pace.open)

    def end(self) -> tuple[History, list[str]]:
        """End the history; return it, and why stories or watchers had ended by themselves."""
        return self._run(self._end())

    def close(self) -> None:
        """End everything."""
        self._run(self._close())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _begin(self, name: str, *, only_patient: bool) -> Caller:
        patient, single = Clients(*self._connected(None), True), Clients(*self._connected(ONCE), False)
        clients = (patient,) if only_patient else (patient, single)
        history = History()
        setup = Caller(history, (patient,), self.pace, f"{name}r")
        self.pace.open()
        async with asyncio.timeout(BEGINNING_SECONDS):
            recipients = [await _some_user(setup) for _ in range(RECIPIENTS)]
            self._watchers = Watchers(history)
            of_users, of_feeds = self._watch(recipients)
            await self._watchers.begun()
        # Nobody was told of what was before.
        history.changes.clear()
        self.told.clear()
        chance = random.Random(f"{self.seed} {name}")
        caller = Caller(history, clients, self.pace, name, of_users, of_feeds, chance)
        self._telling = [
            asyncio.create_task(self._tell(story, caller), name=story.__name__)
            for story, number in STORIES.items()
            for _ in range(number)
        ]
        self.caller = caller
        return caller

    def _watch(self, recipients: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Watch through each process first, so that every watch has one that it began with; return the streams."""
        assert self._watchers is not None
        of_users, of_feeds = [], {}
        for number in range(len(self.users)):
            of_users.append(f"users by {number}")
            client = self._kept(Users.connect(_from(self.users, number), tls=self.tls))
            self._watchers.watch_users(of_users[-1], client)
        for user_id in recipients:
            of_feeds[user_id] = tuple(f"{user_id} by {number}" for number in range(len(self.notifications)))
            for number, stream in enumerate(of_feeds[user_id]):
                feed = self._kept(Notifications.connect(_from(self.notifications, number), tls=self.tls))
                self._watchers.watch_feed(stream, feed, user_id)
        return tuple(of_users), of_feeds

    def _connected(self, retries: RetryPolicy | None) -> tuple[Users, Notifications]:
        users = Users.connect(list(self.users), retries=retries, tls=self.tls)
        notifications = Notifications.connect(list(self.notifications), retries=retries, tls=self.tls)
        return self._kept(users), self._kept(notifications)

    def _kept(self, client: T) -> T:
        self._clients.append(client)
        return client

    async def _tell(self, story: Story, caller: Caller) -> None:
        """Tell a story again and again."""
        while True:
            await story(caller)
            self.told[story.__name__] += 1

    async def _pause(self) -> None:
        self.pace.close()
        await until(lambda: not self.pace.in_flight, "the calls in flight")

    async def _end(self) -> tuple[History, list[str]]:
        assert self.caller is not None
        assert self._watchers is not None
        await self._pause()
        broken = [
            f"{task.get_name()}: {task.exception()!r}" for task in self._telling if task.done() and not task.cancelled()
        ]
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        history = self.caller.history
        for _ in range(round(TELLING_SECONDS * 5)):
            if not any(streams.lost(history.told, history.changes)):
                break
            await asyncio.sleep(0.2)
        broken += await self._watchers.end()
        await self._close_clients()
        self.caller = self._watchers = None
        return history, broken

    async def _close_clients(self) -> None:
        for client in self._clients:
            await client.close()
        self._clients.clear()

    async def _close(self) -> None:
        if self.caller is not None:
            self.pace.close()
            for task in self._telling:
                task.cancel()
            await asyncio.gather(*self._telling, return_exceptions=True)
        if self._watchers is not None:
            await self._watchers.end()
        await self._close_clients()


@contextmanager
def loading(users: Sequence[str], notifications: Sequence[str], seed: int = 0) -> Iterator[Load]:
    """Have a load for as long as the context lasts."""
    load = Load(users, notifications, seed=seed)
    thread = threading.Thread(target=load.loop.run_forever, name="load")
    thread.start()
    try:
        yield load
    finally:
        load.close()
        load.loop.call_soon_threadsafe(load.loop.stop)
        thread.join()
        load.loop.close()


def _from(addresses: Sequence[str], number: int) -> list[str]:
    return [*addresses[number:], *addresses[:number]]


async def _some_user(caller: Caller) -> str:
    while True:
        user, _ = await make_user(caller)
        if user is not None:
            return user.id
        await asyncio.sleep(0.2)
