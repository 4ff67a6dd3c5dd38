"""Deliveries are written with their notifications: one for each channel by which they go out, both or none."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications
from tests.integration.notifications.building import content, create, items

EMAIL, PUSH, IN_APP = pb.NOTIFICATION_TYPE_EMAIL, pb.NOTIFICATION_TYPE_PUSH, pb.NOTIFICATION_TYPE_IN_APP


def of(raw: Any, user_id: str) -> list[dict[str, Any]]:
    """The deliveries of a user, in the order of their making."""
    return list(raw.deliveries.find({"userId": user_id}, sort=[("_id", 1)]))


async def test_what_is_in_the_feed_alone_has_no_delivery(notifications: Notifications, raw: Any, user_id: str) -> None:
    """It is delivered by being there, and costs no transaction."""
    await notifications.feed.CreateNotification(create(user_id))
    (row,) = raw.notifications.find({"userId": user_id})
    assert row["delivery"] == {"state": "sent"}
    assert of(raw, user_id) == []


async def test_creates_that_arrive_together_have_a_delivery_each(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Gathered or not, by whatever channel, each notification has the delivery that it sums up."""
    calls = [create(user_id, type=kind) for kind in (EMAIL, PUSH, IN_APP) * 16]
    made = await asyncio.gather(*(notifications.feed.CreateNotification(call) for call in calls))
    found = {str(row["notificationId"]): row for row in of(raw, user_id)}
    assert found.keys() == {each.notification.id for each in made if each.notification.type != IN_APP}
    for row in raw.notifications.find({"userId": user_id, "type": {"$ne": "in-app"}}):
        assert row["delivery"]["byChannel"] == {found[str(row["_id"])]["channel"]: {"state": "pending", "rev": 1}}
        assert row["insertedAt"].time, "mongod stamps what a transaction inserts, too"


@pytest.mark.parametrize("request_id", ["", "given"])
async def test_a_batch_is_stored_with_its_deliveries(
    notifications: Notifications, raw: Any, user_id: str, request_id: str
) -> None:
    """A repeat by request_id answers the first ones and writes none."""
    batch = items((user_id, content(type=EMAIL)), (user_id, content()), (user_id, content(type=PUSH)))
    batch.request_id = str(uuid.uuid4()) if request_id else ""
    for _ in range(2 if request_id else 1):
        answer = await notifications.feed.BatchCreateNotifications(batch)
    wanted = [each.id for each in answer.notifications if each.type != IN_APP]
    assert [str(row["notificationId"]) for row in of(raw, user_id)] == wanted


async def test_one_that_the_database_refuses_takes_no_other_along(
    notifications: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of creates that share a transaction the others are stored, and nothing is left of the refused one."""
    raw.command("collMod", "deliveries", validator={"category": {"$ne": "refused"}})
    try:
        calls = [create(user_id, type=EMAIL, category="refused" if n == 3 else "") for n in range(8)]
        made = await asyncio.gather(
            *(notifications.feed.CreateNotification(call) for call in calls), return_exceptions=True
        )
    finally:
        raw.command("collMod", "deliveries", validator={})
    failed = [each for each in made if isinstance(each, grpc.aio.AioRpcError)]
    assert [each.code() for each in failed] == [grpc.StatusCode.INTERNAL]
    assert len(of(raw, user_id)) == raw.notifications.count_documents({"userId": user_id}) == 7


async def test_deleting_a_notification_cancels_its_delivery(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """What nobody can read any more is not sent, either."""
    created = (await notifications.feed.CreateNotification(create(user_id, type=EMAIL))).notification
    await notifications.feed.DeleteNotification(service.DeleteNotificationRequest(id=created.id))
    (row,) = of(raw, user_id)
    assert (row["state"], row["reason"]) == ("cancelled", "notification_gone")
    assert "dueAt" not in row
    assert "finishedAt" in row


async def test_deleting_all_of_a_user_deletes_the_deliveries(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Who asks for it is forgotten: deliveries hold the user's id and say where the mails went. Others' stay."""
    other = f"{user_id}-2"
    for owner in (user_id, user_id, other):
        await notifications.feed.CreateNotification(create(owner, type=EMAIL))
    raw.deliveries.update_one({"userId": user_id}, {"$set": {"state": "sent"}, "$unset": {"dueAt": ""}})
    deleted = await notifications.feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    assert (deleted.deleted_count, deleted.incomplete) == (2, False)
    assert (len(of(raw, user_id)), len(of(raw, other))) == (0, 1)
