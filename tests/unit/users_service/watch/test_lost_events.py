"""Events that a database lost, as after a failover to a replica that was behind: no watch goes on as if they were."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest
from vibework.users.v1 import user_service_pb2 as pb

from chassis.background import running
from chassis.keyring import Keyring
from chassis.watching.errors import ResumeTokenExpired
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.users import SECRET_KEYS
from users_service.events.model import OrderState, Place, Stretch, UserEvent
from users_service.watch import hub as watching
from users_service.watch.history import History
from users_service.watch.hub import Hub
from users_service.watch.limits import WatchLimits
from users_service.watch.messages import Responses
from users_service.watch.session import Sources, WatchSession
from users_service.watch.settings import WatchSettings
from users_service.watch.tokens import ResumeTokens
from users_service.watch.watcher import Watcher

EPOCH: Final = bytes(16)
LIMITS: Final = replace(WatchLimits.of(WatchSettings(), poll=0.01), start=PATIENCE_SECONDS)


class Order:
    """Stands in for the sequencer: what the database has, and what it loses behind the next look."""

    def __init__(self, number: int) -> None:
        self.events: list[UserEvent] = []
        self.add(number)
        self.lost_after_look = 0
        self.looks = 0

    def add(self, number: int, stamp: int = 1) -> None:
        """Give so many further events their numbers."""
        for seq in range(len(self.events) + 1, len(self.events) + number + 1):
            place = Place(EPOCH, seq, stamp)
            self.events.append(UserEvent(place, f"u{seq}", "changed", 1, "", datetime(2026, 1, 1, tzinfo=UTC)))

    def lose(self, number: int) -> None:
        """Lose the last events."""
        del self.events[len(self.events) - number :]

    async def look(self) -> OrderState:
        """Say how far the order goes."""
        await asyncio.sleep(0)
        return OrderState(self.events[-1].place, 0, [])

    async def sequence(self) -> OrderState:
        """Say how far the order goes; all have their numbers."""
        state = await self.look()
        if self.lost_after_look:
            self.lose(self.lost_after_look)
            self.lost_after_look = 0
        self.looks += 1
        return state

    async def following(self, place: Place, limit: int) -> Stretch:
        """Return the event of a place and those after it."""
        await asyncio.sleep(0)
        return Stretch(EPOCH, 0, self.events[place.seq - 1 :][:limit])


def new_hub(order: Order) -> tuple[Hub, Responses]:
    """Make the hub of a process."""
    responses = Responses(ResumeTokens(Keyring.parse(SECRET_KEYS)))
    return Hub(cast("Any", order), responses, LIMITS, asyncio.Event()), responses


async def test_a_hub_does_not_wait_for_events_that_are_gone() -> None:
    """They were there when it looked, and not when it read: it looks again, and hands on what comes in their place."""
    order = Order(3)
    hub, _ = new_hub(order)
    async with running(hub.run()), asyncio.timeout(PATIENCE_SECONDS):
        watcher = Watcher(10)
        await hub.join(watcher)
        order.lost_after_look = 2
        order.add(2)
        looks = order.looks
        await until(lambda: order.looks >= looks + 3, "further looks")
        assert len(order.events) == 3
        order.add(1, stamp=2)
        event = await watcher.next(PATIENCE_SECONDS)
        assert event is not None
        assert event.place == Place(EPOCH, 4, 2)


async def test_a_watcher_that_fell_behind_hears_of_what_was_lost_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub, of which it was not at that time, ends it no more: it sees for itself that it was told too much."""
    monkeypatch.setattr(watching, "UNWATCHED_SECONDS", 0.01)
    order = Order(1)
    hub, responses = new_hub(order)
    told: list[pb.WatchUsersResponse] = []
    at_the_third = asyncio.Event()
    proceed = asyncio.Event()

    async def write(response: pb.WatchUsersResponse) -> None:
        told.append(response)
        if response.user_event.user_id == "u3":
            at_the_third.set()
            await proceed.wait()

    async with running(hub.run()), asyncio.timeout(PATIENCE_SECONDS):
        watcher = Watcher(1)
        await hub.join(watcher)
        sources = Sources(hub, History(cast("Any", order)), responses)
        session = asyncio.create_task(WatchSession(sources, watcher, PATIENCE_SECONDS, write).run())
        order.add(1)
        await until(lambda: any(each.user_event.user_id == "u2" for each in told), "the second event")
        order.add(3)
        await at_the_third.wait()
        assert watcher.behind
        looks = order.looks
        order.lose(4)
        await until(lambda: order.looks > looks, "another look")
        proceed.set()
        with pytest.raises(ResumeTokenExpired):
            await session
