"""Watches of the client: they go on through cut connections, miss nothing, and leave nothing open."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from typing import Self

import pytest
from vibework.client import Notifications, Users, aio, errors
from vibework.notifications.v1 import NOTIFICATION_TYPE_IN_APP, NotificationContent, WatchNotificationsRequest

from tests.harness.pair import Pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.proxy import Proxy, proxy_to

pytestmark = pytest.mark.xdist_group("client")


def content(title: str) -> NotificationContent:
    """Make what a notification says."""
    return NotificationContent(title=title, message="text", type=NOTIFICATION_TYPE_IN_APP)


@pytest.fixture
def user_id(pair: Pair) -> str:
    """A user."""
    with Users.connect(pair.users) as users:
        return users.create_user(email=f"{uuid.uuid4().hex}@example.com").user.id


def create(pair: Pair, user_id: str, *titles: str) -> None:
    """Create notifications."""
    with Notifications.connect(pair.notifications) as notifications:
        for title in titles:
            notifications.create_notification(user_id=user_id, content=content(title))


@pytest.fixture
def proxy(pair: Pair) -> Iterator[Proxy]:
    """A proxy before the notifications service."""
    host, _, port = pair.notifications.rpartition(":")
    with proxy_to(host, int(port)) as between:
        yield between


class Collecting:
    """A thread that collects the titles of a watch until it ends."""

    def __init__(self, watch: object) -> None:
        self.titles: list[str] = []
        self.placed = threading.Event()
        self.failure: BaseException | None = None
        self._watch = watch
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()  # type: ignore[attr-defined]
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for event in self._watch:  # type: ignore[attr-defined]
                self.placed.set()
                if event.HasField("created"):
                    self.titles.append(event.created.title)
        except errors.VibeworkError as failure:
            self.failure = failure


def test_a_watch_goes_on_where_its_connection_was_cut(pair: Pair, proxy: Proxy, user_id: str) -> None:
    """What happened while there was no connection comes after it is back, once and in order."""
    with Notifications.connect(f"127.0.0.1:{proxy.listens}") as notifications:
        watch = notifications.watch_notifications(user_id=user_id, heartbeats=True)
        with Collecting(watch) as collecting:
            assert collecting.placed.wait(PATIENCE_SECONDS)
            create(pair, user_id, "before")
            wait_for(lambda: collecting.titles == ["before"], "the first event")
            for round_ in range(2):
                proxy.cut()
                create(pair, user_id, f"during {round_}")
                proxy.restore()
            create(pair, user_id, "after")
            wait_for(lambda: collecting.titles == ["before", "during 0", "during 1", "after"], "all events")
        token = watch.resume_token
        create(pair, user_id, "later")
        with notifications.watch_notifications(user_id=user_id, resume_token=token) as resumed:
            assert next(iter(resumed)).created.title == "later"


def test_a_missed_past_is_listed_anew_or_told(pair: Pair, user_id: str) -> None:
    """A token that is no longer good ends the watch, unless somebody lists; then it goes on from now."""
    with Notifications.connect(pair.notifications) as notifications:
        with pytest.raises(errors.ResumeTokenInvalid):
            next(iter(notifications.watch_notifications(user_id=user_id, resume_token="made up")))
        snapshot = WatchNotificationsRequest.Snapshot(limit=10)
        create(pair, user_id, "unread")
        with notifications.watch_notifications(user_id=user_id, snapshot=snapshot) as watch:
            events = iter(watch)
            assert next(events).snapshot.title == "unread"
            assert next(events).snapshot_end.count == 1


def test_leaving_a_watch_cancels_what_it_opened(pair: Pair, user_id: str) -> None:
    """A thousand watches that were left are not a thousand streams."""
    with Notifications.connect(pair.notifications) as notifications:
        for _ in range(20):
            with notifications.watch_notifications(user_id=user_id, heartbeats=True) as watch:
                next(iter(watch))
        connections = notifications._connections._open
        assert [each.calls for each in connections] == [0]


async def test_a_watch_for_asyncio_goes_on_too(pair: Pair, proxy: Proxy, user_id: str) -> None:
    """The same, and the end of the task that iterates ends the stream."""
    titles: list[str] = []
    placed, complete = asyncio.Event(), asyncio.Event()
    async with aio.Notifications.connect(f"127.0.0.1:{proxy.listens}") as notifications:

        async def collect() -> None:
            async with notifications.watch_notifications(user_id=user_id, heartbeats=True) as watch:
                async for event in watch:
                    placed.set()
                    if event.HasField("created"):
                        titles.append(event.created.title)
                    if titles == ["during", "after"]:
                        complete.set()

        collecting = asyncio.create_task(collect())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await placed.wait()
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(create, pair, user_id, "during")
            await asyncio.to_thread(proxy.restore)
            await asyncio.to_thread(create, pair, user_id, "after")
            await complete.wait()
        collecting.cancel()
        await asyncio.wait([collecting])
        assert [each.calls for each in notifications._connections._open] == [0]
