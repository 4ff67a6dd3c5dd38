"""Creating notifications: what is answered is what is stored, once, whole or not at all."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications
from tests.harness.users import reason, violations
from tests.integration.notifications.building import content, create, items, struct


async def count(notifications: Notifications, user_id: str) -> int:
    """Count a user's notifications."""
    return (await notifications.feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id))).counts[0]


async def test_an_in_app_notification_is_delivered_by_being_in_the_feed(
    notifications: Notifications, user_id: str
) -> None:
    """It answers the stored row: unseen, sent at once, and the same when read again."""
    data = struct(step=1, next=["profile", None, {"due": 2.5}], **{"$ref": "a key like any other", "$id": 1})
    request = create(user_id, category="onboarding", data=data)
    created = (await notifications.feed.CreateNotification(request)).notification
    assert (created.user_id, created.title, created.category) == (user_id, "Welcome", "onboarding")
    assert created.data == data
    assert not any((created.seen, created.read, created.archived, created.HasField("seen_at")))
    assert created.delivery_state == pb.DELIVERY_STATE_SENT
    assert created.sent_at == created.created_at == created.updated_at
    found = await notifications.feed.GetNotification(service.GetNotificationRequest(id=created.id, user_id=user_id))
    assert found.notification == created


@pytest.mark.parametrize("channel", [pb.NOTIFICATION_TYPE_EMAIL, pb.NOTIFICATION_TYPE_PUSH])
async def test_email_and_push_wait_to_be_sent(
    notifications: Notifications, raw: Any, user_id: str, channel: pb.NotificationType.ValueType
) -> None:
    """They are in the feed at once, with their delivery pending; a time that is over delays nothing."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    created = (await notifications.feed.CreateNotification(create(user_id, type=channel, scheduled_at=at))).notification
    assert created.delivery_state == pb.DELIVERY_STATE_PENDING
    assert not created.HasField("sent_at")
    assert created.scheduled_at.ToMilliseconds() == at.ToMilliseconds()
    row = raw.notifications.find_one({"userId": user_id})
    (delivery,) = raw.deliveries.find({"notificationId": row["_id"]})
    assert (delivery["state"], delivery["attempts"], delivery["dueAt"]) == ("pending", 0, row["createdAt"])
    assert {"email": pb.NOTIFICATION_TYPE_EMAIL, "push": pb.NOTIFICATION_TYPE_PUSH}[delivery["channel"]] == channel


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"data": struct(text="x" * 16_384)}, "content.data"),
        ({"data": struct(number=float("nan"))}, "content.data"),
        ({"data": struct(**{"a\0b": 1})}, "content.data"),
        ({"scheduled_at": Timestamp(seconds=253_402_300_799)}, "content.scheduled_at"),
        ({"scheduled_at": Timestamp(seconds=1, nanos=-1)}, "content.scheduled_at"),
        ({"title": ""}, "content.title"),
        ({"message": "x" * 4_097}, "content.message"),
        ({"email": pb.EmailChannel()}, "content.email"),
        ({"request_id": "not-a-uuid"}, "request_id"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_field(
    pymongo_notifications: Notifications, user_id: str, fields: dict[str, Any], field: str
) -> None:
    """Each rule, in the contract or beyond it, names the field that breaks it, and nothing is stored."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.feed.CreateNotification(create(user_id, **fields))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (reason(caught.value), violations(caught.value)) == ("INVALID_FIELDS", [field])
    assert await count(pymongo_notifications, user_id) == 0


async def test_a_repeat_answers_what_the_first_call_did(notifications: Notifications, user_id: str) -> None:
    """AIP-155: the same id again, in capitals too, gives the first answer even after the notification changed."""
    request = create(user_id, request_id=str(uuid.uuid4()), data=struct(a=1))
    first = await notifications.feed.CreateNotification(request)
    mark = service.MarkNotificationsRequest(
        user_id=user_id, ids=[first.notification.id], mark=service.NOTIFICATION_MARK_READ
    )
    await notifications.feed.MarkNotifications(mark)
    request.request_id = request.request_id.upper()
    assert await notifications.feed.CreateNotification(request) == first
    assert await count(notifications, user_id) == 1


async def test_a_request_id_does_not_stand_for_two_bodies(notifications: Notifications, user_id: str) -> None:
    """The same id with another body is refused and creates nothing; another method is another request."""
    request_id = str(uuid.uuid4())
    await notifications.feed.CreateNotification(create(user_id, request_id=request_id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await notifications.feed.CreateNotification(create(user_id, title="Other", request_id=request_id))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "REQUEST_ID_REUSED"
    fan_out = service.BatchCreateNotificationsRequest.FanOut(user_ids=[user_id], content=content())
    batch = service.BatchCreateNotificationsRequest(fan_out=fan_out, request_id=request_id)
    await notifications.feed.BatchCreateNotifications(batch)
    assert await count(notifications, user_id) == 2


async def test_calls_at_once_with_one_request_id_create_once(notifications: Notifications, user_id: str) -> None:
    """Of twenty at the same time each gets the one answer, or is told that it is still in flight."""
    request = create(user_id, request_id=str(uuid.uuid4()))
    calls = [notifications.feed.CreateNotification(request) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    created = {answer.notification.id for answer in answers if not isinstance(answer, BaseException)}
    refused = {reason(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert len(created) == 1
    assert refused <= {"REQUEST_IN_FLIGHT"}
    assert await count(notifications, user_id) == 1


async def test_a_request_that_another_process_holds_is_in_flight(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """While the transaction with this id is open elsewhere the call is ABORTED; once that is given up it succeeds."""
    request = create(user_id, request_id=str(uuid.uuid4()))
    with raw.client.start_session() as session, session.start_transaction():
        raw.idempotency_keys.insert_one({"_id": f"CreateNotification:{request.request_id}"}, session=session)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await notifications.feed.CreateNotification(request)
        session.abort_transaction()
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert reason(caught.value) == "REQUEST_IN_FLIGHT"
    assert (await notifications.feed.CreateNotification(request)).notification.user_id == user_id


async def test_a_thousand_users_get_one_content(notifications: Notifications, user_id: str) -> None:
    """A fan-out creates a notification for each user, in the order of the request, and its repeat none."""
    users = [f"{user_id}_{number}" for number in range(1_000)]
    request = service.BatchCreateNotificationsRequest(
        fan_out=service.BatchCreateNotificationsRequest.FanOut(user_ids=users, content=content()),
        request_id=str(uuid.uuid4()),
    )
    created = await notifications.feed.BatchCreateNotifications(request)
    assert [notification.user_id for notification in created.notifications] == users
    assert len({notification.id for notification in created.notifications}) == 1_000
    assert await notifications.feed.BatchCreateNotifications(request) == created
    assert await count(notifications, users[-1]) == 1


async def test_a_batch_is_stored_whole_or_not_at_all(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Where the database refuses one row of a batch, with or without a request id, none is there."""
    raw.notifications.create_index("data.once", unique=True, name="once", sparse=True)
    once = content(data=struct(once=user_id))
    batch = items((user_id, content()), (user_id, once), (user_id, once), (user_id, content()))
    try:
        for batch.request_id in ("", str(uuid.uuid4())):
            with pytest.raises(grpc.aio.AioRpcError):
                await notifications.feed.BatchCreateNotifications(batch)
            assert await count(notifications, user_id) == 0
    finally:
        raw.notifications.drop_index("once")
    assert len((await notifications.feed.BatchCreateNotifications(batch)).notifications) == 4
    raw.notifications.delete_many({"userId": user_id})


async def test_a_batch_names_the_field_of_each_item(pymongo_notifications: Notifications, user_id: str) -> None:
    """A rule broken inside a batch names the item."""
    bad = items((user_id, content()), (user_id, content(data=struct(text="x" * 17_000))))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.feed.BatchCreateNotifications(bad)
    assert violations(caught.value) == ["items.items[1].content.data"]


async def test_a_batch_whose_answer_nobody_could_receive_is_refused(
    pymongo_notifications: Notifications, user_id: str
) -> None:
    """A small fan-out request may mean a huge answer: it is refused before anything is stored."""
    fan_out = service.BatchCreateNotificationsRequest.FanOut(
        user_ids=[f"{user_id}_{number}" for number in range(1_000)], content=content(message="x" * 4_096)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.feed.BatchCreateNotifications(
            service.BatchCreateNotificationsRequest(fan_out=fan_out)
        )
    assert (reason(caught.value), violations(caught.value)) == ("INVALID_FIELDS", ["fan_out"])
    assert await count(pymongo_notifications, f"{user_id}_0") == 0


async def test_an_answer_of_ids_alone_holds_a_fan_out_of_large_rows(
    pymongo_notifications: Notifications, user_id: str
) -> None:
    """What is refused for the size of its answer is created where ids will do, once, and a repeat answers the same."""
    users = [f"{user_id}_{number}" for number in range(1_000)]
    large = content(message="x" * 4_096, data=struct(text="y" * 8_000))
    batch = service.BatchCreateNotificationsRequest(
        fan_out=service.BatchCreateNotificationsRequest.FanOut(user_ids=users, content=large),
        response_view=pb.NOTIFICATION_VIEW_IDS,
        request_id=str(uuid.uuid4()),
    )
    feed = pymongo_notifications.feed
    created = await feed.BatchCreateNotifications(batch)
    assert [item.user_id for item in created.notifications] == users
    assert {field.name for item in created.notifications for field, _ in item.ListFields()} == {"id", "user_id"}
    assert await feed.BatchCreateNotifications(batch) == created
    found = await feed.GetNotification(service.GetNotificationRequest(id=created.notifications[-1].id))
    assert (found.notification.user_id, found.notification.data) == (users[-1], large.data)
    assert await count(pymongo_notifications, users[0]) == 1


@pytest.mark.parametrize("request_id", ["", "given"])
async def test_a_single_creation_may_answer_its_ids_alone(
    notifications: Notifications, user_id: str, request_id: str
) -> None:
    """With a request id and without."""
    own = {"request_id": str(uuid.uuid4())} if request_id else {}
    made = await notifications.feed.CreateNotification(create(user_id, response_view=pb.NOTIFICATION_VIEW_IDS, **own))
    assert made.notification == pb.Notification(id=made.notification.id, user_id=user_id)
    found = await notifications.feed.GetNotification(service.GetNotificationRequest(id=made.notification.id))
    assert found.notification.title == "Welcome"
