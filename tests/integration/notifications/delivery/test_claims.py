"""A claim costs the same however long the queue is: it reads as many keys as it takes rows, and sorts none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from bson import MinKey, ObjectId

from notifications_service.mongodb.database import Database
from notifications_service.outbox import repository
from notifications_service.outbox.due import WHOLE_EVERY_SECONDS, DueRows
from notifications_service.outbox.model import Lane, New, stored
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import LEASE, Delivering
from tests.harness.notifications import settings_for
from tests.harness.patience import PATIENCE_SECONDS

LIMIT = 100
CLAIMS = 3
FEW, MANY = 5_000, 200_000
PER_INSERT = 10_000


@pytest.fixture
def profiled(raw_of_own: Any) -> Iterator[Any]:
    """The test's own database, which can record how it carries out each command."""
    yield raw_of_own
    raw_of_own.command("profile", 0)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that takes long claims row by row: here it has the time, since what is looked at is how much it reads."""
    monkeypatch.setattr(repository, "CLAIM_SECONDS", PATIENCE_SECONDS)


def fill(raw: Any, number: int, delivering: Delivering) -> None:
    """Store so many deliveries that are due, as many that are not yet, and some that are done."""
    now = delivering.now()
    rows = raw.get_collection("deliveries")
    for start in range(0, number, PER_INSERT):
        at = now - timedelta(seconds=number - start)
        batch = [
            stored(New(ObjectId(), f"user_{n}", "email", due_at=at if n % 2 else now + timedelta(days=1)), at)
            for n in range(min(PER_INSERT, number - start))
        ]
        batch += [
            row | {"state": "sent", "finishedAt": now}
            for row in (stored(New(ObjectId(), "user", "email"), at) for _ in range(10))
            if row.pop("dueAt")
        ]
        rows.insert_many(batch, ordered=False)


async def claim(
    raw: Any, number: int, database: MongoDatabase, lane: Lane | None = None, *, newest: bool = False
) -> None:
    """Claim batches among so many, and see how that is carried out."""
    delivering = Delivering(Database(settings_for(database)))
    fill(raw, number, delivering)
    if lane is not None:
        raw.get_collection("deliveries").update_many({"dueAt": {"$exists": True}}, {"$set": {"lane": lane.value}})
    if newest:
        oldest = delivering.now() - timedelta(days=1)
        raw.get_collection("deliveries").update_one({"dueAt": {"$lte": delivering.now()}}, {"$set": {"dueAt": oldest}})
    raw.command("profile", 2)
    for attempt in range(CLAIMS):
        rows = await delivering.outbox.claim("email", f"lease {attempt}", LIMIT, LEASE, lane=lane, newest=newest)
        assert len(rows) == LIMIT
    raw.command("profile", 0)
    await delivering.database.close()
    plans = list(raw["system.profile"].find({"ns": f"{raw.name}.deliveries", "op": {"$in": ["query", "update"]}}))
    # Of digests it asks once more: whether anything that waits in no lane was due before. Of what came due last, too:
    # what is due for longest.
    assert len(plans) == (4 if lane or newest else 3) * CLAIMS
    for plan in plans:
        # Ids in a list are found by seeking, which examines a key more at times.
        assert plan["keysExamined"] <= 2 * LIMIT + 1, plan
        assert plan["docsExamined"] <= LIMIT
        assert plan["planSummary"].startswith("IXSCAN")
        assert not plan.get("hasSortStage")


@pytest.mark.parametrize(("lane", "newest"), [(None, False), (None, True), (Lane.DIGEST, False)])
async def test_a_claim_reads_no_more_than_it_takes(
    profiled: Any, mongodb_database: MongoDatabase, lane: Lane | None, newest: bool
) -> None:
    """Among some thousand, of what goes by itself, the longest due or the last, and of what waits for digests."""
    await claim(profiled, FEW, mongodb_database, lane, newest=newest)


@pytest.mark.long
@pytest.mark.parametrize("lane", [None, Lane.DIGEST])
async def test_a_long_queue_does_not_slow_a_claim(
    profiled: Any, mongodb_database: MongoDatabase, lane: Lane | None
) -> None:
    """Among a great many it reads the same: 100,000 users' digests of one hour, for example."""
    await claim(profiled, MANY, mongodb_database, lane)


async def test_a_claim_of_one_lane_reads_nothing_of_the_other(profiled: Any, mongodb_database: MongoDatabase) -> None:
    """However many digests are due, what goes by itself is found at once."""
    delivering = Delivering(Database(settings_for(mongodb_database)))
    fill(profiled, FEW, delivering)
    rows = profiled.get_collection("deliveries")
    rows.update_many({"dueAt": {"$exists": True}}, {"$set": {"lane": "digest"}})
    now = delivering.now()
    rows.insert_many([stored(New(ObjectId(), "ann", "email"), now) for _ in range(2)])
    profiled.command("profile", 2)
    assert len(await delivering.outbox.claim("email", "lease", LIMIT, LEASE)) == 2
    profiled.command("profile", 0)
    await delivering.database.close()
    query = {"ns": f"{profiled.name}.deliveries", "op": {"$in": ["query", "update"]}}
    assert max(plan["keysExamined"] for plan in profiled["system.profile"].find(query)) <= 2 * 2 + 1


async def test_a_search_begins_where_the_queue_began_last_time(profiled: Any, mongodb_database: MongoDatabase) -> None:
    """It does not read over the keys of all that was claimed; for what came before, it looks anew after a while."""
    delivering = Delivering(Database(settings_for(mongodb_database)))
    fill(profiled, FEW, delivering)
    now = delivering.now()
    passed = [0.0]
    due = DueRows(delivering.database, lambda: passed[0])
    profiled.command("profile", 2)
    (first, *_), (second, *_) = [await due.find("email", None, LIMIT, now) for _ in range(2)]
    profiled.command("profile", 0)
    assert first == second
    asked = profiled["system.profile"].find({"ns": f"{profiled.name}.deliveries"}).sort("ts", 1)
    assert [plan["command"]["min"]["dueAt"] for plan in asked] == [MinKey(), first["dueAt"]]

    sooner = stored(New(ObjectId(), "ann", "email"), now - timedelta(days=1))
    profiled.get_collection("deliveries").insert_one(sooner)
    passed[0] += WHOLE_EVERY_SECONDS / 2
    assert (await due.find("email", None, LIMIT, now))[0] == first
    assert len(await due.find("email", None, FEW, now)) == FEW // 2 + 1, (
        "all of a queue that is no longer than a search"
    )
    passed[0] += WHOLE_EVERY_SECONDS
    assert (await due.find("email", None, LIMIT, now))[0]["_id"] == sooner["_id"]
    await delivering.database.close()


async def test_a_digest_waits_for_what_came_late(profiled: Any, mongodb_database: MongoDatabase) -> None:
    """What waits in no lane and was due before a digest holds it back, though the queue was thought to begin later."""
    delivering = Delivering(Database(settings_for(mongodb_database)))
    rows = profiled.get_collection("deliveries")
    now = delivering.now()
    waiting, digest, late = (
        stored(New(ObjectId(), "ann", "email"), now - timedelta(seconds=seconds)) for seconds in (1, 2, 3)
    )
    rows.insert_many([waiting, digest | {"lane": "digest"}])
    due = DueRows(delivering.database)
    assert [row["_id"] for row in await due.find("email", None, 1, now)] == [waiting["_id"]]
    assert [row["_id"] for row in await due.find("email", Lane.DIGEST, LIMIT, now)] == [digest["_id"]]
    rows.insert_one(late)
    assert await due.find("email", Lane.DIGEST, LIMIT, now) == []
    await delivering.database.close()


@pytest.mark.long
async def test_what_is_in_no_known_state_holds_nobody_up(profiled: Any, mongodb_database: MongoDatabase) -> None:
    """A row that somebody has spoilt is claimed with the others, and its attempts are counted."""
    delivering = Delivering(Database(settings_for(mongodb_database)))
    rows = profiled.get_collection("deliveries")
    at = delivering.now() - timedelta(seconds=1)
    good, spoilt = (stored(New(ObjectId(), "ann", "email"), at) for _ in range(2))
    rows.insert_many([good, spoilt | {"state": "unknown"}], bypass_document_validation=True)
    claimed = {row["_id"]: row for row in await delivering.outbox.claim("email", "lease", LIMIT, LEASE)}
    assert {key: row["state"] for key, row in claimed.items()} == {good["_id"]: "sending", spoilt["_id"]: "sending"}
    assert {key: row["attempts"] for key, row in claimed.items()} == {good["_id"]: 0, spoilt["_id"]: 1}
    await delivering.database.close()
