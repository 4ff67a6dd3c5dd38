"""What a notification says of channels, threads and the rest: stored, answered and changed by every way."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from bson import ObjectId
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.feed.updates import CHANGEABLE
from notifications_service.notification import further
from tests.harness.notifications import Notifications
from tests.harness.users import reason, told
from tests.harness.watching import watching
from tests.integration.notifications.building import content, create, items, row

EMAIL, PUSH, IN_APP = pb.NOTIFICATION_TYPE_EMAIL, pb.NOTIFICATION_TYPE_PUSH, pb.NOTIFICATION_TYPE_IN_APP


def in_days(days: float) -> Timestamp:
    """A time to come, in whole milliseconds."""
    at = Timestamp()
    at.FromMilliseconds(int((datetime.now(UTC) + timedelta(days=days)).timestamp() * 1_000))
    return at


def whole(**fields: Any) -> dict[str, Any]:
    """A value for each of these fields."""
    return {
        "channels": [EMAIL, PUSH],
        "email": pb.EmailChannel(
            content=pb.EmailContent(subject="$s", text="Text", html="<p>é</p>", reply_to="answers@example.com"),
            delay=Duration(seconds=90, nanos=5_000_000),
            unless_read=True,
        ),
        "push": pb.PushChannel(
            content=pb.PushContent(title="T", body="B", url="/orders/1", icon="https://example.com/i.png"),
            ttl=Duration(),
        ),
        "urgency": pb.NOTIFICATION_URGENCY_VERY_LOW,
        "critical": True,
        "expires_at": in_days(2),
        "collapse_key": "order-1",
        "thread_key": "order:1",
        "locale": "pt-BR",
    } | fields


OTHERWISE: dict[str, Any] = {
    "title": "Other",
    "message": "Other text",
    "category": "other",
    "email": pb.EmailChannel(content=pb.EmailContent(text="Other")),
    "push": pb.PushChannel(),
    "urgency": pb.NOTIFICATION_URGENCY_HIGH,
    "expires_at": in_days(3),
    "thread_key": "$other",
    "locale": "en",
}


def rare(message: Any, *, listed: bool = False) -> dict[str, Any]:
    """What a message has of these fields."""
    names = further.LISTED if listed else further.FIELDS
    return {field.name: value for field, value in message.ListFields() if field.name in names}


def rejected(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[str, list[tuple[str, str]]]:
    """The reason of an error, and each field at fault with its own."""
    details = json.loads(told(caught.value))["details"]
    found = [item for detail in details for item in detail.get("fieldViolations", ())]
    return reason(caught.value), [(item["field"], item["reason"]) for item in found]


async def test_every_way_in_and_out_has_all_of_it(notifications: Notifications, user_id: str) -> None:
    """Created alone, by request id, in a batch, for many, and repeated; read by id, and but for contents in lists."""
    feed, fields = notifications.feed, whole()
    wanted = content(**fields)
    single, named = create(user_id, **fields), create(user_id, request_id=str(uuid.uuid4()), **fields)
    batch = items((user_id, wanted), (user_id, content()))
    batch.request_id = str(uuid.uuid4())
    fan_out = service.BatchCreateNotificationsRequest(
        fan_out=service.BatchCreateNotificationsRequest.FanOut(user_ids=[user_id, f"{user_id}_b"], content=wanted)
    )
    made = [(await feed.CreateNotification(request)).notification for request in (single, named)]
    made += (await feed.BatchCreateNotifications(batch)).notifications
    made += (await feed.BatchCreateNotifications(fan_out)).notifications
    plain = made.pop(3)
    assert rare(plain) == {}
    assert [rare(each) for each in made] == [rare(wanted)] * 5
    assert (await feed.CreateNotification(named)).notification == made[1]
    assert list((await feed.BatchCreateNotifications(batch)).notifications) == [made[2], plain]
    for each in made:
        found = await feed.GetNotification(service.GetNotificationRequest(id=each.id))
        assert rare(found.notification) == rare(each)
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    listed = {each.id: each for each in page.notifications}
    for each in made[:4]:
        assert rare(listed[each.id]) == rare(each, listed=True)
    assert listed[plain.id] == plain


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["*"], set(further.FIELDS)),
        (["email", "push"], {"email", "push"}),
        (["id", "thread_key"], {"thread_key"}),
        (["expires_at", "channels", "urgency"], {"expires_at", "channels", "urgency"}),
    ],
)
async def test_a_list_shows_what_its_mask_names(
    pymongo_notifications: Notifications, user_id: str, paths: list[str], names: set[str]
) -> None:
    """Contents of mails and push messages, too, where they are asked for."""
    feed, request = pymongo_notifications.feed, create(user_id, **whole())
    await feed.CreateNotification(request)
    mask = FieldMask(paths=paths)
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, read_mask=mask))
    assert rare(page.notifications[0]) == {
        name: value for name, value in rare(request.content).items() if name in names
    }
    nested = FieldMask(paths=["email.content.subject", "push.ttl"])
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, read_mask=nested))
    assert page.notifications[0] == pb.Notification(
        email=pb.EmailChannel(content=pb.EmailContent(subject="$s")), push=pb.PushChannel(ttl=Duration())
    )


async def test_a_watch_tells_all_but_the_contents(notifications: Notifications, user_id: str) -> None:
    """When it is created, when it changes, and in a snapshot."""
    feed = notifications.feed
    async with watching(feed, user_id) as watch:
        made = (await feed.CreateNotification(create(user_id, **whole()))).notification
        assert rare((await watch.content()).created) == rare(made, listed=True)
        update = service.UpdateNotificationRequest(
            notification=pb.Notification(id=made.id, **OTHERWISE), update_mask=FieldMask(paths=["email", "locale"])
        )
        changed = (await feed.UpdateNotification(update)).notification
        assert rare((await watch.content()).updated) == rare(changed, listed=True)
    async with watching(feed, user_id, snapshot={}) as watch:
        assert rare((await watch.content()).snapshot) == rare(changed, listed=True)


@pytest.mark.parametrize("name", sorted(CHANGEABLE - {"scheduled_at"}))
async def test_each_field_is_changed_and_taken_off_by_its_name(
    notifications: Notifications, raw: Any, user_id: str, name: str
) -> None:
    """Nothing else changes with it; what is taken off is not stored any more."""
    feed = notifications.feed
    first = (await feed.CreateNotification(create(user_id, **whole()))).notification
    changes = pb.Notification(id=first.id, **OTHERWISE)
    changes.data.update({"a": 1})
    update = service.UpdateNotificationRequest(notification=changes, update_mask=FieldMask(paths=[name]))
    changed = (await feed.UpdateNotification(update)).notification
    assert settled(changed, without=name) == settled(first, without=name)
    assert getattr(changed, name) == getattr(changes, name)
    assert (await feed.GetNotification(service.GetNotificationRequest(id=first.id))).notification == changed
    if name in {"title", "message"}:
        return
    removal = service.UpdateNotificationRequest(
        notification=pb.Notification(id=first.id), update_mask=FieldMask(paths=[name])
    )
    bare = (await feed.UpdateNotification(removal)).notification
    assert name not in {field.name for field, _ in bare.ListFields()}
    assert settled(bare, without=name) == settled(first, without=name)
    stored = further.FIELDS[name].stored if name in further.FIELDS else name
    assert stored not in raw.notifications.find_one({"_id": ObjectId(first.id)})


def settled(notification: pb.Notification, *, without: str) -> pb.Notification:
    """A notification without one field, and without what every change moves."""
    copy: Any = pb.Notification()
    copy.CopyFrom(notification)
    for name in (without, "etag", "updated_at"):
        copy.ClearField(name)
    settled_copy: pb.Notification = copy
    return settled_copy


async def test_a_star_changes_all_that_may_be_changed(pymongo_notifications: Notifications, user_id: str) -> None:
    """What is not given is taken off; channels and what it replaces stay as they were."""
    feed = pymongo_notifications.feed
    first = (await feed.CreateNotification(create(user_id, category="c", **whole()))).notification
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=first.id, title="t", message="m"), update_mask=FieldMask(paths=["*"])
    )
    changed = (await feed.UpdateNotification(update)).notification
    assert rare(changed) == {"channels": first.channels, "collapse_key": "order-1"}
    assert (changed.title, changed.message, changed.category) == ("t", "m", "")


@pytest.mark.parametrize("path", ["channels", "collapse_key", "email.content", "push.ttl", "email.content.subject"])
async def test_what_may_not_be_changed_is_named(pymongo_notifications: Notifications, user_id: str, path: str) -> None:
    """Channels are fixed when it is created; what is said of one is changed as a whole."""
    feed = pymongo_notifications.feed
    first = (await feed.CreateNotification(create(user_id, **whole()))).notification
    first.title = "New"
    update = service.UpdateNotificationRequest(notification=first, update_mask=FieldMask(paths=["title", path]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.UpdateNotification(update)
    assert rejected(caught) == ("FIELD_MASK_INVALID", [("update_mask", "MASK_PATH")])
    found = await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    assert found.notification.title == "Welcome"


@pytest.mark.parametrize("name", ["email", "push"])
async def test_what_is_said_of_a_channel_needs_the_channel(
    notifications: Notifications, raw: Any, user_id: str, name: str
) -> None:
    """When it is created and when it is changed, by the channels that are stored; taking it off needs none."""
    feed, why = notifications.feed, f"{name.upper()}_WITHOUT_CHANNEL"
    said: dict[str, Any] = {name: OTHERWISE[name]}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.CreateNotification(create(user_id, channels=[IN_APP], **said))
    assert rejected(caught) == ("INVALID_FIELDS", [(f"content.{name}", why)])
    other = PUSH if name == "email" else EMAIL
    without = (await feed.CreateNotification(create(user_id, channels=[other]))).notification
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=without.id, etag=without.etag, title="New", **said),
        update_mask=FieldMask(paths=["title", name]),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.UpdateNotification(update)
    assert rejected(caught) == ("INVALID_FIELDS", [(f"notification.{name}", why)])
    assert raw.notifications.find_one({"_id": ObjectId(without.id)})["title"] == "Welcome"
    update.notification.ClearField(name)  # type: ignore[arg-type] # a name of the contract
    await feed.UpdateNotification(update)
    for fields in ({"type": IN_APP, "channels": [EMAIL, PUSH]}, {"type": EMAIL if name == "email" else PUSH}):
        made = (await feed.CreateNotification(create(user_id, **fields))).notification
        update.notification.CopyFrom(pb.Notification(id=made.id, title="New", **said))
        assert getattr((await feed.UpdateNotification(update)).notification, name) == said[name]


async def test_the_rules_of_an_update_are_those_of_a_creation(
    pymongo_notifications: Notifications, user_id: str
) -> None:
    """Each field that the mask names, at any depth; the rest may be what it likes, unknown words included."""
    feed = pymongo_notifications.feed
    first = (await feed.CreateNotification(create(user_id, **whole()))).notification
    wrong = pb.Notification(id=first.id, thread_key="t" * 129, locale="no language", title="t")
    wrong.email.content.reply_to = "nobody"
    wrong.urgency = 77  # type: ignore[assignment]
    wrong.channels.append(99)  # type: ignore[arg-type]
    mask = FieldMask(paths=["thread_key", "locale", "email", "title"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.UpdateNotification(service.UpdateNotificationRequest(notification=wrong, update_mask=mask))
    code, found = rejected(caught)
    assert code == "INVALID_FIELDS"
    assert {field for field, _ in found} == {
        "notification.thread_key",
        "notification.locale",
        "notification.email.content.reply_to",
    }
    request = service.UpdateNotificationRequest(notification=wrong, update_mask=FieldMask(paths=["title"]))
    assert (await feed.UpdateNotification(request)).notification.title == "t"


async def test_an_expiry_must_be_to_come(pymongo_notifications: Notifications, user_id: str) -> None:
    """In whole milliseconds, in a creation, a batch and an update; and after its schedule."""
    feed, past = pymongo_notifications.feed, in_days(-0.001)
    first = (await feed.CreateNotification(create(user_id))).notification
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=first.id, expires_at=past), update_mask=FieldMask(paths=["expires_at"])
    )
    tried: list[tuple[str, Any]] = [
        ("content.expires_at", feed.CreateNotification(create(user_id, expires_at=past))),
        (
            "items.items[1].content.expires_at",
            feed.BatchCreateNotifications(items((user_id, content()), (user_id, content(expires_at=past)))),
        ),
        ("notification.expires_at", feed.UpdateNotification(update)),
    ]
    for field, call in tried:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert rejected(caught) == ("INVALID_FIELDS", [(field, "TIMESTAMP_GT_NOW")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.CreateNotification(create(user_id, expires_at=in_days(1), scheduled_at=in_days(2)))
    assert rejected(caught) == ("INVALID_FIELDS", [("content.expires_at", "EXPIRES_AT_AFTER_SCHEDULED_AT")])


async def test_channels_decide_whether_it_goes_out(notifications: Notifications, user_id: str) -> None:
    """The feed alone is delivered by being stored, whether it is named as a channel or not."""
    feed = notifications.feed
    for fields, state in (
        ({"channels": [IN_APP]}, pb.DELIVERY_STATE_SENT),
        ({"channels": [IN_APP, EMAIL]}, pb.DELIVERY_STATE_PENDING),
        ({"channels": [PUSH]}, pb.DELIVERY_STATE_PENDING),
    ):
        made = (await feed.CreateNotification(create(user_id, **fields))).notification
        assert (made.delivery_state, made.HasField("sent_at")) == (state, state == pb.DELIVERY_STATE_SENT)


async def test_what_another_system_wrote_of_it_is_shown_as_far_as_it_is_right(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """A wrong word in what nothing is found by hides no row; counts and lists agree."""
    feed = notifications.feed
    odd = row(user_id, channels=["email", "sms", 5], email={"subject": 7, "text": "Text"}, push="now", urgency="soon")
    odd |= {"critical": 1, "collapseKey": 5, "locale": [], "threadKey": "t", "expiresAt": None}
    command = {"insert": "notifications", "documents": [odd], "bypassDocumentValidation": True}
    assert raw.command(command)["n"] == 1
    found = (await feed.GetNotification(service.GetNotificationRequest(id=str(odd["_id"])))).notification
    assert rare(found) == {
        "channels": [EMAIL],
        "email": pb.EmailChannel(content=pb.EmailContent(text="Text")),
        "thread_key": "t",
    }
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, include_total=True))
    assert (len(page.notifications), page.total_size) == (1, 1)


async def test_a_thread_is_listed_counted_and_marked_by_its_key(notifications: Notifications, user_id: str) -> None:
    """In pages whose tokens know the filter in any order, and in statistics; a key is compared whole."""
    feed = notifications.feed
    for number in range(12):
        await feed.CreateNotification(create(user_id, thread_key=["a", "b", "A", ""][number % 4]))
    wanted = service.NotificationFilter(thread_keys=["a", "b"])
    request = service.ListNotificationsRequest(user_id=user_id, filter=wanted, page_size=4)
    first = await feed.ListNotifications(request)
    request.page_token = first.next_page_token
    request.filter.CopyFrom(service.NotificationFilter(thread_keys=["b", "a"]))
    second = await feed.ListNotifications(request)
    shown = [*first.notifications, *second.notifications]
    assert [each.thread_key for each in shown] == ["b", "a"] * 3
    request.filter.thread_keys.append("A")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.ListNotifications(request)
    assert reason(caught.value) == "PAGE_TOKEN_FILTER_MISMATCH"
    others = service.NotificationFilter(thread_keys=["A", "unknown"])
    counts = service.CountNotificationsRequest(user_id=user_id, filters=[wanted, others, service.NotificationFilter()])
    assert list((await feed.CountNotifications(counts)).counts) == [6, 3, 12]
    stats = await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id, filter=others))
    assert stats.total.total == 3
    mark = service.MarkAllNotificationsRequest(
        user_id=user_id, filter=wanted, mark=service.NOTIFICATION_MARK_READ, as_of=first.as_of
    )
    assert (await feed.MarkAllNotifications(mark)).changed_count == 6
    unread = service.NotificationFilter(read=False, thread_keys=["a", "A"])
    counts = service.CountNotificationsRequest(user_id=user_id, filters=[unread])
    assert list((await feed.CountNotifications(counts)).counts) == [3]


async def test_what_is_still_to_be_sent_follows_an_update(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Deliveries have a copy of some fields: those that are open get the new values, or none."""
    feed = notifications.feed
    fields = whole(category="old")
    made = (await feed.CreateNotification(create(user_id, **fields))).notification
    key = {"notificationId": ObjectId(made.id)}
    raw.deliveries.update_one({**key, "channel": "push"}, {"$set": {"state": "sent"}, "$unset": {"dueAt": ""}})
    done = raw.deliveries.find_one({**key, "channel": "push"})
    sooner = in_days(0.5)
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=made.id, expires_at=sooner, category="new"),
        update_mask=FieldMask(paths=["category", "critical", "expires_at"]),
    )
    await feed.UpdateNotification(update)
    found = raw.deliveries.find_one({**key, "channel": "email"})
    assert (found["category"], found.get("critical"), found["rev"]) == ("new", None, 2)
    assert sooner.ToMilliseconds() == round(found["expiresAt"].replace(tzinfo=UTC).timestamp() * 1_000)
    update.notification.ClearField("expires_at")
    await feed.UpdateNotification(update)
    assert "expiresAt" not in raw.deliveries.find_one({**key, "channel": "email"})
    assert raw.deliveries.find_one({**key, "channel": "push"}) == done
