"""Migrations through the console command: up, down and up again, beside each other, and over the source's data."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import WriteError

from notifications_service.migrations import declared, steps
from notifications_service.migrations import lock as lock_module
from notifications_service.migrations.lock import Locked, LockLost, lock
from notifications_service.migrations.runner import Runner, StepFailed
from notifications_service.mongodb.database import Database
from notifications_service.notification import schema
from tests.harness.clocks import stored_now
from tests.harness.database_servers import ROOT
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import settings_for
from tests.harness.patience import PATIENCE_SECONDS
from tests.integration.notifications.building import row

Ended = subprocess.CompletedProcess[str]
NUMBER = len(steps.load())


def migrate(database: MongoDatabase, *arguments: str, **environment: str) -> Ended:
    """Run `notifications-service migrate …` and return how it ended."""
    return _started(database, *arguments, **environment)(60)


def _started(database: MongoDatabase, *arguments: str, **environment: str) -> Callable[[float], Ended]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    command = [sys.executable, "-m", "notifications_service", "migrate", *arguments]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, **database.environment(), **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def ended(seconds: float) -> Ended:
        output, errors = process.communicate(timeout=seconds)
        return Ended(command, process.returncode, output, errors)

    return ended


@pytest.fixture
def empty(mongodb_empty_database: MongoDatabase) -> Iterator[Any]:
    """A database without collections, past the service."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        yield client.get_default_database()


@asynccontextmanager
async def runner(database: MongoDatabase, patience: float = 5, said: list[str] | None = None) -> AsyncIterator[Runner]:
    """The migrations on a database, in this process; ``said`` collects what they report."""
    connection = Database(settings_for(database))
    try:
        yield Runner(
            connection.default, (said if said is not None else list[str]()).append, stored_now, patience=patience
        )
    finally:
        await connection.close()


def schema_of(database: Any) -> dict[str, Any]:
    """What the database has: options and indexes of each collection that the service declares."""
    return {
        listed["name"]: (listed["options"], database[listed["name"]].index_information())
        for listed in database.list_collections()
        if listed["name"] in declared.INDEXES
    }


def assert_as_declared(database: Any) -> None:
    """The database has the collections, indexes and options that the schema declares."""
    found = schema_of(database)
    assert found.keys() == declared.INDEXES.keys()
    for name, wanted in declared.INDEXES.items():
        options, indexes = found[name]
        assert indexes.keys() == {index.name for index in wanted}
        for index in wanted:
            assert tuple(indexes[index.name]["key"]) == index.keys
            assert dict(index.options).items() <= indexes[index.name].items()
        assert options == declared.OPTIONS.get(name, {})
    for name, ttl in {schema.COLLECTION: schema.TTL_INDEX, **declared.KEPT_ALIKE}.items():
        assert found[name][1][ttl]["expireAfterSeconds"] == 30 * 86_400


@pytest.mark.long
def test_up_down_and_up_again_end_at_the_declared_schema(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """All steps can be taken back at once, and the second way up ends where the first did."""
    assert migrate(mongodb_empty_database, "up").returncode == 0
    assert_as_declared(empty)
    first = schema_of(empty)
    down = migrate(mongodb_empty_database, "down", "0")
    assert [line.split()[-1] for line in down.stdout.splitlines()] == [step.title for step in reversed(steps.load())]
    assert schema_of(empty) == {}
    assert migrate(mongodb_empty_database, "up").returncode == 0
    assert schema_of(empty) == first


@pytest.mark.long
async def test_each_step_can_be_taken_back_by_itself(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """Down a step and up again leads to the same schema, from the last step to the first."""
    async with runner(mongodb_empty_database) as steps_of:
        schemas = [schema_of(empty)]
        for number in range(1, NUMBER + 1):
            assert await steps_of.up(30, number) == 1
            schemas.append(schema_of(empty))
        assert_as_declared(empty)
        for number in range(NUMBER, 0, -1):
            assert await steps_of.down() == 1
            assert schema_of(empty) == schemas[number - 1]
            assert await steps_of.up(30, number) == 1
            assert schema_of(empty) == schemas[number]
            await steps_of.down()
        assert await steps_of.down() == 0


@pytest.mark.long
def test_status_says_what_is_applied_and_what_changed_since(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """Each step is applied, missing, or not the file that was applied."""
    migrate(mongodb_empty_database, "up", "2")
    empty.migrations.update_one({"_id": 2}, {"$set": {"checksum": "other"}})
    lines = migrate(mongodb_empty_database, "status").stdout.splitlines()
    assert len(lines) == NUMBER
    assert lines[:3] == [
        "0001  applied  notifications",
        "0002  changed since it was applied  feed_index",
        "0003  missing  idempotency_keys",
    ]


@pytest.mark.long
def test_processes_that_migrate_at_once_do_not_collide(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """Of four at the same time each ends well, and every step was carried out once."""
    ends = [_started(mongodb_empty_database, "up") for _ in range(4)]
    done = [end(60) for end in ends]
    assert [item.returncode for item in done] == [0] * 4, done
    said = "".join(item.stdout for item in done)
    assert [said.count(f"applied {step.title}") for step in steps.load()] == [1] * NUMBER
    assert_as_declared(empty)
    assert empty.migration_lock.count_documents({}) == 0


@pytest.mark.long
async def test_the_lock_is_waited_for_and_a_dead_owner_does_not_keep_it(
    mongodb_empty_database: MongoDatabase, empty: Any
) -> None:
    """While it is held others give up after their patience; once its lease has passed it is free."""
    said: list[str] = []
    async with runner(mongodb_empty_database, 0.3, said) as waiting:
        async with lock(waiting._database, 0):
            with pytest.raises(Locked):
                await waiting.up(30)
            assert not said
        past = datetime.now(UTC) - timedelta(seconds=1)
        empty.migration_lock.insert_one({"_id": "lock", "owner": "dead", "expiresAt": past})
        assert await waiting.up(30) == NUMBER


async def test_a_lock_that_is_lost_ends_the_migration(
    mongodb_empty_database: MongoDatabase, empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another process has taken it, because the lease could not be renewed, this one stops at once."""
    monkeypatch.setattr(lock_module, "LEASE", 3.0)
    async with runner(mongodb_empty_database) as migrating:

        async def hold() -> None:
            async with lock(migrating._database, 0):
                assert empty.migration_lock.update_one({"_id": "lock"}, {"$set": {"owner": "other"}}).matched_count
                await asyncio.sleep(PATIENCE_SECONDS)

        with pytest.raises(LockLost):
            await hold()
        # Nor is the one who took it robbed of it.
        assert empty.migration_lock.find_one()["owner"] == "other"


async def test_a_step_that_fails_can_be_repeated(
    mongodb_empty_database: MongoDatabase, empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was carried out before it is recorded, the failed step is not, and the lock is free."""

    async def fail(_: Any) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("half way")

    async with runner(mongodb_empty_database) as migrating:
        whole = migrating._steps
        broken = steps.Step(2, "feed_index", "", fail, fail)
        monkeypatch.setattr(migrating, "_steps", (whole[0], broken, *whole[2:]))
        with pytest.raises(StepFailed, match=r"step 0002_feed_index failed: RuntimeError$"):
            await migrating.up(30)
        assert [item["_id"] for item in empty.migrations.find()] == [1]
        monkeypatch.undo()
        assert await migrating.up(30) == NUMBER - 1
    assert_as_declared(empty)


@pytest.mark.long
def test_the_collection_of_the_source_is_taken_over(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """With its rows, its indexes and its own retention; even where the TTL was never set."""
    empty.notifications.insert_many([row("user_1"), {"title": "neither here nor there"}])
    empty.notifications.create_index([("userId", 1), ("createdAt", -1)])
    empty.notifications.create_index([("read", 1)])
    empty.notifications.create_index([("createdAt", 1)])
    done = migrate(mongodb_empty_database, "up")
    assert done.returncode == 0, done.stderr
    assert "retention: none → 30 days" in done.stdout
    assert_as_declared(empty)
    assert empty.notifications.count_documents({}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": 1},
        {"type": "sms"},
        {"userId": None},
        {"read": "no"},
        {"createdAt": None},
        {"delivery": {"state": "?"}},
    ],
)
def test_the_validator_keeps_spoilt_rows_out(mongodb_database: MongoDatabase, wrong: dict[str, Any]) -> None:
    """What could not be read is not stored in the first place; what the source writes is."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        collection = client.get_default_database().notifications
        collection.insert_one(row("user_1", readAt=None))
        with pytest.raises(WriteError):
            collection.insert_one(row("user_1") | wrong)


def test_new_writes_the_next_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is numbered, loads, and refuses to do nothing; a name that fits no module is refused."""
    for step in (1, 2):
        (tmp_path / f"{step:04d}_any.py").write_text("")
    monkeypatch.setattr(steps, "_directory", lambda: tmp_path)
    monkeypatch.setattr(steps, "load", lambda: (1, 2))
    path = steps.create("by_category")
    assert path.name == "0003_by_category.py"
    assert "async def up(" in path.read_text()
    with pytest.raises(ValueError, match="small letters"):
        steps.create("By Category")


@pytest.mark.long
def test_what_fails_is_said_in_one_line(mongodb_empty_database: MongoDatabase) -> None:
    """A database that is away, or a wrong setting, ends the command with one line and no password in it."""
    away = "mongodb://someone:hidden@127.0.0.1:1/vibe?serverSelectionTimeoutMS=100"
    done = migrate(mongodb_empty_database, "up", MONGODB_URL=away, MONGODB_SERVER_SELECTION_TIMEOUT_MS="100")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    wrong = migrate(mongodb_empty_database, "up", MONGODB_URL="mongodb://someone:hidden@127.0.0.1:1/")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "MONGODB_URL" in wrong.stderr
    assert "hidden" not in done.stderr + wrong.stderr
