"""Paging while rows come, go and expire: nothing twice, and nothing missed that is there throughout."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications
from tests.integration.notifications.building import create, row


async def test_pages_hold_while_the_feed_changes(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Rows are created, marked, deleted and expire between and during pages."""
    feed, chance = notifications.feed, random.Random(7)
    now = datetime.now(UTC)
    month = timedelta(days=30)
    rows = [row(user_id, createdAt=now - timedelta(milliseconds=chance.randrange(100))) for _ in range(120)]
    soon = [row(user_id, createdAt=now - month + timedelta(milliseconds=200 + 5 * number)) for number in range(60)]
    raw.notifications.insert_many(rows + soon)
    going = {str(item["_id"]) for item in chance.sample(rows, 40)}
    staying = {str(item["_id"]) for item in rows} - going
    found: list[str] = []

    async def change() -> None:
        for key in sorted(going):
            await feed.CreateNotification(create(user_id))
            await feed.DeleteNotification(service.DeleteNotificationRequest(id=key))
            mark = service.MarkNotificationsRequest(
                user_id=user_id, ids=[chance.choice(sorted(staying))], mark=service.NOTIFICATION_MARK_ARCHIVED
            )
            await feed.MarkNotifications(mark)

    changes = asyncio.create_task(change())
    request = service.ListNotificationsRequest(user_id=user_id, page_size=9)
    while True:
        page = await feed.ListNotifications(request)
        found += [item.id for item in page.notifications]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        await asyncio.sleep(0.01)
    await changes
    assert len(found) == len(set(found))
    assert staying <= set(found)


async def test_a_token_outlives_the_row_it_points_at(notifications: Notifications, user_id: str) -> None:
    """After the last row of a page is deleted the next page begins where it would have."""
    feed = notifications.feed
    created = [(await feed.CreateNotification(create(user_id))).notification.id for _ in range(6)]
    request = service.ListNotificationsRequest(user_id=user_id, page_size=2)
    first = await feed.ListNotifications(request)
    for gone in first.notifications:
        await feed.DeleteNotification(service.DeleteNotificationRequest(id=gone.id))
    request.page_token, request.page_size = first.next_page_token, 10
    rest = [item.id for item in (await feed.ListNotifications(request)).notifications]
    assert set(rest) == set(created) - {item.id for item in first.notifications}


async def test_mark_all_leaves_what_came_later(notifications: Notifications, user_id: str) -> None:
    """With `as_of_time`, all that was on the screen is marked and nothing that is created meanwhile."""
    feed = notifications.feed
    shown = [(await feed.CreateNotification(create(user_id))).notification for _ in range(30)]
    as_of = max((item.created_at for item in shown), key=lambda time: time.ToNanoseconds())
    await asyncio.sleep(0.002)
    request = service.MarkAllNotificationsRequest(
        user_id=user_id, mark=service.NOTIFICATION_MARK_READ, as_of_time=as_of
    )
    calls: list[Any] = [feed.MarkAllNotifications(request) for _ in range(8)]
    calls[4:4] = [feed.CreateNotification(create(user_id)) for _ in range(56)]
    answers = await asyncio.gather(*calls)
    assert sum(answer.changed_count for answer in answers if hasattr(answer, "changed_count")) == len(shown)
    late = {answer.notification.id for answer in answers if hasattr(answer, "notification")}
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, page_size=100))
    assert {item.id for item in page.notifications if item.read} == {item.id for item in shown}
    assert {item.id for item in page.notifications if not item.read} == late


async def test_marks_that_race_change_each_row_once(notifications: Notifications, user_id: str) -> None:
    """Of many equal marks at once, the numbers of changes add up to the number of rows."""
    feed = notifications.feed
    ids = [(await feed.CreateNotification(create(user_id))).notification.id for _ in range(20)]
    request = service.MarkNotificationsRequest(user_id=user_id, ids=ids, mark=service.NOTIFICATION_MARK_ARCHIVED)
    answers = await asyncio.gather(*(feed.MarkNotifications(request) for _ in range(10)))
    assert sum(answer.changed_count for answer in answers) == len(ids)


async def test_a_mark_touches_only_the_user_it_names(notifications: Notifications, user_id: str) -> None:
    """Ids of another user, and ids of nothing, are left as they are and not counted."""
    feed = notifications.feed
    mine = (await feed.CreateNotification(create(user_id))).notification
    theirs = (await feed.CreateNotification(create(f"{user_id}_other"))).notification
    request = service.MarkNotificationsRequest(
        user_id=user_id, ids=[mine.id, theirs.id, "0" * 24], mark=service.NOTIFICATION_MARK_READ
    )
    assert (await feed.MarkNotifications(request)).changed_count == 1
    found = await feed.GetNotification(service.GetNotificationRequest(id=theirs.id))
    assert found.notification == theirs
