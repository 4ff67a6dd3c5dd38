"""A worker that is killed at any point neither loses an item of a digest nor puts it into two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from notifications_service.mongodb.database import Database
from notifications_service.preferences.digest_times import next_after
from notifications_service.preferences.model import Mode, Preferences
from notifications_service.preferences.repository import PreferencesRepository
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import LEASE, Delivering
from tests.harness.dying import Left, deliver_and_die
from tests.harness.notifications import settings_for

ITEMS = {"ann": 7, "bob": 2}
# So few that a digest of seven takes several transactions to be put together, and to be followed.
PART = 3
# Of the events of a whole run, a few; the long test tries each.
SOME = (1, 8, 15, 22, 30, 38, 46, 55, 64, 75)
MOST = 400


async def _filled(database: MongoDatabase) -> Delivering:
    """Store what is due for digests, and let time pass until it is."""
    delivering = Delivering(Database(settings_for(database)))
    await delivering.rows.delete_many({})
    await delivering.notifications.delete_many({})
    preferences = PreferencesRepository(delivering.database, delivering.now)
    for user_id, number in ITEMS.items():
        await preferences.set_entry(user_id, ("email", "news"), Mode.DIGEST_HOURLY)
        await delivering.create_many([user_id] * number, category="news")
    await delivering.worker().drain()
    hour = next_after(Preferences(""), Mode.DIGEST_HOURLY, delivering.now())
    delivering.clock.advance(hour - delivering.now() + timedelta(seconds=1))
    return delivering


async def _survive(delivering: Delivering) -> None:
    """Let another worker go on: at once, once the lease of the dead one has run out, and a little later."""
    for wait in (timedelta(), LEASE + timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=2)):
        delivering.clock.advance(wait)
        await delivering.worker().drain()
        await delivering.digests.catch_up()


async def _check(delivering: Delivering, left: Left) -> None:
    rows = [row async for row in delivering.rows.find({})]
    assert {row["state"] for row in rows} == {"sent"}
    digests = {row["_id"]: row["userId"] for row in rows if row["kind"] == "digest"}
    assert sorted(digests.values()) == sorted(ITEMS), "each user has one digest"
    carried = Counter(row["digestDeliveryId"] for row in rows if row["kind"] == "notification")
    assert {digests[key]: number for key, number in carried.items()} == ITEMS
    mails = [*left.mails, *((mail.delivery_id, mail.subject) for mail in delivering.far_end.mails)]
    # At least once, under one id, and each time the same.
    assert set(mails) == {(key, f"{ITEMS[user_id]} new notifications") for key, user_id in digests.items()}
    assert await delivering.notifications.count_documents({"delivery.state": "sent"}) == sum(ITEMS.values())
    assert await delivering.rows.count_documents({"followAt": {"$exists": True}}) == 0


async def _killed_at(database: MongoDatabase, events: Sequence[int], notes: Path) -> None:
    for number in events:
        delivering = await _filled(database)
        left = deliver_and_die(database, delivering.clock.now, number, notes, part=PART)
        await _survive(delivering)
        await _check(delivering, left)
        await delivering.database.close()
        if not left.died:
            return
    assert len(events) < MOST, "a whole run has fewer events"


@pytest.mark.long
async def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """Killed by the kernel in the middle of a command, or after it."""
    await _killed_at(mongodb_database, SOME, tmp_path / "notes")


@pytest.mark.long
async def test_a_worker_may_be_killed_at_any_point(mongodb_database: MongoDatabase, tmp_path: Path) -> None:
    """At the start and at the end of each of its commands."""
    await _killed_at(mongodb_database, range(MOST), tmp_path / "notes")
