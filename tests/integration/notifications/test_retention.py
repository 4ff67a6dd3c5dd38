"""Retention: what is past it is not there for any call, and it changes in place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.clock import in_milliseconds
from notifications_service.migrations.runner import Runner
from notifications_service.mongodb.database import Database
from notifications_service.purge import purge
from tests.harness.clocks import FrozenClock, stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.users import reason
from tests.integration.notifications.building import create, row

MONTH = timedelta(days=30)


@pytest.fixture
def clock() -> FrozenClock:
    """The server's clock, a month ahead of MongoDB's, whose sweeper so leaves alone what is expired to the server."""
    made = FrozenClock()
    made.advance(MONTH)
    return made


@pytest.fixture(params=["pymongo", "motor"])
async def notifications(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase, clock: FrozenClock
) -> AsyncIterator[Notifications]:
    """The production server under each driver, by that clock."""
    async with running_notifications(mongodb_module_database, clock, mongodb_driver=request.param) as running:
        yield running


def rows(user_id: str, clock: FrozenClock) -> list[dict[str, Any]]:
    """An expired row and one that is a minute short of it."""
    expired = clock() - MONTH
    return [row(user_id, createdAt=expired), row(user_id, createdAt=expired + timedelta(minutes=1))]


async def test_a_notification_is_there_until_its_time_is_over(
    notifications: Notifications, clock: FrozenClock, user_id: str
) -> None:
    """Retention is exact to the millisecond, whenever MongoDB's sweeper comes."""
    made = (await notifications.feed.CreateNotification(create(user_id))).notification
    request = service.GetNotificationRequest(id=made.id)
    clock.advance(MONTH - timedelta(milliseconds=1))
    assert (await notifications.feed.GetNotification(request)).notification == made
    clock.advance(timedelta(milliseconds=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await notifications.feed.GetNotification(request)
    assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"


async def test_an_expired_row_is_not_listed_counted_or_marked(
    notifications: Notifications, raw: Any, clock: FrozenClock, user_id: str
) -> None:
    """Only the row within the retention is there for lists, counts, statistics and marks."""
    feed, (expired, kept) = notifications.feed, rows(user_id, clock)
    raw.notifications.insert_many([expired, kept])
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, include_total=True))
    assert [item.id for item in page.notifications] == [str(kept["_id"])]
    assert page.total_size == 1
    assert (await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id))).counts == [1]
    stats = await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id))
    assert stats.total.total == 1
    ids = [str(expired["_id"]), str(kept["_id"])]
    by_id = service.MarkNotificationsRequest(user_id=user_id, ids=ids, mark=service.NOTIFICATION_MARK_SEEN)
    assert (await feed.MarkNotifications(by_id)).changed_count == 1
    everything = service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_READ)
    assert (await feed.MarkAllNotifications(everything)).changed_count == 1
    deleted = await feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    assert deleted.deleted_count == 1
    assert raw.notifications.count_documents({"userId": user_id}) == 0


async def test_an_expired_row_is_not_found_by_its_id(
    notifications: Notifications, raw: Any, clock: FrozenClock, user_id: str
) -> None:
    """Get, update and delete say NOT_FOUND."""
    feed, expired = notifications.feed, rows(user_id, clock)[0]
    key = str(expired["_id"])
    raw.notifications.insert_one(expired)
    for call in (
        feed.GetNotification(service.GetNotificationRequest(id=key)),
        feed.UpdateNotification(
            service.UpdateNotificationRequest(
                notification=pb.Notification(id=key, title="New"), update_mask=FieldMask(paths=["title"])
            )
        ),
        feed.DeleteNotification(service.DeleteNotificationRequest(id=key)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"


@pytest.mark.long
async def test_migrate_changes_the_retention_in_place(mongodb_database: MongoDatabase, user_id: str) -> None:
    """`migrate up` with another number of days changes the TTL index, and a server goes by it from its start on."""
    said: list[str] = []
    old = row(user_id, createdAt=datetime.now(UTC) - timedelta(days=8))
    async with AsyncExitStack() as stack:
        database = Database(settings_for(mongodb_database))
        stack.push_async_callback(database.close)
        rows = database.default.notifications
        await rows.insert_one(old)
        for days, shown in ((7, 0), (9, 1)):
            assert await Runner(database.default, said.append, stored_now).up(days) == 0
            if shown:
                # MongoDB may have deleted it meanwhile.
                await rows.replace_one({"_id": old["_id"]}, old, upsert=True)
            async with running_notifications(mongodb_database) as running:
                request = service.CountNotificationsRequest(user_id=user_id)
                assert (await running.feed.CountNotifications(request)).counts == [shown]
        index = (await rows.index_information())["createdAt_1"]
    assert index["expireAfterSeconds"] == 9 * 86_400
    deleted = "notifications past it, which MongoDB deletes: 1"
    assert said == ["retention: 30 → 7 days", deleted, "retention: 7 → 9 days"]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_purge_deletes_what_is_past_its_time(
    mongodb_database: MongoDatabase, clock: FrozenClock, driver: str
) -> None:
    """Expired notifications and request ids go at once; the rest stays."""
    database = Database(settings_for(mongodb_database, mongodb_driver=driver))
    keys = database.collection("idempotency_keys")
    for hours in (23, 25):
        await keys.insert_one({"_id": str(hours), "createdAt": clock() - timedelta(hours=hours)})
    collection = database.collection("notifications")
    await collection.insert_many(rows("anyone", clock))
    now = in_milliseconds(clock)
    assert await purge(database, now) == {"notifications": 1, "idempotency_keys": 1}
    assert await purge(database, now) == {"notifications": 0, "idempotency_keys": 0}
    assert await collection.count_documents({}) == await keys.count_documents({}) == 1
    await database.close()
