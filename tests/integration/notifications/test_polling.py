"""Polling for new notifications by `created_after`, as the contract says to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from tests.harness.notifications import Notifications
from tests.integration.notifications.building import content, create, items

OVERLAP = timedelta(minutes=2)


class Poller:
    """Asks for what was created since the newest that it has seen, and for an overlap; drops what it knows."""

    def __init__(self, feed: Any, user_id: str, overlap: timedelta) -> None:
        self._feed = feed
        self._user_id = user_id
        self._overlap = overlap
        self._newest: Timestamp | None = None
        self.seen: list[str] = []

    async def poll(self) -> None:
        """Take in what is new."""
        request = service.ListNotificationsRequest(user_id=self._user_id, page_size=2)
        if self._newest is not None:
            request.filter.created_after.FromDatetime(self._newest.ToDatetime() - self._overlap)
        while True:
            page = await self._feed.ListNotifications(request)
            for item in page.notifications:
                if item.id not in self.seen:
                    self.seen.append(item.id)
                self._newest = max(self._newest or item.created_at, item.created_at, key=Timestamp.ToNanoseconds)
            request.page_token = page.next_page_token
            if not request.page_token:
                return


async def test_a_poller_misses_nothing_that_becomes_visible_late(
    pymongo_notifications: Notifications, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose transaction is held open becomes visible after later ones were seen: who overlaps gets it, once."""
    feed = pymongo_notifications.feed
    held, go = asyncio.Event(), asyncio.Event()
    transaction = Database.transaction

    async def holding(self: Database, work: Callable[[ClientSession], Awaitable[Any]]) -> Any:
        async def hold(session: ClientSession) -> Any:
            done = await work(session)
            held.set()
            await go.wait()
            return done

        return await transaction(self, hold)

    monkeypatch.setattr(Database, "transaction", holding)
    poller, naive = Poller(feed, user_id, OVERLAP), Poller(feed, user_id, timedelta())
    batch = asyncio.ensure_future(feed.BatchCreateNotifications(items(*[(user_id, content())] * 3)))
    await held.wait()
    later = []
    for _ in range(3):
        # In a later millisecond than the batch.
        await asyncio.sleep(0.002)
        later.append((await feed.CreateNotification(create(user_id))).notification.id)
        await poller.poll()
        await naive.poll()
    assert poller.seen == naive.seen == later
    go.set()
    late = [item.id for item in (await batch).notifications]
    await poller.poll()
    await naive.poll()
    assert sorted(poller.seen) == sorted([*later, *late])
    assert len(poller.seen) == len(set(poller.seen))
    # So it is the overlap that finds them.
    assert naive.seen == later
