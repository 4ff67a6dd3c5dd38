"""`expires_at`: from that millisecond on a notification is there for no call, whenever MongoDB's sweeper comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import grpc
import pytest
from bson import ObjectId
from google.protobuf.descriptor_pool import Default
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.clock import in_milliseconds
from notifications_service.mongodb.database import Database
from notifications_service.purge import purge
from tests.contract.requests import NOTIFICATIONS
from tests.harness.clocks import FrozenClock
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.users import reason
from tests.harness.watching import watching
from tests.integration.notifications.building import create, row

HOUR = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
EVERY_SECOND: Final = Duration(seconds=1)


@pytest.fixture
def clock() -> FrozenClock:
    """The server's clock, a day ahead of MongoDB's, whose sweeper so leaves alone what has expired to the server."""
    made = FrozenClock()
    made.advance(timedelta(days=1))
    return made


@pytest.fixture(params=["pymongo", "motor"])
async def notifications(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase, clock: FrozenClock
) -> AsyncIterator[Notifications]:
    """The production server under each driver, by that clock."""
    async with running_notifications(mongodb_module_database, clock, mongodb_driver=request.param) as running:
        yield running


async def made(running: Notifications, user_id: str, clock: FrozenClock) -> list[pb.Notification]:
    """Create one that expires in an hour, and one that does not."""
    at = Timestamp()
    at.FromDatetime(in_milliseconds(clock)() + HOUR)
    requests = (create(user_id, expires_at=at, thread_key="t"), create(user_id, thread_key="t"))
    return [(await running.feed.CreateNotification(request)).notification for request in requests]


async def got(feed: Any, user_id: str, ids: list[str]) -> int:
    """How many are found by their ids, asked for at once."""
    requests = [service.GetNotificationRequest(id=each, user_id=user_id) for each in ids]
    answers = await asyncio.gather(*map(feed.GetNotification, requests), return_exceptions=True)
    assert {reason(each) for each in answers if isinstance(each, grpc.RpcError)} <= {"NOTIFICATION_NOT_FOUND"}
    return sum(not isinstance(each, BaseException) for each in answers)


async def listed(feed: Any, user_id: str, _: list[str]) -> int:
    """How many are on a page, by each of the ways in which pages are read, which agree with their total."""
    requests = [
        service.ListNotificationsRequest(user_id=user_id, include_total=True, **more)
        for more in (
            {},
            {"read_mask": FieldMask(paths=["id"])},
            {"filter": service.NotificationFilter(read=False)},
            {"filter": service.NotificationFilter(thread_keys=["t"])},
            {"page_size": 50},
        )
    ]
    pages = [await feed.ListNotifications(request) for request in requests]
    # Shared with lists of others.
    shared = [service.ListNotificationsRequest(user_id=f"{user_id}{number}") for number in range(5)]
    pages += (await asyncio.gather(*map(feed.ListNotifications, [*shared, requests[0]])))[-1:]
    [number] = {len(page.notifications) for page in pages}
    assert {page.total_size for page in pages} == {number}
    return number


async def counted(feed: Any, user_id: str, _: list[str]) -> int:
    """How many are counted, whatever the filter, and for several users at once."""
    filters = [service.NotificationFilter(), service.NotificationFilter(read=False, thread_keys=["t"])]
    requests = [
        service.CountNotificationsRequest(user_id=user, filters=filters) for user in (user_id, "other", user_id)
    ]
    answers = await asyncio.gather(*map(feed.CountNotifications, requests))
    [number] = {*answers[0].counts, *answers[2].counts}
    return int(number)


async def summed_up(feed: Any, user_id: str, _: list[str]) -> int:
    """How many are in the statistics."""
    answer = await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id))
    assert answer.total.unread == answer.total.total
    return int(answer.total.total)


async def watched(feed: Any, user_id: str, _: list[str]) -> int:
    """How many a watch begins with, which agrees with its counts."""
    async with watching(feed, user_id, snapshot={}, include_counts=True) as watch:
        while (event := await watch.content()).WhichOneof("event") != "snapshot_end":
            pass
    assert event.counts.unread == event.counts.unseen == event.snapshot_end.count
    return int(event.snapshot_end.count)


Shows = Callable[[Any, str, list[str]], Awaitable[int]]
# How many of a user's notifications each RPC that reads shows.
READING: Final[dict[str, Shows]] = {
    "GetNotification": got,
    "ListNotifications": listed,
    "CountNotifications": counted,
    "GetNotificationStats": summed_up,
    "WatchNotifications": watched,
}
# Shows what is not in the feed yet: each of these expires after the time at which it comes there.
BEFORE: Final = {"ListScheduledNotifications"}
SERVICE: Final = "vibework.notifications.v1.NotificationService"


def test_every_rpc_that_reads_is_tried() -> None:
    """One that is built later must say here how it shows notifications."""
    methods: Any = Default().FindServiceByName(SERVICE).methods
    reading = {method.name for method in methods if method.GetOptions().idempotency_level == 1}
    unbuilt = {name for name in reading if NOTIFICATIONS[f"NotificationService/{name}"][1] == "NOT_IMPLEMENTED"}
    assert reading - unbuilt - BEFORE == READING.keys()


@pytest.mark.parametrize("rpc", READING)
async def test_it_is_shown_until_its_time_comes(
    notifications: Notifications, clock: FrozenClock, user_id: str, rpc: str
) -> None:
    """To the millisecond, by everything that reads."""
    ids = [each.id for each in await made(notifications, user_id, clock)]
    for wait, shown in ((timedelta(), 2), (HOUR - MILLISECOND, 2), (MILLISECOND, 1), (HOUR, 1)):
        clock.advance(wait)
        assert await READING[rpc](notifications.feed, user_id, ids) == shown, wait


async def test_what_has_expired_is_changed_by_no_call(
    notifications: Notifications, raw: Any, clock: FrozenClock, user_id: str
) -> None:
    """Marks pass it by, whatever their bound, and count as lists do; updates and deletions do not find it."""
    feed = notifications.feed
    expiring, lasting = await made(notifications, user_id, clock)
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    assert len(page.notifications) == 2
    clock.advance(HOUR)
    before = raw.notifications.find_one({"_id": ObjectId(expiring.id)})
    ids = [expiring.id, lasting.id]
    by_id = service.MarkNotificationsRequest(user_id=user_id, ids=ids, mark=service.NOTIFICATION_MARK_SEEN)
    assert (await feed.MarkNotifications(by_id)).changed_count == 1
    for mark, bound in (
        (service.NOTIFICATION_MARK_READ, {"as_of": page.as_of}),
        (service.NOTIFICATION_MARK_ARCHIVED, {"as_of_time": Timestamp(seconds=2**32)}),
        (service.NOTIFICATION_MARK_UNSEEN, {}),
    ):
        request = service.MarkAllNotificationsRequest(user_id=user_id, mark=mark, **bound)
        assert (await feed.MarkAllNotifications(request)).changed_count == 1, mark
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=expiring.id, title="New"), update_mask=FieldMask(paths=["title"])
    )
    for call in (
        feed.UpdateNotification(update),
        feed.DeleteNotification(service.DeleteNotificationRequest(id=expiring.id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"
    assert raw.notifications.find_one({"_id": ObjectId(expiring.id)}) == before
    deleted = await feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    assert deleted.deleted_count == 1
    assert raw.notifications.count_documents({"userId": user_id}) == 0


async def test_an_expiry_that_is_moved_holds_at_once(
    notifications: Notifications, clock: FrozenClock, user_id: str
) -> None:
    """Earlier, later or taken off, by an update."""
    feed = notifications.feed
    expiring, _ = await made(notifications, user_id, clock)
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=expiring.id), update_mask=FieldMask(paths=["expires_at"])
    )
    update.notification.expires_at.FromDatetime(in_milliseconds(clock)() + HOUR / 2)
    assert (await feed.UpdateNotification(update)).notification.expires_at == update.notification.expires_at
    clock.advance(HOUR / 2 - MILLISECOND)
    assert await got(feed, user_id, [expiring.id]) == 1
    update.notification.ClearField("expires_at")
    await feed.UpdateNotification(update)
    clock.advance(HOUR)
    assert await listed(feed, user_id, []) == 2


async def test_a_watch_tells_nothing_of_it_and_counts_it_no_more(
    notifications: Notifications, raw: Any, clock: FrozenClock, user_id: str
) -> None:
    """A heartbeat counts anew; what another system does to it is no event, live and to one that resumes."""
    feed = notifications.feed
    async with watching(feed, user_id, include_counts=True, heartbeat_interval=EVERY_SECOND) as watch:
        token = watch.token
        expiring, _ = await made(notifications, user_id, clock)
        assert [(await watch.content()).counts.unread for _ in range(2)][-1] == 2
        clock.advance(HOUR)
        while (event := await watch.event()).counts.unread != 1:
            assert event.WhichOneof("event") == "heartbeat"
        raw.notifications.update_one({"_id": ObjectId(expiring.id)}, {"$set": {"title": "Other"}})
        after = (await feed.CreateNotification(create(user_id, title="after"))).notification
        assert await watch.change() == ("created", after.id)
    async with watching(feed, user_id, resume_token=token) as again:
        told = [each.created.id for each in await again.until("after")]
    assert expiring.id not in told


async def test_unreadable_rows_that_expire_are_taken_off_once(
    notifications: Notifications, raw: Any, clock: FrozenClock, user_id: str
) -> None:
    """What can neither be read nor is shown any more is in no count, nor missing from one."""
    odd = [
        row(user_id, title=5, expiresAt=clock()),
        row(user_id, title=5, expiresAt=clock() + HOUR),
        row(user_id, expiresAt="now"),
        row(user_id, expiresAt=[clock()]),
        row(user_id, threadKey=["t"]),
    ]
    await made(notifications, user_id, clock)
    command = {"insert": "notifications", "documents": odd, "bypassDocumentValidation": True}
    assert raw.command(command)["n"] == len(odd)
    for shown in (2, 1):
        for ask in (listed, counted, summed_up):
            assert await ask(notifications.feed, user_id, []) == shown
        clock.advance(HOUR)


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_purge_deletes_what_has_expired(mongodb_database: MongoDatabase, driver: str) -> None:
    """At once, and nothing whose time has not come, or that is no time."""
    clock = FrozenClock()
    database = Database(settings_for(mongodb_database, mongodb_driver=driver))
    rows = database.collection("notifications")
    kept = [row("u"), row("u", expiresAt=clock() + HOUR), row("u", expiresAt=None)]
    await rows.insert_many([*kept, row("u", expiresAt=clock() + HOUR / 2)])
    clock.advance(HOUR / 2)
    assert (await purge(database, in_milliseconds(clock)))["notifications"] == 1
    assert sorted([each["_id"] async for each in rows.find({}, {"_id": 1})]) == sorted(each["_id"] for each in kept)
    await database.close()
