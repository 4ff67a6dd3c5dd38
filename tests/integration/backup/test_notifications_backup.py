"""`notifications-service backup` and `restore` on a real replica set: what comes back, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bson
import pymongo
import pytest
from bson import json_util
from pymongo.errors import OperationFailure

from chassis.backup.reading import Archive
from notifications_service.backup.collections import CollectionMetadata
from notifications_service.backup.connection import MongoFailed, translated
from tests.harness.databases import MongoDatabase
from tests.harness.proxy import proxy_to
from tests.integration.backup.commands import (
    COMMAND_SECONDS,
    mongodb_content,
    notifications,
    one_line,
    started,
    succeeded,
)
from tests.integration.backup.crafting import contents, reseal
from tests.integration.backup.cut import cut_after
from tests.integration.backup.mongodump_metadata import METADATA

NUMBER = 6_000
MIDDLE = 500_000
# Young enough for the server's sweeper, which deletes what has expired at some moment of each minute.
WHEN = datetime.now(UTC).replace(microsecond=678_000) - timedelta(hours=NUMBER // 3_600 + 1)


def fill(given: MongoDatabase) -> MongoDatabase:
    """Store more documents than fit into one answer, and one that the validator refuses."""
    with pymongo.MongoClient[dict[str, Any]](given.url) as client:
        database = client.get_default_database()
        database["notifications"].insert_many([_notification(number) for number in range(NUMBER)])
        database["notifications"].insert_many(
            [{"title": 5, "data": {"a": [1, bson.Int64(2), None, b"\x00", 1.5]}}], bypass_document_validation=True
        )
        database["idempotency_keys"].insert_one({"_id": {"method": "m", "id": "x"}, "createdAt": WHEN})
    return given


@pytest.fixture(scope="module")
def filled(mongodb_module_database: MongoDatabase) -> MongoDatabase:
    """A database with such documents, which no test changes."""
    return fill(mongodb_module_database)


@pytest.fixture
def changed(mongodb_database: MongoDatabase) -> MongoDatabase:
    """A database with such documents that the test changes."""
    return fill(mongodb_database)


def _notification(number: int) -> dict[str, Any]:
    return {
        "userId": f"u{number % 50}",
        "title": "t" * (number % 200),
        "message": "größer 😀\n\0",
        "type": "in-app",
        "createdAt": WHEN + timedelta(seconds=number),
    }


@pytest.fixture(scope="module")
def backup(filled: MongoDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the one that no test changes."""
    path = tmp_path_factory.mktemp("taken") / "notifications.backup"
    succeeded(notifications(filled, "backup", path))
    return path


def test_everything_comes_back(filled: MongoDatabase, backup: Path, mongodb_empty_database: MongoDatabase) -> None:
    """Options, indexes and documents are the same after a restore, invalid ones too."""
    result = notifications(mongodb_empty_database, "restore", backup)
    assert result.exit_code == 0, result.output
    assert mongodb_content(mongodb_empty_database) == mongodb_content(filled)
    assert Archive(backup).manifest.counts["notifications"] == NUMBER + 1


@pytest.mark.long
def test_documents_are_compared_after_a_restore(
    backup: Path, tmp_path: Path, mongodb_empty_database: MongoDatabase
) -> None:
    """A restore after which a collection has other documents than it had fails, however many there are."""
    parts = contents(backup)
    (name,) = (name for name in parts if name.endswith("/notifications.bson.000001.zst"))
    changed = reseal(backup, tmp_path / "x", parts | {name: parts[name].replace(b"in-app", b"in-ape", 1)})
    line = one_line(notifications(mongodb_empty_database, "restore", changed))
    assert "notifications does not have the documents that it had" in line
    assert "restore_unfinished" in mongodb_content(mongodb_empty_database)


@pytest.mark.long
def test_motor_makes_no_difference(filled: MongoDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who serves over Motor takes the same backups."""
    monkeypatch.setenv("MONGODB_DRIVER", "motor")
    assert notifications(filled, "backup", tmp_path / "x.backup").exit_code == 0


def test_collections_are_described_as_mongodump_does() -> None:
    """What mongodump 100.x wrote of the collection `notifications` is read, and written again with the same content."""
    collection = CollectionMetadata.from_json(METADATA)
    assert [index["name"] for index in collection.indexes][:2] == ["_id_", "userId_1_createdAt_-1"]
    assert collection.options["changeStreamPreAndPostImages"] == {"enabled": True}
    written = json_util.loads(collection.to_json())
    assert written | {"uuid": None} == json_util.loads(METADATA) | {"uuid": None}


@pytest.mark.long
def test_a_database_that_is_not_empty_is_refused(filled: MongoDatabase, backup: Path) -> None:
    """A restore never mixes with what is there, nor does a dry run say that it would."""
    before = mongodb_content(filled)
    for option in ((), ("--dry-run",), ("--start-over",)):
        assert "is not empty" in one_line(notifications(filled, "restore", backup, *option))
    assert mongodb_content(filled) == before


def test_a_newer_schema_is_refused(
    changed: MongoDatabase, tmp_path: Path, mongodb_empty_database: MongoDatabase
) -> None:
    """A backup by a newer version is not restored by one that does not know its schema."""
    with pymongo.MongoClient[dict[str, Any]](changed.url) as client:
        client.get_default_database()["migrations"].insert_one({"_id": 9999, "name": "later"})
    assert notifications(changed, "backup", tmp_path / "x.backup").exit_code == 0
    assert "schema 9999" in one_line(notifications(mongodb_empty_database, "restore", tmp_path / "x.backup"))
    assert mongodb_content(mongodb_empty_database) == {}


def test_a_database_without_a_schema_is_not_backed_up(mongodb_empty_database: MongoDatabase, tmp_path: Path) -> None:
    """A wrong name in MONGODB_URL gives no empty backup that looks like a good one."""
    assert "no schema" in one_line(notifications(mongodb_empty_database, "backup", tmp_path / "x.backup"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_no_backup_while_a_migration_runs(changed: MongoDatabase, tmp_path: Path) -> None:
    """While a migration holds its lease there is no backup."""
    later = datetime.now().astimezone() + timedelta(minutes=1)
    with pymongo.MongoClient[dict[str, Any]](changed.url) as client:
        lock = {"_id": "lock", "owner": "another", "expiresAt": later}
        client.get_default_database()["migration_lock"].replace_one({"_id": "lock"}, lock, upsert=True)
    assert "migrating" in one_line(notifications(changed, "backup", tmp_path / "x.backup"))


@pytest.mark.long
def test_a_server_that_goes_away_leaves_no_file(filled: MongoDatabase, tmp_path: Path) -> None:
    """A backup that loses its server in the middle is one line and no file."""
    server = urlsplit(filled.url)
    with proxy_to(str(server.hostname), server.port or 27017) as proxy:
        cut_after(proxy, MIDDLE)
        assert "MongoDB failed" in _failure(_through(filled, proxy.listens), "backup", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_an_interrupted_restore_can_be_seen_and_started_over(
    filled: MongoDatabase, backup: Path, mongodb_empty_database: MongoDatabase
) -> None:
    """A restore whose server goes away leaves a marked database, which is refused until it is started over."""
    target, server = mongodb_empty_database, urlsplit(mongodb_empty_database.url)
    with proxy_to(str(server.hostname), server.port or 27017) as proxy:
        cut_after(proxy, MIDDLE)
        assert "--start-over" in _failure(_through(target, proxy.listens), "restore", backup)
    assert "restore_unfinished" in mongodb_content(target)
    assert "did not finish" in one_line(notifications(target, "restore", backup))
    result = notifications(target, "restore", backup, "--start-over")
    assert result.exit_code == 0, result.output
    assert mongodb_content(target) == mongodb_content(filled)


def test_a_snapshot_that_the_server_no_longer_keeps_is_explained() -> None:
    """Reading for longer than the server keeps history says which of its settings to raise, not the server's words."""
    words = "Read timestamp Timestamp(1, 1) is older than the oldest available timestamp."
    with pytest.raises(MongoFailed, match="raise its minSnapshotHistoryWindowInSeconds") as raised, translated():
        raise OperationFailure(words, code=239, details={"codeName": "SnapshotTooOld"})
    assert words not in str(raised.value)


def _failure(database: MongoDatabase, *arguments: object) -> str:
    """Run a command that loses its server, and return its one line.

    In a process of its own, with which its sockets end: PyMongo's ``close`` cancels the monitor, and its
    ``_async_create_connection`` closes a socket after ``OSError`` and ``TimeoutError``, not after a cancellation.
    """
    process = started("notifications_service", arguments, database.environment())
    _output, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 1, errors
    (line,) = errors.splitlines()
    return line


def _through(database: MongoDatabase, port: int) -> MongoDatabase:
    """Name the database behind a proxy, which a client of a replica set would leave for the member's own address."""
    url = f"mongodb://127.0.0.1:{port}/{database.name}?directConnection=true&retryWrites=false&retryReads=false"
    return MongoDatabase(url, database.name)
