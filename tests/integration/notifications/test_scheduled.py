"""Scheduled notifications: invisible until their time, then in the feed as if created then; changed by id meanwhile."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.clock import in_milliseconds
from notifications_service.mongodb.database import Database
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.mover import BATCH, PUT_OFF, Mover
from notifications_service.scheduled.repository import ScheduledRepository
from tests.harness.clocks import FrozenClock
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.patience import until
from tests.harness.users import reason, told
from tests.harness.watching import watching
from tests.integration.notifications.building import content, create, items

HOUR: Final = timedelta(hours=1)
EMAIL: Final = pb.NOTIFICATION_TYPE_EMAIL


@pytest.fixture
def clock() -> FrozenClock:
    """The server's clock."""
    return FrozenClock()


@pytest.fixture(params=["pymongo", "motor"])
async def notifications(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase, clock: FrozenClock
) -> AsyncIterator[Notifications]:
    """The production server under each driver, by that clock."""
    settings = {"mongodb_driver": request.param, "schedule_poll_ms": 20}
    async with running_notifications(mongodb_module_database, clock, **settings) as running:
        yield running


def after(clock: FrozenClock, span: timedelta) -> Timestamp:
    """A time so long after the clock's, in whole milliseconds."""
    at = Timestamp()
    at.FromDatetime(in_milliseconds(clock)() + span)
    return at


async def get(running: Notifications, key: str) -> pb.Notification:
    """Read one."""
    return (await running.feed.GetNotification(service.GetNotificationRequest(id=key))).notification


async def listed(running: Notifications, user_id: str) -> list[str]:
    """The ids of a user's feed."""
    response = await running.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    return [each.id for each in response.notifications]


async def waiting(running: Notifications, user_id: str, **chosen: Any) -> list[str]:
    """The ids of what waits for its time."""
    request = service.ListScheduledNotificationsRequest(
        user_id=user_id, filter=service.ScheduledNotificationFilter(**chosen), include_total=True
    )
    response = await running.feed.ListScheduledNotifications(request)
    assert response.total_size == len(response.notifications)
    return [each.id for each in response.notifications]


async def shown(running: Notifications, user_id: str, key: str) -> None:
    """Wait until one is in the feed."""
    found: list[str] = []

    async def look() -> None:
        while key not in found:
            found[:] = await listed(running, user_id)

    looking = asyncio.create_task(look())
    await until(looking.done, "a notification to become visible")


async def refused(call: Any) -> tuple[str, list[tuple[str, str]]]:
    """The reason of an error, and each field at fault with its own."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = json.loads(told(caught.value))["details"]
    found = [item for detail in details for item in detail.get("fieldViolations", ())]
    return reason(caught.value), [(item["field"], item["reason"]) for item in found]


def update(key: str, *mask: str, **fields: Any) -> service.UpdateNotificationRequest:
    """Change fields of one."""
    return service.UpdateNotificationRequest(
        notification=pb.Notification(id=key, **fields), update_mask=FieldMask(paths=mask)
    )


async def test_nobody_sees_it_before_its_time_but_by_its_id(
    notifications: Notifications, user_id: str, clock: FrozenClock, raw: Any
) -> None:
    """No list, count, statistic or watch shows it; GetNotification and the list of what waits do; nothing goes out."""
    feed, at = notifications.feed, after(clock, HOUR)
    async with watching(feed, user_id) as watch:
        created = (await feed.CreateNotification(create(user_id, type=EMAIL, scheduled_at=at))).notification
        assert (created.delivery_state, created.scheduled_at) == (pb.DELIVERY_STATE_SCHEDULED, at)
        assert not created.HasField("sent_at")
        assert await get(notifications, created.id) == created
        assert await waiting(notifications, user_id) == [created.id]
        assert await listed(notifications, user_id) == []
        counts = await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id))
        assert list(counts.counts) == [0]
        stats = await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id))
        assert stats.total.total == 0
        assert raw.deliveries.count_documents({"userId": user_id}) == 0
        now = (await feed.CreateNotification(create(user_id))).notification
        assert await watch.change() == ("created", now.id)


async def test_at_its_time_it_is_created_anew(
    notifications: Notifications, user_id: str, clock: FrozenClock, raw: Any
) -> None:
    """It has the same id and the time of the move, it is watched as created, and its deliveries begin."""
    feed, at = notifications.feed, after(clock, HOUR)
    request = create(user_id, type=EMAIL, scheduled_at=at, category="news", thread_key="t")
    created = (await feed.CreateNotification(request)).notification
    async with watching(feed, user_id) as watch:
        clock.advance(HOUR)
        assert await watch.change() == ("created", created.id)
    await shown(notifications, user_id, created.id)
    moved = await get(notifications, created.id)
    assert moved.created_at.ToDatetime() == in_milliseconds(clock)()
    assert (moved.scheduled_at, moved.delivery_state) == (at, pb.DELIVERY_STATE_PENDING)
    assert moved.etag != created.etag
    assert (moved.title, moved.category, moved.thread_key) == (created.title, "news", "t")
    assert await waiting(notifications, user_id) == []
    (delivery,) = raw.deliveries.find({"userId": user_id})
    assert (delivery["notificationId"], delivery["state"]) == (ObjectId(created.id), "pending")
    stored = raw.notifications.find_one({"_id": ObjectId(created.id)})
    assert "dueAt" not in stored
    assert stored["insertedAt"].time > 0


async def test_in_app_alone_is_sent_by_becoming_visible(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """Without channels it is SCHEDULED, then SENT from the moment of the move."""
    request = create(user_id, scheduled_at=after(clock, HOUR))
    created = (await notifications.feed.CreateNotification(request)).notification
    assert created.delivery_state == pb.DELIVERY_STATE_SCHEDULED
    clock.advance(HOUR)
    await shown(notifications, user_id, created.id)
    moved = await get(notifications, created.id)
    assert (moved.delivery_state, moved.sent_at) == (pb.DELIVERY_STATE_SENT, moved.created_at)


async def test_a_repeat_gets_the_first_answer_before_and_after_the_move(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """`request_id` holds for what waits, and makes no second one when it has become visible."""
    request = create(user_id, scheduled_at=after(clock, HOUR), request_id=str(uuid.uuid4()))
    first = await notifications.feed.CreateNotification(request)
    assert await notifications.feed.CreateNotification(request) == first
    clock.advance(HOUR)
    await shown(notifications, user_id, first.notification.id)
    assert await notifications.feed.CreateNotification(request) == first
    assert await listed(notifications, user_id) == [first.notification.id]


async def test_a_batch_may_have_both_kinds(notifications: Notifications, user_id: str, clock: FrozenClock) -> None:
    """Each item is visible at its own time; a fan-out waits for all its users."""
    other = f"{user_id}-2"
    batch = items((user_id, content()), (user_id, content(scheduled_at=after(clock, HOUR))))
    now, later = (await notifications.feed.BatchCreateNotifications(batch)).notifications
    assert (await listed(notifications, user_id), await waiting(notifications, user_id)) == ([now.id], [later.id])
    fan_out = service.BatchCreateNotificationsRequest.FanOut(
        user_ids=[user_id, other], content=content(scheduled_at=after(clock, 2 * HOUR))
    )
    made = (
        await notifications.feed.BatchCreateNotifications(service.BatchCreateNotificationsRequest(fan_out=fan_out))
    ).notifications
    assert await waiting(notifications, user_id) == [later.id, made[0].id]
    assert await waiting(notifications, other) == [made[1].id]


async def test_what_waits_is_changed_and_moved(notifications: Notifications, user_id: str, clock: FrozenClock) -> None:
    """Its text and its time change by id, with an etag; a time that has passed makes it visible at once."""
    feed = notifications.feed
    created = (await feed.CreateNotification(create(user_id, scheduled_at=after(clock, HOUR)))).notification
    changed = (await feed.UpdateNotification(update(created.id, "title", title="New", etag=created.etag))).notification
    assert (changed.title, changed.scheduled_at, changed.delivery_state) == (
        "New",
        created.scheduled_at,
        pb.DELIVERY_STATE_SCHEDULED,
    )
    stale = await refused(feed.UpdateNotification(update(created.id, "title", title="Old", etag=created.etag)))
    assert stale == ("ETAG_MISMATCH", [])
    later = after(clock, 3 * HOUR)
    await feed.UpdateNotification(update(created.id, "scheduled_at", scheduled_at=later))
    clock.advance(2 * HOUR)
    assert await waiting(notifications, user_id) == [created.id]
    await feed.UpdateNotification(update(created.id, "scheduled_at", scheduled_at=after(clock, -HOUR)))
    await shown(notifications, user_id, created.id)
    assert (await get(notifications, created.id)).title == "New"


async def test_what_is_visible_has_no_time_to_change(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """A mask that names `scheduled_at` is refused for it, by name; `*` changes the rest."""
    feed = notifications.feed
    visible = (await feed.CreateNotification(create(user_id))).notification
    request = update(visible.id, "title", "scheduled_at", title="x", scheduled_at=after(clock, HOUR))
    fault = [("notification.scheduled_at", "SCHEDULED_AT_OF_VISIBLE")]
    assert await refused(feed.UpdateNotification(request)) == ("INVALID_FIELDS", fault)
    whole = (await feed.UpdateNotification(update(visible.id, "*", title="All", message="New"))).notification
    assert (whole.title, whole.message) == ("All", "New")
    missing = update(str(ObjectId()), "scheduled_at")
    assert await refused(feed.UpdateNotification(missing)) == ("NOTIFICATION_NOT_FOUND", [])


async def test_it_expires_after_its_time_whichever_changes(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """`expires_at` stays after `scheduled_at`: neither is changed to a time on the wrong side of the other."""
    feed, at, expiry = notifications.feed, after(clock, HOUR), after(clock, 2 * HOUR)
    request = create(user_id, scheduled_at=at, expires_at=expiry)
    created = (await feed.CreateNotification(request)).notification
    for mask, fields in (
        (["scheduled_at"], {"scheduled_at": expiry}),
        (["expires_at"], {"expires_at": at}),
        (["expires_at", "scheduled_at"], {"scheduled_at": expiry, "expires_at": expiry}),
    ):
        found, faults = await refused(feed.UpdateNotification(update(created.id, *mask, **fields)))
        assert (found, {each for _, each in faults}) == ("INVALID_FIELDS", {"EXPIRES_AT_AFTER_SCHEDULED_AT"})
    both = update(
        created.id,
        "expires_at",
        "scheduled_at",
        scheduled_at=after(clock, 3 * HOUR),
        expires_at=after(clock, 4 * HOUR),
    )
    await feed.UpdateNotification(both)
    assert (await get(notifications, created.id)).scheduled_at == after(clock, 3 * HOUR)


async def test_what_is_deleted_never_comes(notifications: Notifications, user_id: str, clock: FrozenClock) -> None:
    """By its id, by a right etag, and with all that its user has; each is counted."""
    feed = notifications.feed
    keys = [
        (await feed.CreateNotification(create(user_id, scheduled_at=after(clock, HOUR)))).notification.id
        for _ in range(3)
    ]
    visible = (await feed.CreateNotification(create(user_id))).notification
    wrong = service.DeleteNotificationRequest(id=keys[0], etag='"9.9"')
    assert await refused(feed.DeleteNotification(wrong)) == ("ETAG_MISMATCH", [])
    await feed.DeleteNotification(service.DeleteNotificationRequest(id=keys[0]))
    assert await refused(feed.DeleteNotification(service.DeleteNotificationRequest(id=keys[0]))) == (
        "NOTIFICATION_NOT_FOUND",
        [],
    )
    assert visible.id in await listed(notifications, user_id)
    deleted = await feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    assert deleted.deleted_count == 3
    clock.advance(2 * HOUR)
    marker = (await feed.CreateNotification(create(user_id))).notification
    assert await listed(notifications, user_id) == [marker.id]
    assert await waiting(notifications, user_id) == []


async def test_the_list_of_what_waits_has_pages_and_filters(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """The earliest first, by type, category, thread and time; nobody else's; a token is of its own list alone."""
    feed, keys = notifications.feed, list[str]()
    for number in range(5):
        fields: dict[str, Any] = {"scheduled_at": after(clock, (5 - number // 2) * HOUR)}
        fields |= {"category": "a"} if number % 2 else {"type": EMAIL, "thread_key": "t"}
        keys.append((await feed.CreateNotification(create(user_id, **fields))).notification.id)
    order = [keys[4], *sorted(keys[2:4]), *sorted(keys[:2])]
    assert await waiting(notifications, user_id) == order
    found, token = list[str](), ""
    while True:
        page = service.ListScheduledNotificationsRequest(user_id=user_id, page_size=2, page_token=token)
        response = await feed.ListScheduledNotifications(page)
        found += [each.id for each in response.notifications]
        if not (token := response.next_page_token):
            break
        wrong = service.ListNotificationsRequest(user_id=user_id, page_token=token)
        assert (await refused(feed.ListNotifications(wrong)))[0] in {"PAGE_TOKEN_INVALID", "PAGE_TOKEN_FILTER_MISMATCH"}
    assert found == order
    assert await waiting(notifications, user_id, categories=["a"]) == [keys[3], keys[1]]
    assert await waiting(notifications, user_id, types=[EMAIL]) == [keys[4], keys[2], keys[0]]
    assert await waiting(notifications, user_id, thread_keys=["t"]) == [keys[4], keys[2], keys[0]]
    between = {"scheduled_after": after(clock, 4 * HOUR), "scheduled_before": after(clock, 5 * HOUR)}
    assert await waiting(notifications, user_id, **between) == sorted(keys[2:4])
    assert await waiting(notifications, "another") == []


async def test_every_field_of_what_waits_can_be_asked_for(
    notifications: Notifications, user_id: str, clock: FrozenClock
) -> None:
    """Each by itself and all of them: what the list needs for itself stands in no field's way."""
    fields = {"scheduled_at": after(clock, HOUR), "type": EMAIL}
    key = (await notifications.feed.CreateNotification(create(user_id, **fields))).notification.id
    whole = await get(notifications, key)
    for name in ("*", *pb.Notification.DESCRIPTOR.fields_by_name):
        request = service.ListScheduledNotificationsRequest(user_id=user_id, read_mask=FieldMask(paths=[name]))
        [found] = (await notifications.feed.ListScheduledNotifications(request)).notifications
        assert found == whole if name == "*" else getattr(found, name) == getattr(whole, name), name


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_movers_share_the_work_and_each_notification_is_in_one_place(
    mongodb_database: MongoDatabase, clock: FrozenClock, driver: str
) -> None:
    """Three movers at once, 250 due: all become visible once, in the order of their times, while calls change some."""
    async with running_notifications(mongodb_database, clock, mongodb_driver=driver, schedule_poll_ms=3_600_000) as it:
        contents = [
            (f"user-{number % 10}", content(scheduled_at=after(clock, timedelta(seconds=number + 1))))
            for number in range(250)
        ]
        made = (await it.feed.BatchCreateNotifications(items(*contents))).notifications
        clock.advance(HOUR)
        database = Database(settings_for(mongodb_database, mongodb_driver=driver))
        now = in_milliseconds(clock)
        repository = ScheduledRepository(database, OutboxRepository(database, now), now)
        movers = [Mover(repository, now, poll=HOUR) for _ in range(3)]

        async def change(key: str) -> str:
            return (await it.feed.UpdateNotification(update(key, "title", title="Changed"))).notification.title

        async def move(mover: Mover) -> None:
            while await repository.due(1):
                await mover.drain()

        titles = await asyncio.gather(*map(move, movers), *(change(each.id) for each in made[::10]))
        assert set(titles[3:]) == {"Changed"}
        rows = [row async for row in database.collection("notifications").find({}, {"title": 1, "rev": 1})]
        assert len(rows) == len(made) == len({row["_id"] for row in rows})
        assert sum(row["title"] == "Changed" for row in rows) == 25
        assert await database.collection("scheduled_notifications").count_documents({}) == 0
        await database.close()


async def test_a_row_that_cannot_be_moved_holds_up_no_other(
    mongodb_database: MongoDatabase, clock: FrozenClock
) -> None:
    """What no validator lets into the feed is put off and logged, and the rest of its batch becomes visible."""
    async with running_notifications(mongodb_database, clock, schedule_poll_ms=3_600_000) as it:
        contents = [("user", content(scheduled_at=after(clock, HOUR))) for _ in range(BATCH // 10)]
        made = (await it.feed.BatchCreateNotifications(items(*contents))).notifications
        database = Database(settings_for(mongodb_database))
        broken = ObjectId(made[0].id)
        rows = database.collection("scheduled_notifications")
        await rows.update_one({"_id": broken}, {"$set": {"title": 7}})
        clock.advance(HOUR)
        now = in_milliseconds(clock)
        repository = ScheduledRepository(database, OutboxRepository(database, now), now)
        await Mover(repository, now, poll=HOUR).drain()
        (left,) = [row async for row in rows.find({})]
        assert (left["_id"], left["dueAt"]) == (broken, now() + PUT_OFF)
        assert await database.collection("notifications").count_documents({}) == len(made) - 1
        await database.close()


async def test_what_stands_in_the_feed_with_a_time_to_come_stays_visible(
    notifications: Notifications, user_id: str, raw: Any
) -> None:
    """Rows of before scheduling was built were visible, and are not taken away."""
    key, now = ObjectId(), datetime.now()  # noqa: DTZ005 - a row as an older server wrote it
    delivery = {"state": "sent", "scheduledAt": now + timedelta(days=30)}
    raw.notifications.insert_one(
        {"_id": key, "userId": user_id, "title": "t", "message": "m", "type": "in-app", "createdAt": now}
        | {"delivery": delivery}
    )
    assert await listed(notifications, user_id) == [str(key)]
