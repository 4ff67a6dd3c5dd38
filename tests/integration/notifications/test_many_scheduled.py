"""Many scheduled notifications at one moment: they come in order, nobody else waits for them, and clocks may differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any, Final

import pytest
from bson import ObjectId

from chassis.background import running
from chassis.errors import DatabaseUnavailable
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.database import Database
from notifications_service.notification import documents
from notifications_service.notification.documents import Draft, Type
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.mover import BATCH, Mover
from notifications_service.scheduled.repository import ScheduledRepository
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import Delivering, FarEnd
from tests.harness.notifications import settings_for
from tests.harness.patience import PATIENCE_SECONDS

MOVERS = 2
SLICE = 5_000
APART: Final = timedelta(seconds=5)
FEW, MANY = 600, 100_000
# Those who come while the others are moved.
NEWCOMERS = 20
# For all of them, some ten times what a slow machine takes.
MOST_SECONDS: Final = 600

pytestmark = pytest.mark.timeout(MOST_SECONDS + 300)


@pytest.fixture
async def database(mongodb_database: MongoDatabase) -> AsyncIterator[Database]:
    """A database of its own."""
    opened = Database(settings_for(mongodb_database))
    yield opened
    await opened.close()


def draft(user_id: str, at: datetime | None, kind: Type = Type.IN_APP) -> Draft:
    """Make a notification; ``at``: when it is due."""
    return Draft(user_id, "Title", "Message", kind, scheduled_at=at)


async def schedule(database: Database, number: int, at: datetime, kind: Type = Type.IN_APP) -> list[ObjectId]:
    """Store so many that are due at one moment; return their ids in the order in which they were stored."""
    before = at - timedelta(hours=1)
    new = [documents.new(draft(f"user-{each % 100}", at, kind), before) for each in range(number)]
    rows = database.collection("scheduled_notifications")
    for start in range(0, number, SLICE):
        await rows.insert_many(new[start : start + SLICE])
    return [row["_id"] for row in new]


def mover(database: Database, clock: MillisecondClock) -> tuple[Mover, ScheduledRepository]:
    """Make a mover of a process with this clock."""
    repository = ScheduledRepository(database, OutboxRepository(database, clock), clock)
    return Mover(repository, clock, poll=timedelta(milliseconds=10)), repository


async def none_left(database: Database, collection: str, query: dict[str, Any]) -> None:
    """Wait until no row of a collection matches; fail after ``MOST_SECONDS``, and show one that does."""
    rows = database.collection(collection)
    until = monotonic() + MOST_SECONDS
    found: Any = True
    while found:
        assert monotonic() < until, found
        await asyncio.sleep(0.02)
        # A database that is busy for so long is asked again.
        with suppress(DatabaseUnavailable):
            found = await database.run(lambda: rows.find_one(query))


async def move_all(database: Database, clocks: list[MillisecondClock]) -> None:
    """Let a mover of each clock work until nothing waits any more."""
    async with running(*(mover(database, clock)[0].run() for clock in clocks)):
        await none_left(database, "scheduled_notifications", {})


async def came(database: Database, keys: list[ObjectId]) -> list[datetime]:
    """Return when each became visible; fails where one has not."""
    rows = database.collection("notifications").find({}, {"createdAt": 1})
    found = {row["_id"]: row["createdAt"] async for row in rows}
    return [found[key] for key in keys]


def is_in_order(times: list[datetime]) -> bool:
    """Say whether no time is before the one before it."""
    return all(one <= other for one, other in pairwise(times))


@pytest.mark.parametrize("number", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
async def test_all_of_one_moment_come_in_order_and_nobody_waits_for_them(database: Database, number: int) -> None:
    """The first stored comes first, by whichever process; what is due or created meanwhile is there before the rest."""
    keys = await schedule(database, number, stored_now() - timedelta(minutes=1))
    outbox = Delivering(database)
    outbox.clock.now += timedelta(days=1)  # what is created is due by the worker's clock, whenever that was
    left, newcomers = list[int](), list[ObjectId]()
    scheduled = database.collection("scheduled_notifications")

    async def come() -> None:
        for each in range(NEWCOMERS):
            document = documents.new(draft(f"new-{each}", None, Type.EMAIL), stored_now())
            await outbox.storing.store(document)
            newcomers.append(document["_id"])
            assert await outbox.feed.get_many([document["_id"]])
            left.append(await database.run(scheduled.estimated_document_count))
            await asyncio.sleep(0)

    now = stored_now()
    late = documents.new(draft("late", now + timedelta(milliseconds=1)), now)
    await scheduled.insert_one(late)
    await asyncio.gather(move_all(database, [stored_now] * MOVERS), come())
    *times, late_at = await came(database, [*keys, late["_id"]])
    assert is_in_order(times)
    # With the first batch or two of each mover.
    assert sum(time < late_at for time in times) <= MOVERS * 2 * BATCH
    assert left[0] > 0
    await outbox.worker().drain()
    assert len(outbox.far_end.sent()) == NEWCOMERS


async def test_what_was_scheduled_has_its_place_in_the_outbox_by_its_time(database: Database) -> None:
    """However late it was moved: so what is created meanwhile can be told from it, and does not wait for all of it."""
    due = stored_now() - timedelta(minutes=1)
    await schedule(database, 3, due, Type.EMAIL)
    await move_all(database, [stored_now])
    rows = await database.collection("deliveries").find({}).to_list(None)
    assert [row["dueAt"] for row in rows] == [due] * 3
    assert all(row["createdAt"] > due for row in rows)


def ahead(by: timedelta) -> Callable[[], datetime]:
    """Return a clock that is ahead."""
    return lambda: stored_now() + by


@pytest.mark.parametrize("number", [FEW, pytest.param(10_000, marks=pytest.mark.long)])
async def test_movers_and_workers_may_be_five_seconds_apart(database: Database, number: int) -> None:
    """Each comes once, at most so much too early, and is sent once: also what one sends while the other is ahead."""
    due = stored_now() + timedelta(seconds=1)
    keys = await schedule(database, number, due, Type.EMAIL)
    clocks = [ahead(timedelta()), ahead(APART)]
    await move_all(database, clocks)
    assert all(time >= due for time in await came(database, keys))
    sides = [Delivering(database) for _ in clocks]
    ends = [FarEnd() for _ in clocks]
    workers = []
    for side, end, clock in zip(sides, ends, clocks, strict=True):
        # Deliveries of a mover that is ahead are due later by the other's clock.
        side.clock.now = clock().replace(tzinfo=side.clock.now.tzinfo) + 2 * APART
        workers.append(side.worker(end))
    rows = database.collection("deliveries")
    at_work = [asyncio.create_task(worker.run()) for worker in workers]
    await none_left(database, "deliveries", {"dueAt": {"$exists": True}})
    await asyncio.gather(*(worker.stop(PATIENCE_SECONDS) for worker in workers), *at_work)
    sent = [id_ for end in ends for id_ in end.sent()]
    assert len(sent) == len(set(sent)) == number
    assert all(end.sent() for end in ends)
    counted: dict[Any, int] = {
        row["_id"]: row["n"] async for row in await rows.aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
    }
    assert counted == {"sent": number}
