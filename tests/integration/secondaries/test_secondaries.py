"""Lists and counts that a secondary answers show what the primary would; a late one costs a few bounded waits."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.peers import breaker
from notifications_service.mongodb import assembly
from notifications_service.mongodb.secondaries import FAILURES, Secondaries
from tests.harness.database_fixtures import migrated_mongodb
from tests.harness.database_servers import TestRun
from tests.harness.databases import MongoDatabase
from tests.harness.mongodb_members import Members, members
from tests.harness.notifications import Notifications, running_notifications
from tests.integration.notifications.building import create

pytestmark = [pytest.mark.xdist_group("secondaries"), pytest.mark.long]

_numbers = itertools.count(1)
ROUNDS, CALLERS = 8, 8
# Enough for any machine, and so little that it is waited for in vain.
PATIENT_MS, HASTY_MS = 60_000, 200
PREFERENCES = {
    "mongodb_read_preference_list": "secondaryPreferred",
    "mongodb_read_preference_count": "secondaryPreferred",
}


@pytest.fixture(scope="module")
def running_members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Members]:
    """A primary and a secondary, for all tests."""
    with members(tmp_path_factory.mktemp("members")) as running:
        yield running


@pytest.fixture
def pair(running_members: Members) -> Iterator[Members]:
    """The members, equal at the beginning of the test, and following again after it."""
    running_members.catch_up()
    try:
        yield running_members
    finally:
        running_members.let_go()


@pytest.fixture(scope="module")
def database(test_run: TestRun, running_members: Members) -> Iterator[MongoDatabase]:
    """A migrated database on the pair."""
    with migrated_mongodb(test_run, running_members.server) as made:
        yield made


@pytest.fixture(params=["pymongo", "motor"])
async def served(
    request: pytest.FixtureRequest, database: MongoDatabase, pair: Members
) -> AsyncIterator[Notifications]:
    """The service that prefers secondaries, under each driver."""
    settings = {**PREFERENCES, "mongodb_secondary_timeout_ms": PATIENT_MS, "mongodb_driver": request.param}
    async with running_notifications(database, **settings) as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Secondaries]:
    """What servers that are started from now on know of their secondaries."""
    made: list[Secondaries] = []

    class Noted(Secondaries):
        """Is what it is, and known to the test."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(assembly, "Secondaries", Noted)
    # The while for which they are left alone does not end.
    monkeypatch.setattr(breaker, "monotonic", lambda: 0.0)
    return made


@pytest.fixture
def user_id() -> str:
    """A user whom no other test has."""
    return f"user_{os.getpid()}_{next(_numbers):06d}"


async def seen(served: Notifications, user_id: str, *, projected: bool) -> tuple[int, int, int]:
    """Return how many notifications the list, the count and the stats show."""
    mask = FieldMask(paths=["id", "title"]) if projected else None
    page = await served.feed.ListNotifications(pb.ListNotificationsRequest(user_id=user_id, read_mask=mask))
    counts = await served.feed.CountNotifications(pb.CountNotificationsRequest(user_id=user_id))
    stats = await served.feed.GetNotificationStats(pb.GetNotificationStatsRequest(user_id=user_id))
    return len(page.notifications), counts.counts[0], stats.total.total


async def test_whoever_created_reads_it_from_the_secondary(served: Notifications, pair: Members) -> None:
    """Read your writes, of many callers at once; and it is the secondary that answers."""
    before = pair.queries()

    async def one(user_id: str) -> None:
        for number in range(1, ROUNDS + 1):
            await served.feed.CreateNotification(create(user_id))
            assert await seen(served, user_id, projected=number % 2 == 0) == (number, number, number)

    await asyncio.gather(*(one(f"user_{os.getpid()}_{next(_numbers):06d}") for _ in range(CALLERS)))
    assert pair.queries() - before >= ROUNDS * 3


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_an_as_of_is_right_whoever_answered(
    database: MongoDatabase, pair: Members, user_id: str, driver: str, *, late: bool
) -> None:
    """What the answer had seen is marked, and nothing later, by an `as_of` of a secondary or of the primary for it."""
    timeout = HASTY_MS if late else PATIENT_MS
    settings: dict[str, Any] = {**PREFERENCES, "mongodb_secondary_timeout_ms": timeout, "mongodb_driver": driver}
    async with running_notifications(database, **settings) as served:
        if late:
            pair.hold_back()
        page = await filled(served, user_id)
        listed = await served.feed.ListNotifications(page)
        await served.feed.CreateNotification(create(user_id))
        assert await marked(served, user_id, listed.as_of) == (ROUNDS, 1)
        await filled(served, user_id)
        counted = await served.feed.CountNotifications(pb.CountNotificationsRequest(user_id=user_id))
        await served.feed.CreateNotification(create(user_id))
        assert await marked(served, user_id, counted.as_of) == (ROUNDS + 1, 1)


async def filled(served: Notifications, user_id: str) -> pb.ListNotificationsRequest:
    """Create some notifications, and return the request that lists them."""
    await asyncio.gather(*(served.feed.CreateNotification(create(user_id)) for _ in range(ROUNDS)))
    return pb.ListNotificationsRequest(user_id=user_id)


async def marked(served: Notifications, user_id: str, as_of: str) -> tuple[int, int]:
    """Archive what was seen; return how many changed, and how many are left."""
    archive = pb.MarkAllNotificationsRequest(user_id=user_id, mark=pb.NOTIFICATION_MARK_ARCHIVED, as_of=as_of)
    changed = (await served.feed.MarkAllNotifications(archive)).changed_count
    left = pb.CountNotificationsRequest(user_id=user_id, filters=[pb.NotificationFilter(archived=False)])
    return changed, (await served.feed.CountNotifications(left)).counts[0]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_secondary_that_falls_behind_costs_a_few_bounded_waits(
    database: MongoDatabase,
    pair: Members,
    user_id: str,
    driver: str,
    asked: list[Secondaries],
) -> None:
    """No answer is old, none fails, and after a few in vain nobody waits any more."""
    settings: dict[str, Any] = {**PREFERENCES, "mongodb_secondary_timeout_ms": HASTY_MS, "mongodb_driver": driver}
    async with running_notifications(database, **settings) as served:
        pair.hold_back()
        await served.feed.CreateNotification(create(user_id))
        for _ in range(12):
            assert await seen(served, user_id, projected=False) == (1, 1, 1)
    assert [each.fallbacks for each in asked] == [FAILURES]


async def test_only_the_reads_named_go_to_secondaries(database: MongoDatabase, pair: Members, user_id: str) -> None:
    """A repeated create and a mark see the primary, even where the URL asks for secondaries and they are late."""
    asking = MongoDatabase(f"{database.url}&readPreference=secondary", database.name)
    async with running_notifications(asking) as served:
        pair.hold_back()
        wanted = create(user_id, request_id=str(uuid.uuid4()))
        first, again = [await served.feed.CreateNotification(wanted) for _ in range(2)]
        assert first == again
        marked = await served.feed.MarkNotifications(
            pb.MarkNotificationsRequest(user_id=user_id, ids=[first.notification.id], mark=pb.NOTIFICATION_MARK_READ)
        )
        got = await served.feed.GetNotification(pb.GetNotificationRequest(id=first.notification.id))
        assert marked.changed_count == 1
        assert got.notification.read
        assert await seen(served, user_id, projected=False) == (1, 1, 1)


async def test_a_secondary_killed_under_load_fails_no_call(served: Notifications, pair: Members, user_id: str) -> None:
    """What it was asked is answered by the primary, and it is asked again once it is back."""
    ended, reads = asyncio.Event(), 0

    async def reader() -> None:
        nonlocal reads
        while not ended.is_set():
            assert await seen(served, user_id, projected=True) == (1, 1, 1)
            reads += 1

    async def more() -> None:
        before = reads
        while reads < before + 10 * CALLERS:  # noqa: ASYNC110 - the readers have no event for it
            await asyncio.sleep(0.01)

    await served.feed.CreateNotification(create(user_id))
    async with asyncio.TaskGroup() as readers:
        for _ in range(CALLERS):
            readers.create_task(reader())
        await more()
        pair.secondary.kill()
        await more()
        pair.start()
        await more()
        ended.set()
