"""`as_of` where the database keeps writers up, and where it no longer knows what was there."""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pymongo
import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.keyring import Keyring
from notifications_service.notification import as_of as seeing
from notifications_service.notification import documents
from notifications_service.notification.as_of import SETTLING_SECONDS, STAMP, AsOf, AsOfTokens
from notifications_service.notification.documents import Draft, Type
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, Notifications, running_notifications
from tests.harness.patience import PATIENCE_MS
from tests.harness.users import reason
from tests.integration.notifications.building import create, row

TOKENS = AsOfTokens(Keyring.parse(SECRET_KEYS))
UNREAD = service.NotificationFilter(read=False)
SNAPSHOT_TOO_OLD = 239


@pytest.fixture(params=["pymongo", "motor"])
async def served(request: pytest.FixtureRequest, database: MongoDatabase) -> AsyncIterator[Notifications]:
    """The service on it, under each driver."""
    async with running_notifications(database, mongodb_driver=request.param) as running:
        yield running


@pytest.fixture
def raw(database: MongoDatabase) -> Iterator[Any]:
    """The database, past the server."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        yield client.get_default_database()


@pytest.fixture
def user_id() -> str:
    """A user whom no other test has."""
    return f"user_{uuid.uuid4().hex}"


@pytest.fixture(params=["known", "forgotten"])
def history(request: pytest.FixtureRequest, raw: Any) -> Iterator[str]:
    """Whether the database still knows what was there at a time, as it does for some minutes."""
    window = {"setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0 if request.param == "forgotten" else 300}
    raw.client.admin.command(window)
    yield request.param
    raw.client.admin.command(window | {"minSnapshotHistoryWindowInSeconds": 300})


def forget(raw: Any, at: Timestamp) -> None:
    """Write until the database no longer knows what was there at that time."""
    while is_known(raw, at):
        raw.client.admin.command({"appendOplogNote": 1, "data": {}})


def is_known(raw: Any, at: Timestamp) -> bool:
    """Say whether the database still knows what was there at that time."""
    try:
        raw.command({"find": "notifications", "readConcern": {"level": "snapshot", "atClusterTime": at}})
    except OperationFailure as error:
        return error.code != SNAPSHOT_TOO_OLD
    return True


def new(user_id: str, **fields: Any) -> dict[str, Any]:
    """Make a row as this service inserts it."""
    return documents.new(Draft(user_id, "title", "message", Type.IN_APP), stored_now()) | fields


async def counted(served: Notifications, user_id: str) -> service.CountNotificationsResponse:
    """Count the unread."""
    return await served.feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id, filters=[UNREAD]))


async def mark_all(served: Notifications, user_id: str, as_of: str) -> int:
    """Mark all that was seen as read; return how many changed."""
    request = service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_READ, as_of=as_of)
    return (await served.feed.MarkAllNotifications(request)).changed_count


def unread(raw: Any, user_id: str) -> set[Any]:
    """Return the ids of the user's unread rows."""
    return {found["_id"] for found in raw.notifications.find({"userId": user_id, "read": False})}


@contextmanager
def paused(raw: Any, late: dict[str, Any]) -> Iterator[None]:
    """Insert a row, with the server standing still between its stamp and its commit until the context is left."""
    hang = {"configureFailPoint": "hangDuringBatchInsert", "data": {"nss": f"{raw.name}.notifications"}}
    hit = raw.client.admin.command({**hang, "mode": "alwaysOn"})["count"]
    writer = threading.Thread(target=raw.notifications.insert_one, args=[late])
    writer.start()
    try:
        wait = {"waitForFailPoint": "hangDuringBatchInsert", "timesEntered": hit + 1}
        raw.client.admin.command({**wait, "maxTimeMS": PATIENCE_MS})
        yield
    finally:
        raw.client.admin.command({"configureFailPoint": "hangDuringBatchInsert", "mode": "off"})
        writer.join()


@pytest.mark.long
async def test_a_writer_paused_between_stamp_and_commit(
    served: Notifications, raw: Any, user_id: str, history: str
) -> None:
    """Its row is not marked by the `as_of` of an answer before its commit, though its stamp is older than that."""
    late = new(user_id)
    with paused(raw, late):
        raw.client.admin.command({"appendOplogNote": 1, "data": {}})
        answer = await counted(served, user_id)
    at = TOKENS.read(user_id, answer.as_of).at
    assert raw.notifications.find_one({"_id": late["_id"]})[STAMP] < at
    if history == "forgotten":
        forget(raw, at)
    assert await mark_all(served, user_id, answer.as_of) == 0
    assert unread(raw, user_id) == {late["_id"]}


@pytest.mark.long
async def test_without_the_margin_it_would_be_marked(
    served: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps such a row unread is the margin, and nothing else that might be left out one day."""
    monkeypatch.setattr(seeing, "SETTLING_SECONDS", 0)
    late = new(user_id)
    with paused(raw, late):
        raw.client.admin.command({"appendOplogNote": 1, "data": {}})
        answer = await counted(served, user_id)
    assert await mark_all(served, user_id, answer.as_of) == 1


@pytest.mark.long
async def test_what_is_no_longer_known_is_told_by_stamp_and_by_name(
    served: Notifications, raw: Any, user_id: str, history: str
) -> None:
    """Rows inserted long before, and those on the page, are marked; of the last minutes others may be left."""
    await served.feed.CreateNotification(create(user_id))
    now = raw.command("ping")["operationTime"]
    old = Timestamp(now.time - SETTLING_SECONDS - 60, 1)
    beneath = stored_now() - timedelta(seconds=30)
    raw.notifications.insert_many([new(user_id, **{STAMP: old, "createdAt": beneath}) for _ in range(5)])
    raw.notifications.insert_many([row(user_id, createdAt=stored_now() - timedelta(hours=1)) for _ in range(5)])
    young = new(user_id, createdAt=stored_now() - timedelta(seconds=40))
    raw.notifications.insert_one(young)
    request = service.ListNotificationsRequest(user_id=user_id, page_size=1)
    page = await served.feed.ListNotifications(request)
    if history == "forgotten":
        forget(raw, TOKENS.read(user_id, page.as_of).at)
        assert await mark_all(served, user_id, page.as_of) == 11
        assert unread(raw, user_id) == {young["_id"]}
    else:
        assert await mark_all(served, user_id, page.as_of) == 12


@pytest.mark.long
async def test_an_answer_comes_without_an_as_of_where_there_is_no_time_to_read_at(
    served: Notifications, raw: Any, user_id: str
) -> None:
    """As for a moment after a migration: what is there is shown all the same."""
    await served.feed.CreateNotification(create(user_id))
    namespace = f"{raw.name}.notifications"
    data = {"failCommands": ["find"], "errorCode": 246, "appName": "notifications-service", "namespace": namespace}
    raw.client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
    page = await served.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    assert (len(page.notifications), page.as_of) == (1, "")


@pytest.mark.long
async def test_a_time_that_has_not_come_is_refused(served: Notifications, raw: Any, user_id: str) -> None:
    """It is of another database, and says nothing of this one."""
    await served.feed.CreateNotification(create(user_id))
    ahead = Timestamp(raw.command("ping")["operationTime"].time + 3_600, 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mark_all(served, user_id, TOKENS.issue(user_id, AsOf(ahead)))
    assert reason(caught.value) == "AS_OF_INVALID"
