"""Calls at the same time share commands: each still gets its own answer, and no one else's error."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from bson import ObjectId
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications
from tests.harness.users import reason
from tests.integration.notifications.building import create, row, struct
from tests.integration.notifications.test_lists import all_filters, many


@pytest.mark.long
async def test_answers_at_once_are_those_one_by_one(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Lists, counts and gets of several users, with equal and different filters, in one storm."""
    users = [f"{user_id}_{number}" for number in range(6)]
    rows = {user: many(user, 10 + 5 * number) for number, user in enumerate(users)}
    raw.notifications.insert_many([item for items in rows.values() for item in items])
    chosen = all_filters(rows[users[0]])[::29]
    feed = notifications.feed
    calls: list[Any] = []
    for user, items in rows.items():
        for wanted in chosen:
            for size in (0, 3):
                request = service.ListNotificationsRequest(user_id=user, filter=wanted, page_size=size)
                calls.append((feed.ListNotifications, request))
            calls.append((feed.CountNotifications, service.CountNotificationsRequest(user_id=user, filters=[wanted])))
        calls += [(feed.GetNotification, service.GetNotificationRequest(id=str(item["_id"]))) for item in items]
    one_by_one = [await method(request) for method, request in calls]
    at_once = await asyncio.gather(*(method(request) for method, request in calls))
    for expected, found in zip(one_by_one, at_once, strict=True):
        if isinstance(found, service.ListNotificationsResponse):
            # Sealed anew each time.
            assert bool(found.next_page_token) == bool(expected.next_page_token)
            found.next_page_token = expected.next_page_token
        if not isinstance(found, service.GetNotificationResponse):
            assert bool(found.as_of) == bool(expected.as_of)
            found.as_of = expected.as_of
        assert found == expected


async def test_later_pages_at_once_are_those_one_by_one(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Of several users, several pages of each, whose rows were created in the same few milliseconds."""
    now = datetime.now(UTC)
    users = [f"{user_id}_{number}" for number in range(4)]
    rows = {
        user: [row(user, createdAt=now - timedelta(milliseconds=number // 9)) for number in range(40)] for user in users
    }
    raw.notifications.insert_many([item for items in rows.values() for item in items])
    requests, expected = [], []
    for user, items in rows.items():
        newest_first = sorted(items, key=lambda item: (item["createdAt"], item["_id"]), reverse=True)
        request = service.ListNotificationsRequest(user_id=user, page_size=7)
        for start in range(0, 40, 7):
            requests.append(service.ListNotificationsRequest.FromString(request.SerializeToString()))
            expected.append([str(item["_id"]) for item in newest_first[start : start + 7]])
            request.page_token = (await notifications.feed.ListNotifications(request)).next_page_token
    pages = await asyncio.gather(*(notifications.feed.ListNotifications(request) for request in requests * 5))
    assert [[item.id for item in page.notifications] for page in pages] == expected * 5


async def test_a_get_of_nothing_harms_no_other(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Among ids that are there, one that is not is NOT_FOUND, and one that is spoilt DATA_LOSS."""
    good, bad = [row(user_id) for _ in range(10)], row(user_id, title=5)
    raw.command("insert", "notifications", documents=[*good, bad], bypassDocumentValidation=True)
    ids = [*(item["_id"] for item in good), bad["_id"], ObjectId()]
    calls = [notifications.feed.GetNotification(service.GetNotificationRequest(id=str(key))) for key in ids]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [reason(item) for item in answers if isinstance(item, grpc.aio.AioRpcError)] == [
        "NOTIFICATION_UNREADABLE",
        "NOTIFICATION_NOT_FOUND",
    ]
    assert sum(isinstance(item, service.GetNotificationResponse) for item in answers) == 10


async def test_a_create_that_is_refused_harms_no_other(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Of many at once the database refuses one: its caller is told, and the others are stored."""
    raw.notifications.create_index("data.single", unique=True, name="single", sparse=True)
    twice = [create(user_id, data=struct(single=user_id)) for _ in range(2)]
    requests = [*(create(user_id) for _ in range(20)), *twice, *(create(user_id) for _ in range(20))]
    try:
        calls = [notifications.feed.CreateNotification(request) for request in requests]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        raw.notifications.drop_index("single")
    refused = [item for item in answers if isinstance(item, grpc.aio.AioRpcError)]
    assert [reason(item) for item in refused] == ["INTERNAL"]
    stored = {str(item["_id"]) for item in raw.notifications.find({"userId": user_id})}
    assert stored == {item.notification.id for item in answers if isinstance(item, service.CreateNotificationResponse)}
    assert len(stored) == 41


async def test_a_caller_that_leaves_takes_nobody_along(notifications: Notifications, user_id: str) -> None:
    """Half of the calls of a storm are cancelled; the other half is answered, and so is the next one."""
    feed = notifications.feed
    key = (await feed.CreateNotification(create(user_id))).notification.id
    get = service.GetNotificationRequest(id=key)
    calls = [asyncio.ensure_future(feed.GetNotification(get)) for _ in range(100)]
    await asyncio.sleep(0.005)
    for call in calls[::2]:
        call.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, service.GetNotificationResponse) for answer in answers[1::2])
    assert (await feed.GetNotification(get)).notification.id == key
