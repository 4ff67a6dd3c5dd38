"""How MongoDB carries out the queries of the feed among 100,000 rows: by index, in order, reading little."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.integration.notifications.test_lists import all_filters, in_threads

ROWS, USERS = 100_000, 100
USER = "user_0042"


@pytest.fixture(scope="module")
def profiled(mongodb_module_database: MongoDatabase) -> Iterator[Any]:
    """A database of 100,000 rows that records how it carries out each command."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url, w=1, journal=False) as client:
        database = client.get_default_database()
        chance, now = random.Random(1), datetime.now(UTC)
        for start in range(0, ROWS, 10_000):
            rows = [_row(chance, number, now) for number in range(start, start + 10_000)]
            database.notifications.insert_many(rows, ordered=False)
        # Made by itself it holds a megabyte, and forgets the oldest.
        database.create_collection("system.profile", capped=True, size=256 * 1024 * 1024)
        database.command("profile", 2)
        yield database
        database.command("profile", 0)


def _row(chance: random.Random, number: int, now: datetime) -> dict[str, Any]:
    level = chance.randrange(4)
    at = now - timedelta(seconds=chance.randrange(86_400 * 29))
    return {
        "_id": ObjectId(),
        "title": "Welcome",
        "message": "Hello",
        "userId": f"user_{number % USERS:04d}",
        "type": chance.choice(["email", "push", "in-app"]),
        "category": chance.choice(["billing", "social", "$type"]),
        **chance.choice([{}, {"threadKey": "order:1"}, {"threadKey": "$type"}]),
        **chance.choice([{}, {}, {"expiresAt": now + timedelta(days=1)}, {"expiresAt": now - timedelta(days=1)}]),
        "seen": level > 0,
        "read": level > 1,
        "archived": level > 2,
        "createdAt": at,
        "updatedAt": at,
        "rev": 1,
    }


@pytest.fixture
async def feed(profiled: Any, mongodb_module_database: MongoDatabase) -> AsyncIterator[Notifications]:
    """The server on that database."""
    async with running_notifications(mongodb_module_database) as running:
        yield running


def plans(profiled: Any, operation: str) -> list[dict[str, Any]]:
    """How the commands on the collection were carried out, oldest first."""
    namespace = f"{profiled.name}.notifications"
    return list(profiled["system.profile"].find({"ns": namespace, f"command.{operation}": {"$exists": True}}))


def assert_by_index(plan: dict[str, Any]) -> None:
    """The plan reads by index and sorts nothing."""
    assert plan["planSummary"].startswith(("IXSCAN", "COUNT_SCAN")), plan
    assert not plan.get("hasSortStage"), plan
    # Absent where an aggregation ran as one; its summary and the sort flag say it all then.
    stages = str(plan.get("execStats", ""))
    assert "COLLSCAN" not in stages, plan
    assert "'SORT" not in stages, plan


@pytest.mark.long
async def test_every_list_and_count_uses_the_feed_index(feed: Notifications, profiled: Any) -> None:
    """All 432 combinations of conditions, some with threads, and later pages: no scan, no sort; counts read no rows."""
    rows = [{"createdAt": datetime.now(UTC) - timedelta(days=day)} for day in range(29)]
    filters = [*all_filters(rows), *in_threads(all_filters(rows))]
    for wanted in filters:
        request = service.ListNotificationsRequest(user_id=USER, filter=wanted, page_size=5)
        request.page_token = (await feed.feed.ListNotifications(request)).next_page_token
        if request.page_token:
            await feed.feed.ListNotifications(request)
        await feed.feed.CountNotifications(service.CountNotificationsRequest(user_id=USER, filters=[wanted]))
    finds, counts = plans(profiled, "find"), plans(profiled, "aggregate")
    # A count also looks whether anything of the user is unreadable: from keys, of which there are none.
    looks = [plan for plan in finds if "min" in plan["command"]]
    lists = [plan for plan in finds if "min" not in plan["command"]]
    assert len(looks) == len(counts)
    assert {(plan["planSummary"], plan["keysExamined"], plan["docsExamined"]) for plan in looks} == {
        ("IXSCAN { userId: 1, _id: 1 }", 0, 0)
    }
    # 20 of the 27 combinations of states hold together; the others need no query to be listed.
    assert len(lists) > 20 * 16
    assert len(counts) == len(filters) == 432 + 48
    for plan in lists:
        assert_by_index(plan)
        # One row more than the page tells of the next one (where no state is asked for, whole pages are read, to be
        # shared), and a later page looks at the row it goes on from. Those that do not match are left out by their
        # keys, but where a state may be said by either of several fields.
        if "$or" not in str(plan["command"]["filter"].get("$and")):
            assert plan["docsExamined"] <= plan["command"]["limit"] + 1, plan
            assert plan["command"]["limit"] in {5 + 1, 20 + 1}
    for plan in counts:
        assert_by_index(plan)
        assert plan["docsExamined"] == 0, plan
        # The key behind the last one of the user ends the scan.
        assert plan["keysExamined"] <= ROWS / USERS + 1, plan


@pytest.mark.long
async def test_lists_that_share_a_command_use_the_feed_index(feed: Notifications, profiled: Any) -> None:
    """For each of them the server comes upon that index by itself: in order, and reading no more than is shown."""
    began = datetime.now(UTC)
    rows = [{"createdAt": began - timedelta(days=day)} for day in range(29)]
    filters = [
        wanted for wanted in all_filters(rows) if not (wanted.ListFields() and wanted.ListFields()[0][0].number < 4)
    ]
    assert len(filters) == 16
    requests = [
        service.ListNotificationsRequest(user_id=f"user_{number:04d}", filter=filters[number % 16])
        for number in range(USERS)
        if f"user_{number:04d}" != USER
    ]
    for _ in range(4):
        pages = await asyncio.gather(*(feed.feed.ListNotifications(request) for request in requests))
        for request, page in zip(requests, pages, strict=True):
            request.page_token = page.next_page_token
    shared = [
        plan
        for plan in plans(profiled, "aggregate")
        if plan["ts"].replace(tzinfo=UTC) >= began and "$unionWith" in str(plan["command"]["pipeline"])
    ]
    assert any("$nor" in str(plan["command"]["pipeline"]) for plan in shared)
    key = "IXSCAN { userId: 1, createdAt: -1, _id: -1,"
    for plan in shared:
        assert not plan.get("hasSortStage"), plan
        parts = len(plan["command"]["pipeline"]) - 3 + 1
        assert plan["planSummary"].count(key) == plan["planSummary"].count("SCAN") >= 1, plan
        # A later page also looks at the row it goes on from.
        assert plan["docsExamined"] <= (21 + 1) * parts, plan


@pytest.mark.long
async def test_marks_stats_and_deletes_use_an_index(feed: Notifications, profiled: Any) -> None:
    """What changes rows, and the statistics, finds them by index, too."""
    stub = feed.feed
    as_of = Timestamp()
    as_of.FromDatetime(datetime.now(UTC))
    page = await stub.ListNotifications(service.ListNotificationsRequest(user_id=USER))
    ids = [item.id for item in page.notifications]
    for mark in (service.NotificationMark.values())[1:]:
        await stub.MarkNotifications(service.MarkNotificationsRequest(user_id=USER, ids=ids, mark=mark))
        unread = service.NotificationFilter(read=False, types=[pb.NOTIFICATION_TYPE_EMAIL])
        for wanted in (unread, service.NotificationFilter()):
            request = service.MarkAllNotificationsRequest(user_id=USER, mark=mark, filter=wanted, as_of_time=as_of)
            await stub.MarkAllNotifications(request)
    await stub.GetNotificationStats(service.GetNotificationStatsRequest(user_id=USER))
    await stub.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=USER))
    namespace = f"{profiled.name}.notifications"
    written = list(profiled["system.profile"].find({"ns": namespace, "op": {"$in": ["update", "remove"]}}))
    # Marks of all and the deletion take one for each batch.
    assert len(written) >= 6 * 3 + 1
    for plan in [*written, *plans(profiled, "aggregate"), *plans(profiled, "find")]:
        assert_by_index(plan)
