"""Watchers: what every stream tells, through every fault, by the clients that resume."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from vibework.client.aio import Notifications, Users
from vibework.users.v1 import UserEvent, UserEventKind

from tests.harness.history.record import History, Told
from tests.reliability.load.caller import revision_of

# Events that are no state of the user, and of which there may be several in one.
_MOMENTS = frozenset({"password_changed", "session_stolen"})


@dataclass
class Watchers:
    """Streams that are read into a history, each in a task of its own."""

    history: History
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    in_place: list[asyncio.Event] = field(default_factory=list)

    def watch_users(self, stream: str, client: Users) -> None:
        """Read what happens to users."""

        async def read(greeted: Callable[[], None]) -> None:
            async with client.watch_users(heartbeats=True) as events:
                async for event in events:
                    greeted()
                    if event.HasField("user_event"):
                        self.history.told.append(_of_user(stream, event.user_event))

        self._start(stream, read)

    def watch_feed(self, stream: str, client: Notifications, user_id: str) -> None:
        """Read what happens to a user's notifications."""

        async def read(greeted: Callable[[], None]) -> None:
            async with client.watch_notifications(user_id=user_id, heartbeats=True) as events:
                async for event in events:
                    greeted()
                    self.history.told.extend(_of_feed(stream, event))

        self._start(stream, read)

    def _start(self, stream: str, read: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        in_place = asyncio.Event()
        self.in_place.append(in_place)
        self.tasks.append(asyncio.create_task(_reading(read, in_place.set), name=stream))

    async def begun(self) -> None:
        """Wait until all are in place."""
        for each in self.in_place:
            await each.wait()

    async def end(self) -> list[str]:
        """End them; return the streams that had ended by themselves, each with why."""
        failed = [
            f"{task.get_name()} ended: {task.exception()!r}"
            for task in self.tasks
            if task.done() and not task.cancelled()
        ]
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return failed


async def _reading(read: Callable[[Callable[[], None]], Awaitable[None]], greeted: Callable[[], None]) -> None:
    await read(greeted)


def _of_user(stream: str, event: UserEvent) -> Told:
    kind = UserEventKind.Name(event.kind).removeprefix("USER_EVENT_KIND_").lower()
    if kind in _MOMENTS:
        return Told(stream, kind, f"{event.user_id} {event.occurred_at.ToJsonString()}")
    return Told(stream, kind, event.user_id, revision_of(event.etag))


def _of_feed(stream: str, event: Any) -> list[Told]:
    kind = event.WhichOneof("event")
    if kind == "heartbeat":
        return []
    what = getattr(event, kind)
    return [Told(stream, kind, what.id, 0 if kind == "deleted" else revision_of(what.etag))]
