"""Steps on a big collection: what it does not bear is refused before it is carried out; what is online passes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo import UpdateMany

from chassis.commands.migrations import LockLimits, MigrationRefused
from migrations.mongodb import backfill
from notifications_service.migrations.runner import Runner
from notifications_service.migrations.steps import Step, load
from notifications_service.mongodb.database import Database
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import settings_for
from tests.integration.notifications.building import row

ROWS = 3_000
BIG = LockLimits(big=1_500)


@pytest.fixture(scope="module")
def filled(mongodb_module_database: MongoDatabase) -> Iterator[Any]:
    """The migrated schema with some notifications."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        database = client.get_default_database()
        database.notifications.insert_many([row(f"user_{number % 10}") for number in range(ROWS)])
        yield database


async def carry_out(database: MongoDatabase, work: Any, limits: LockLimits, driver: str = "pymongo") -> list[str]:
    """Run a step that comes after the last one, and take it back; return what was said."""

    async def nothing(_: Any) -> None:
        return

    said: list[str] = []
    connection = Database(settings_for(database, mongodb_driver=driver))
    try:
        runner = Runner(connection.default, said.append, stored_now, limits=limits)
        runner._steps = (*load(), Step(len(load()) + 1, "next", "", work, nothing))
        await runner.up(30)
        await runner.down()
        return said
    finally:
        await connection.close()


async def change_all(database: Any) -> None:
    """Change every document in one go."""
    await database.notifications.update_many({}, {"$set": {"title": "all of them"}})


async def change_all_in_bulk(database: Any) -> None:
    """The same as one of several writes."""
    await database["notifications"].bulk_write([UpdateMany({"read": False}, {"$set": {"title": "all of them"}})])


async def delete_all(database: Any) -> None:
    """Delete very many in one go."""
    await database.get_collection("notifications").delete_many({"read": False})


async def copy(database: Any) -> None:
    """Write another collection whole."""
    await (await database.notifications.aggregate([{"$match": {}}, {"$out": "copies"}])).to_list(None)


async def compact(database: Any) -> None:
    """Hold the collection."""
    await database.command("compact", "notifications")


async def change_by_command(database: Any) -> None:
    """Change every document past the driver's methods."""
    update = {"q": {}, "u": {"$set": {"title": "all of them"}}, "multi": True}
    await database.command({"update": "notifications", "updates": [update]})


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
@pytest.mark.parametrize(
    ("work", "says"),
    [
        (change_all, "update_many of more than 1,500 documents"),
        (change_all_in_bulk, "bulk_write with UpdateMany of more"),
        (delete_all, "delete_many of more"),
        (copy, "ends in $out"),
        (compact, "the command compact"),
        (change_by_command, "the command update"),
    ],
)
async def test_what_a_big_collection_does_not_bear_is_refused(
    filled: Any, mongodb_module_database: MongoDatabase, work: Any, says: str, driver: str
) -> None:
    """The operator is told which step, collection and kind of write, and what to do; nothing was written."""
    with pytest.raises(MigrationRefused) as refused:
        await carry_out(mongodb_module_database, work, BIG, driver)
    for part in (f"step {len(load()) + 1:04}_next", "notifications (about 3,000 rows)", says, "--allow-locking"):
        assert part in str(refused.value)
    assert filled.notifications.count_documents({"title": {"$ne": "all of them"}}) == ROWS
    assert filled.migrations.count_documents({}) == len(load())


async def test_it_goes_through_when_the_operator_says_so(filled: Any, mongodb_module_database: MongoDatabase) -> None:
    """Nothing is in the way of --allow-locking, of a collection that is not big, or of few documents of a big one."""

    async def rename(database: Any) -> None:
        await database.notifications.update_many({}, {"$set": {"note": 1}})
        await database.command({"update": "notifications", "updates": [{"q": {}, "u": {"$set": {"note": 2}}}]})

    async def change_few(database: Any) -> None:
        await database.notifications.update_many({"userId": "user_3"}, {"$set": {"note": 3}})

    assert len(await carry_out(mongodb_module_database, rename, LockLimits(allow_locking=True, big=1_500))) == 2
    assert len(await carry_out(mongodb_module_database, rename, LockLimits())) == 2
    assert len(await carry_out(mongodb_module_database, change_few, BIG)) == 2
    assert filled.notifications.count_documents({"note": 3}) == ROWS / 10


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_batches_reach_every_document_and_go_on_where_they_were_cut_off(
    filled: Any, mongodb_module_database: MongoDatabase, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """A backfill changes what is left, all of it, and nothing twice."""
    monkeypatch.setattr(backfill, "DOCUMENTS", 700)
    filled.notifications.update_many({}, {"$unset": {"tries": 1}})
    filled.notifications.update_many({"userId": "user_3"}, {"$set": {"tries": 1}})
    changed = []

    async def work(database: Any) -> None:
        undone = {"tries": {"$exists": False}}
        changed.append(await backfill.backfill(database.notifications, undone, {"$inc": {"tries": 1}}))

    await carry_out(mongodb_module_database, work, BIG, driver)
    assert changed == [ROWS - ROWS / 10]
    assert filled.notifications.count_documents({"tries": 1}) == ROWS


@pytest.mark.long
async def test_an_index_is_built_while_others_write(filled: Any, mongodb_database: MongoDatabase) -> None:
    """While the server builds it, writes begin and end; none waits for its end."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url, w=1) as client:
        rows = client.get_default_database().notifications
        rows.insert_many([row(f"user_{number % 100}") for number in range(30_000)])
        writes: list[tuple[float, float]] = []
        building: list[float] = []
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                began = time.monotonic()
                rows.update_one({"userId": "user_7"}, {"$inc": {"rev": 1}})
                writes.append((began, time.monotonic()))

        async def build(database: Any) -> None:
            building.append(time.monotonic())
            await database.notifications.create_index([("category", 1), ("userId", 1), ("title", 1)], name="one")
            await database.notifications.create_index([("title", 1), ("message", 1), ("userId", 1)], name="two")
            building.append(time.monotonic())

        writer = asyncio.create_task(asyncio.to_thread(write))
        try:
            await carry_out(mongodb_database, build, BIG)
        finally:
            done.set()
            await writer
    began, ended = building
    assert len([True for first, last in writes if began < first and last < ended]) > 0
