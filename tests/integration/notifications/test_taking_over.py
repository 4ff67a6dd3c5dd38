"""`migrate up` on what somebody else made, `migrate down` on documents, and databases newer than the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from click.testing import CliRunner, Result
from pymongo.errors import OperationFailure

import migrations.mongodb
import notifications_service
from chassis.settings import EXIT_BAD_SETTING
from notifications_service.cli import main
from notifications_service.migrations import steps
from notifications_service.notification import schema
from tests.harness.database_servers import ROOT
from tests.harness.databases import MongoDatabase
from tests.harness.patience import UNHURRIED
from tests.integration.notifications.building import row

DAY = 86_400
DRIVERS = pytest.mark.parametrize("driver", ["pymongo", "motor"])
Indexed = tuple[str, list[tuple[str, int]], dict[str, Any], str]


def run(database: MongoDatabase, *arguments: str, driver: str = "pymongo", **environment: str) -> Result:
    """Run `notifications-service …`, as it is when no setting but those of the database is there."""
    own = {"NOTIFICATIONS_RETENTION_DAYS": None, "MONGODB_DRIVER": driver}
    settings = {**UNHURRIED, **own, **database.environment(), **environment}
    return CliRunner().invoke(main, arguments, env=settings)


def line(result: Result) -> str:
    """Return the one line with which a command failed."""
    assert result.exit_code == 1, result.output
    assert len(result.output.splitlines()) == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture
def empty(mongodb_empty_database: MongoDatabase) -> Iterator[Any]:
    """A database without collections, past the service."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        yield client.get_default_database()


@pytest.fixture
def migrated(mongodb_database: MongoDatabase) -> Iterator[Any]:
    """A migrated database, past the service."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        yield client.get_default_database()


def content(database: Any) -> Any:
    """Return everything that a refused command must leave as it was; the lock's own collection apart."""
    collections = {listed["name"]: listed["options"] for listed in database.list_collections()}
    collections.pop("migration_lock", None)
    return {
        name: (options, database[name].index_information(), database[name].count_documents({}))
        for name, options in collections.items()
    }


def ttl(database: Any) -> int | None:
    """Return the seconds of the TTL index."""
    seconds: int | None = database.notifications.index_information()["createdAt_1"].get("expireAfterSeconds")
    return seconds


def old(days: int) -> dict[str, Any]:
    """Return a document of so many days ago."""
    return row("user_1", createdAt=datetime.now(UTC) - timedelta(days=days))


# The retention


@DRIVERS
def test_the_ttl_index_never_has_another_retention_than_the_settings(
    mongodb_empty_database: MongoDatabase, empty: Any, driver: str
) -> None:
    """A document that the setting keeps is kept at every moment: the index is made with the setting's own seconds."""
    empty.notifications.insert_many([old(60), old(364), old(400)])
    empty.command("profile", 2)
    done = run(mongodb_empty_database, "migrate", "up", driver=driver, NOTIFICATIONS_RETENTION_DAYS="365")
    empty.command("profile", 0)
    assert done.exit_code == 0, done.output
    profile = empty.system.profile
    made = [entry["command"]["indexes"] for entry in profile.find({"command.createIndexes": "notifications"})]
    ages = [index for (index,) in made if "createdAt" in index["key"]]
    seconds = [index["expireAfterSeconds"] for index in ages if "expireAfterSeconds" in index]
    changed = profile.count_documents({"command.collMod": "notifications", "command.index": {"$exists": True}})
    assert (seconds, changed, ttl(empty)) == ([365 * DAY], 0, 365 * DAY)


@DRIVERS
@pytest.mark.parametrize("days", [90, pytest.param(7, marks=pytest.mark.long)])
def test_an_existing_retention_stays_where_none_is_set(
    mongodb_empty_database: MongoDatabase, empty: Any, days: int, driver: str
) -> None:
    """The default shortens, and lengthens, nothing that an operator has chosen; it is told which one holds."""
    empty.notifications.insert_one(old(6))
    empty.notifications.create_index([("createdAt", 1)], expireAfterSeconds=days * DAY)
    for _ in range(2):
        done = run(mongodb_empty_database, "migrate", "up", driver=driver)
        assert done.exit_code == 0, done.output
        assert f"retention: {days} days, as it was: NOTIFICATIONS_RETENTION_DAYS is not set" in done.output
        assert ttl(empty) == days * DAY


@pytest.mark.long
def test_a_shorter_retention_that_is_asked_for_tells_what_it_costs(
    mongodb_empty_database: MongoDatabase, empty: Any
) -> None:
    """Who sets it gets it, and reads how many documents go."""
    empty.notifications.insert_many([old(6), old(20), old(40)])
    empty.notifications.create_index([("createdAt", 1)], expireAfterSeconds=90 * DAY)
    done = run(mongodb_empty_database, "migrate", "up", NOTIFICATIONS_RETENTION_DAYS="10")
    assert done.exit_code == 0, done.output
    assert "retention: 90 → 10 days\nnotifications past it, which MongoDB deletes: 2" in done.output
    assert ttl(empty) == 10 * DAY


@DRIVERS
@pytest.mark.parametrize("plain_index", [True, pytest.param(False, marks=pytest.mark.long)])
def test_documents_without_a_retention_are_not_deleted_by_the_default(
    mongodb_empty_database: MongoDatabase, empty: Any, plain_index: bool, driver: str
) -> None:
    """Where nobody ever said how long they are kept, somebody has to say it; nothing was changed before."""
    empty.notifications.insert_one(old(31))
    if plain_index:
        empty.notifications.create_index([("createdAt", 1)])
    before = content(empty)
    refused = line(run(mongodb_empty_database, "migrate", "up", driver=driver))
    assert "NOTIFICATIONS_RETENTION_DAYS" in refused
    assert content(empty) == before
    done = run(mongodb_empty_database, "migrate", "up", driver=driver, NOTIFICATIONS_RETENTION_DAYS="45")
    assert done.exit_code == 0, done.output
    assert ttl(empty) == 45 * DAY


# What is in the way


IN_THE_WAY: list[Indexed] = [
    ("notifications", [("createdAt", 1)], {"name": "expires", "expireAfterSeconds": 90 * DAY}, "expires"),
    ("notifications", [("userId", 1)], {"name": "feed"}, "feed"),
    ("notifications", [("createdAt", -1)], {"name": "createdAt_1"}, "createdAt_1"),
    ("notifications", [("read", 1)], {"name": "by_read"}, "by_read"),
    ("notifications", [("read", 1)], {"unique": True}, "read_1"),
    ("notifications", [("read", 1)], {"sparse": True}, "read_1"),
    ("notifications", [("read", 1)], {"partialFilterExpression": {"read": True}}, "read_1"),
    ("idempotency_keys", [("createdAt", 1)], {}, "createdAt_1"),
    ("idempotency_keys", [("createdAt", 1)], {"name": "mine", "expireAfterSeconds": DAY}, "mine"),
]


@pytest.mark.long
@DRIVERS
@pytest.mark.parametrize("made", IN_THE_WAY)
def test_an_index_in_the_way_is_named_before_anything_is_changed(
    mongodb_empty_database: MongoDatabase, empty: Any, made: Indexed, driver: str
) -> None:
    """One line names it and says what to do; once it is gone the same command goes through."""
    collection, keys, options, named = made
    empty[collection].create_index(keys, **options)
    before = content(empty)
    refused = line(run(mongodb_empty_database, "migrate", "up", driver=driver))
    assert f"index {named} of {collection}" in refused
    assert content(empty) == before
    empty[collection].drop_index(named)
    assert run(mongodb_empty_database, "migrate", "up", driver=driver).exit_code == 0


def test_an_index_that_comes_in_the_way_between_two_steps_is_named(
    mongodb_empty_database: MongoDatabase, empty: Any
) -> None:
    """Also where part of the schema is there already."""
    run(mongodb_empty_database, "migrate", "up", "1")
    empty.notifications.create_index([("userId", 1)], name="feed")
    refused = line(run(mongodb_empty_database, "migrate", "up"))
    assert "step 0002_feed_index failed at 0002_feed_index.py, line" in refused
    assert "feed" in refused


@pytest.mark.long
@DRIVERS
def test_a_validator_of_somebody_else_is_not_replaced(
    mongodb_empty_database: MongoDatabase, empty: Any, driver: str
) -> None:
    """It is named, and stays; without it the collection is taken over."""
    own = {"title": {"$type": "string"}}
    empty.create_collection("notifications", validator=own)
    before = content(empty)
    assert "the collection notifications has a validator" in line(
        run(mongodb_empty_database, "migrate", "up", driver=driver)
    )
    assert content(empty) == before
    empty.command("collMod", "notifications", validator={})
    assert run(mongodb_empty_database, "migrate", "up", driver=driver).exit_code == 0


# What has gone since


@DRIVERS
def test_what_was_lost_since_is_restored(mongodb_database: MongoDatabase, migrated: Any, driver: str) -> None:
    """Indexes, validator, change images and collections come back although every step is recorded; it is told which."""
    before = content(migrated)
    migrated.notifications.drop_indexes()
    migrated.command("collMod", "notifications", validator={}, changeStreamPreAndPostImages={"enabled": False})
    migrated.drop_collection("idempotency_keys")
    told = run(mongodb_database, "status").output
    assert "index feed_rows of notifications" in told
    done = run(mongodb_database, "migrate", "up", driver=driver)
    assert done.exit_code == 0, done.output
    for what in ("index feed_rows of notifications", "validator of notifications", "change images", "idempotency_keys"):
        assert f"restored {what}" in done.output or what in done.output
    assert content(migrated) == before
    assert run(mongodb_database, "migrate", "up", driver=driver).output == "no step to apply\n"


def test_a_validator_that_was_changed_since_is_kept_and_told(mongodb_database: MongoDatabase, migrated: Any) -> None:
    """An operator's own one stays; `migrate up` says so."""
    own = {"title": {"$type": "string"}}
    migrated.command("collMod", "notifications", validator=own)
    done = run(mongodb_database, "migrate", "up")
    assert done.exit_code == 0
    assert "the validator of notifications is not this version's, and is left as it is" in done.output
    assert migrated.notifications.options()["validator"] == own


# Newer than the code


@DRIVERS
def test_a_database_newer_than_the_code_is_left_alone(
    mongodb_database: MongoDatabase, migrated: Any, driver: str
) -> None:
    """`up` does nothing and succeeds, as a rollback's job must; `down` names what it does not know; `status` tells."""
    migrated.migrations.insert_one({"_id": 77, "name": "to_come", "checksum": "", "appliedAt": datetime.now(UTC)})
    before = content(migrated)
    up = run(mongodb_database, "migrate", "up", driver=driver, NOTIFICATIONS_RETENTION_DAYS="3")
    assert (up.exit_code, up.output) == (
        0,
        "step 0077_to_come of the database is newer than this version: nothing to do\n",
    )
    assert "0077_to_come" in line(run(mongodb_database, "migrate", "down", driver=driver))
    assert "0077_to_come" in line(run(mongodb_database, "migrate", "down", "0", "--drop-data", driver=driver))
    listed = run(mongodb_database, "migrate", "status", driver=driver).output.splitlines()
    assert listed[-1] == "0077  unknown, newer than this version  to_come"
    status = run(mongodb_database, "status", driver=driver)
    assert status.exit_code == 0, status.output
    assert "newer than this version: 0077_to_come" in status.output
    assert content(migrated) == before


def test_a_newer_database_that_lacks_what_this_version_needs_is_told(
    mongodb_database: MongoDatabase, migrated: Any
) -> None:
    """A rollback to a version that could not serve fails where it can still be seen."""
    migrated.migrations.insert_one({"_id": 77, "name": "to_come"})
    migrated.notifications.drop_index("feed_rows")
    refused = line(run(mongodb_database, "migrate", "up"))
    assert "0077_to_come" in refused
    assert "index feed_rows of notifications" in refused


# Taking steps back


@DRIVERS
def test_down_drops_no_documents_unasked(mongodb_database: MongoDatabase, migrated: Any, driver: str) -> None:
    """Where documents would go it is refused before any step is taken back, and done where somebody says so."""
    migrated.notifications.insert_one(row("user_1"))
    before = content(migrated)
    assert "notifications" in line(run(mongodb_database, "migrate", "down", "0", driver=driver))
    assert content(migrated) == before
    done = run(mongodb_database, "migrate", "down", "0", "--drop-data", driver=driver)
    assert done.exit_code == 0, done.output
    assert "notifications" not in migrated.list_collection_names()


async def drop(database: Any) -> None:
    """Drop a collection by name."""
    await database.drop_collection("things")


async def drop_by_command(database: Any) -> None:
    """Drop it by a command."""
    await database.command("drop", "things")


async def drop_itself(database: Any) -> None:
    """Drop it by itself, after something that no rehearsal can tell."""
    await database.other.insert_one({})
    await database["things"].drop()


async def empty_it(database: Any) -> None:
    """Delete all that it has."""
    await database.things.delete_many({})


@DRIVERS
@pytest.mark.parametrize("work", [drop_itself, drop, drop_by_command, empty_it])
def test_every_step_that_drops_documents_is_refused(
    mongodb_database: MongoDatabase, migrated: Any, work: Any, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is derived from what a step does, not from a list of names."""

    async def up(database: Any) -> None:
        await database.things.insert_one({})

    whole = (*steps.load(), steps.Step(len(steps.load()) + 1, "things", "", up, work))
    monkeypatch.setattr(steps, "load", lambda: whole)
    assert run(mongodb_database, "migrate", "up", driver=driver).exit_code == 0
    assert "things" in line(run(mongodb_database, "migrate", "down", driver=driver))
    assert migrated.things.count_documents({}) == 1
    assert run(mongodb_database, "migrate", "down", "--drop-data", driver=driver).exit_code == 0


# Errors


async def refused_by_the_server(database: Any) -> None:
    """Ask the server for something that quotes what it was given."""
    await database.notifications.insert_one({"title": "hunter2"})


async def defective(_: Any) -> None:
    """Raise what no command foresees."""
    raise KeyError("hunter2")


@pytest.mark.parametrize("work", [refused_by_the_server, defective])
def test_a_step_that_fails_is_one_line_with_its_place(
    mongodb_database: MongoDatabase, migrated: Any, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which step, and what kind of error: no traceback, and no value of a document."""
    number = len(steps.load()) + 1
    whole = (*steps.load(), steps.Step(number, "broken", "", work, work))
    monkeypatch.setattr(steps, "load", lambda: whole)
    told = line(run(mongodb_database, "migrate", "up"))
    assert f"step {number:04}_broken failed" in told
    assert "hunter2" not in told
    assert migrated.migrations.count_documents({}) == number - 1


COMMANDS = [
    ["migrate", "up"],
    ["migrate", "down"],
    ["migrate", "status"],
    ["purge"],
    ["explain"],
    ["status"],
    ["backup", f"{os.devnull}/nowhere.tar"],
]
AWAY = {"MONGODB_URL": "mongodb://someone:hidden@127.0.0.1:1/vibe", "MONGODB_SERVER_SELECTION_TIMEOUT_MS": "100"}
REFUSED_BY_THE_DRIVER = {"MONGODB_URL": "mongodb://someone:hidden@127.0.0.1:1/vibe?tls=true&tlsCAFile=/nowhere/ca.pem"}
# In a process of its own: the driver leaves sockets behind whose connecting it gave up.
PROGRAM = """
import json, sys
from click.testing import CliRunner
from notifications_service.cli import main
told = []
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, command)
    told.append([result.exit_code, isinstance(result.exception, SystemExit), result.output])
print(json.dumps(told))
"""


@pytest.mark.parametrize(
    ("environment", "exit_code"),
    [pytest.param(AWAY, 1, marks=pytest.mark.long), (REFUSED_BY_THE_DRIVER, EXIT_BAD_SETTING)],
    ids=["away", "refused"],
)
def test_no_command_ends_in_a_traceback(environment: dict[str, str], exit_code: int) -> None:
    """A database that is away, or settings that only the driver refuses: one line, an exit code, and no password."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(COMMANDS)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for command, (code, ended, output) in zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert (code, ended) == (exit_code, True), (command, output)
        assert "hidden" not in output
        # `status` goes on with its other parts; lines of the log have their level in brackets.
        lines = [each for each in output.splitlines() if "[warning" not in each]
        assert len(lines) == 1 or command == ["status"], (command, output)


# What `migrate new` writes


def test_the_documents_example_runs_as_it_stands(
    mongodb_database: MongoDatabase, migrated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of `migrate new` with the bodies of docs/migrations.md goes up and down."""
    package = tmp_path / "mongodb"
    shutil.copytree(migrations.mongodb.__path__[0], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(steps, "_directory", lambda: package)
    monkeypatch.setattr(migrations.mongodb, "__path__", [str(package)])
    for name in [name for name in sys.modules if name.startswith("migrations.mongodb.")]:
        monkeypatch.delitem(sys.modules, name)
    written = Path(run(mongodb_database, "migrate", "new", "by_category").output.strip())
    head, _, _ = written.read_text().partition("async def up(")
    written.write_text(head + example("async def up(") + "\n")
    title = written.stem
    assert f"applied {title}" in run(mongodb_database, "migrate", "up").output
    assert "by_category" in migrated.notifications.index_information()
    assert f"took back {title}" in run(mongodb_database, "migrate", "down").output
    monkeypatch.undo()
    sys.modules.pop(f"migrations.mongodb.{title}", None)


def example(begins: str) -> str:
    """Return the block of docs/migrations.md that begins so."""
    text = (Path(__file__).parents[3] / "docs" / "migrations.md").read_text()
    block: str = next(part for part in text.split("```") if part.removeprefix("python\n").startswith(begins))
    return block.removeprefix("python\n")


def test_the_probe_names_the_indexes_that_queries_name(migrated: Any) -> None:
    """Every index by which the code asks is one that health looks for."""
    sources = [path.read_text() for path in Path(notifications_service.__file__).parent.rglob("*.py")]
    assert any("hint=FEED_INDEX" in source for source in sources)
    assert set(migrated.notifications.index_information()) >= schema.NAMED
    with pytest.raises(OperationFailure):
        migrated.command("find", "notifications", hint="nothing")
