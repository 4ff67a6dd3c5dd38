"""Retention: what is past it is not there for any call, and it changes in place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.migrations.runner import Runner
from notifications_service.mongodb.database import Database
from notifications_service.purge import purge
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.users import reason
from tests.integration.notifications.building import row


def rows(user_id: str) -> list[dict[str, Any]]:
    """An expired row and one that is a minute short of it."""
    now, month = datetime.now(UTC), timedelta(days=30)
    return [row(user_id, createdAt=now - month), row(user_id, createdAt=now - month + timedelta(minutes=1))]


async def insert_unswept(raw: Any, documents: list[dict[str, Any]]) -> None:
    """Store rows; MongoDB's sweeper comes once a minute, so what is due is there for now."""
    raw.notifications.insert_many(documents)
    assert raw.notifications.count_documents({"_id": documents[0]["_id"]}) == 1


async def test_an_expired_row_is_not_listed_counted_or_marked(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Only the row within the retention is there for lists, counts, statistics and marks."""
    feed, (expired, kept) = notifications.feed, rows(user_id)
    await insert_unswept(raw, [expired, kept])
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


async def test_an_expired_row_is_not_found_by_its_id(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Get, update and delete say NOT_FOUND."""
    feed, expired = notifications.feed, rows(user_id)[0]
    key = str(expired["_id"])
    await insert_unswept(raw, [expired])
    for call in (
        feed.GetNotification(service.GetNotificationRequest(id=key)),
        feed.UpdateNotification(
            service.UpdateNotificationRequest(id=key, title="New", update_mask=FieldMask(paths=["title"]))
        ),
        feed.DeleteNotification(service.DeleteNotificationRequest(id=key)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"


async def test_migrate_changes_the_retention_in_place(mongodb_database: MongoDatabase, user_id: str) -> None:
    """`migrate up` with another number of days changes the TTL index, and a server goes by it from its start on."""
    database = Database(settings_for(mongodb_database))
    said: list[str] = []
    old = row(user_id, createdAt=datetime.now(UTC) - timedelta(days=8))
    await database.default.notifications.insert_one(old)
    for days, shown in ((7, 0), (9, 1)):
        assert await Runner(database.default, said.append).up(days) == 0
        async with running_notifications(mongodb_database) as running:
            request = service.CountNotificationsRequest(user_id=user_id)
            assert (await running.feed.CountNotifications(request)).counts == [shown]
    index = (await database.default.notifications.index_information())["createdAt_1"]
    assert index["expireAfterSeconds"] == 9 * 86_400
    deleted = "notifications past it, which MongoDB deletes: 1"
    assert said == ["retention: 30 → 7 days", deleted, "retention: 7 → 9 days"]
    await database.close()


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_purge_deletes_what_is_past_its_time(mongodb_database: MongoDatabase, driver: str) -> None:
    """Expired notifications and request ids go at once; the rest stays."""
    database = Database(settings_for(mongodb_database, mongodb_driver=driver))
    keys = database.collection("idempotency_keys")
    for hours in (23, 25):
        await keys.insert_one({"_id": str(hours), "createdAt": datetime.now(UTC) - timedelta(hours=hours)})
    collection = database.collection("notifications")
    await collection.insert_many(rows("anyone"))
    assert await purge(database) == {"notifications": 1, "idempotency_keys": 1}
    assert await purge(database) == {"notifications": 0, "idempotency_keys": 0}
    assert await collection.count_documents({}) == await keys.count_documents({}) == 1
    await database.close()
