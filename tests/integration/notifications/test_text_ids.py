"""`migrate up` on documents whose ids are text, as the source's model declares them, and as mongoose writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pymongo
import pytest
from bson import ObjectId
from click.testing import CliRunner, Result
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.cli import main
from notifications_service.migrations import ids
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications
from tests.harness.patience import UNHURRIED
from tests.integration.notifications.building import row

READ_AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def empty(mongodb_empty_database: MongoDatabase) -> Iterator[Any]:
    """A database without collections, past the service."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        yield client.get_default_database()


def up(database: MongoDatabase, driver: str = "pymongo") -> Result:
    """Run `notifications-service migrate up`."""
    own = {"NOTIFICATIONS_RETENTION_DAYS": None, "MONGODB_DRIVER": driver}
    settings = {**UNHURRIED, **own, **database.environment()}
    return CliRunner().invoke(main, ["migrate", "up"], env=settings)


def refused(result: Result) -> str:
    """Return the one line with which a command failed."""
    assert result.exit_code == 1, result.output
    assert len(result.output.splitlines()) == 1, result.output
    return result.output


def text_row(user_id: str, **fields: Any) -> dict[str, Any]:
    """Make a document as the source's model has it: its id is an ObjectId's text."""
    return row(user_id, _id=str(ObjectId()), **fields)


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_documents_with_text_ids_come_along(
    mongodb_empty_database: MongoDatabase, empty: Any, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps its id for callers, and all of its fields: it is read, listed, changed and deleted like ours."""
    monkeypatch.setattr(ids, "BATCH", 3)
    theirs = [text_row("user_1", read=True, readAt=READ_AT, sentAt=None) for _ in range(7)]
    native = row("user_1")
    empty.notifications.insert_many([*theirs, native])
    done = await asyncio.to_thread(up, mongodb_empty_database, driver)
    assert done.exit_code == 0, done.output
    assert "ids: 7 that were text are ObjectIds\n" in done.output
    for document in theirs:
        key = ObjectId(document["_id"])
        found = empty.notifications.find_one({"_id": key})
        assert found["__v"] == 0
        assert (found["title"], found["readAt"].replace(tzinfo=UTC)) == (document["title"], READ_AT)
    async with running_notifications(mongodb_empty_database, mongodb_driver=driver) as running:
        listed = await running.feed.ListNotifications(service.ListNotificationsRequest(user_id="user_1"))
        assert {item.id for item in listed.notifications} == {str(each["_id"]) for each in (*theirs, native)}
        gone = service.DeleteNotificationRequest(id=theirs[0]["_id"])
        await running.feed.DeleteNotification(gone)
    assert empty.notifications.count_documents({}) == 7


@pytest.mark.parametrize("id_", ["a notification", "65A1B2C3D4E5F60718293A4B", 7, {"a": 1}], ids=str)
def test_an_id_that_is_none_is_named(mongodb_empty_database: MongoDatabase, empty: Any, id_: Any) -> None:
    """Callers could never ask for such a document; it is told before anything is changed."""
    empty.notifications.insert_many([row("user_1", _id=id_), text_row("user_1")])
    before = list(empty.notifications.find())
    told = refused(up(mongodb_empty_database))
    assert "the collection notifications " in told
    assert "field _id: in 1 documents" in told
    assert list(empty.notifications.find()) == before
    assert empty.notifications.index_information().keys() == {"_id_"}


def test_two_documents_of_one_id_are_named(mongodb_empty_database: MongoDatabase, empty: Any) -> None:
    """Which of them is right nobody can tell."""
    theirs = text_row("user_1")
    empty.notifications.insert_many([theirs, row("user_1", _id=ObjectId(theirs["_id"]), title="Another")])
    told = refused(up(mongodb_empty_database))
    assert f"two documents have the id {theirs['_id']}" in told
    assert empty.notifications.count_documents({}) == 2


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_a_conversion_that_was_cut_off_goes_on(mongodb_empty_database: MongoDatabase, empty: Any, driver: str) -> None:
    """What was stored anew and not yet deleted is there once in the end."""
    theirs = [text_row("user_1") for _ in range(4)]
    empty.notifications.insert_many(theirs)
    empty.notifications.insert_many([each | {"_id": ObjectId(each["_id"])} for each in theirs[:2]])
    done = up(mongodb_empty_database, driver)
    assert done.exit_code == 0, done.output
    assert sorted(str(each["_id"]) for each in empty.notifications.find()) == sorted(each["_id"] for each in theirs)
    assert all(isinstance(each["_id"], ObjectId) for each in empty.notifications.find())
