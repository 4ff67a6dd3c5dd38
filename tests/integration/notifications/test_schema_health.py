"""Health knows the schema: a database that this version cannot serve is NOT_SERVING, and says why, until it can."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pymongo
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import LogCapture
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.notifications.v1.notification_pb2 import NOTIFICATION_TYPE_IN_APP, NotificationContent

from notifications_service.migrations.runner import Runner
from notifications_service.mongodb.database import Database
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.patience import PATIENCE_MS, PATIENCE_SECONDS
from tests.harness.users import reason
from tests.integration.notifications.building import row

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DRIVERS = pytest.mark.parametrize("driver", ["pymongo", "motor"])
CURE = "run `notifications-service migrate up`"
# Reasons are compared: none of them may be that a busy machine took long over a probe.
PATIENT: dict[str, Any] = {"health_timeout_ms": PATIENCE_MS, "health_interval_ms": 100}


@pytest.fixture
def logged() -> LogCapture:
    """What servers of this process log."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    return capture


def reasons(logged: LogCapture) -> list[str]:
    """Return the reasons for which health was NOT_SERVING."""
    return [entry["probe"] for entry in logged.entries if entry["event"] == "not serving"]


async def until(running: Notifications, wanted: int) -> None:
    """Wait until health says so; the probe comes ten times a second."""
    health: Any = health_pb2_grpc.HealthStub(running.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for answer in watch:
            if answer.status == wanted:
                break
    watch.cancel()


async def migrate(database: MongoDatabase, target: int | None = None) -> list[str]:
    """Run `migrate up` in this process; return what it says."""
    said: list[str] = []
    connection = Database(settings_for(database))
    try:
        await Runner(connection.default, said.append, stored_now).up(30, target)
    finally:
        await connection.close()
    return said


@DRIVERS
async def test_a_server_waits_for_its_schema(
    mongodb_empty_database: MongoDatabase, driver: str, logged: LogCapture
) -> None:
    """It starts on an empty database and on one with the first step only, and serves once all steps are there."""
    async with running_notifications(mongodb_empty_database, mongodb_driver=driver, **PATIENT) as running:
        await until(running, NOT_SERVING)
        await migrate(mongodb_empty_database, 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(reasons(logged)) < 2:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)
        await until(running, NOT_SERVING)
        await migrate(mongodb_empty_database)
        await until(running, SERVING)
        await running.feed.CreateNotification(
            service.CreateNotificationRequest(
                user_id="u", content=NotificationContent(title="t", message="m", type=NOTIFICATION_TYPE_IN_APP)
            )
        )
    first, second = reasons(logged)[:2]
    assert first == f"the schema is not migrated: {CURE}"
    assert "0002_feed_index" in second
    assert second.endswith(CURE)


@DRIVERS
@pytest.mark.parametrize("index", ["feed_rows", "createdAt_1"])
async def test_an_index_that_is_gone_is_told_and_restored(
    mongodb_database: MongoDatabase, driver: str, index: str, logged: LogCapture
) -> None:
    """After Mongoose's `syncIndexes()` health names the index, calls are UNAVAILABLE, and `migrate up` repairs it."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        rows = client.get_default_database().notifications
        rows.insert_one(row("user_1"))
        async with running_notifications(mongodb_database, mongodb_driver=driver, **PATIENT) as running:
            await until(running, SERVING)
            rows.drop_index(index)
            await until(running, NOT_SERVING)
            if index == "feed_rows":
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await running.feed.ListNotifications(service.ListNotificationsRequest(user_id="user_1"))
                assert reason(caught.value) == "DATABASE_UNAVAILABLE"
            assert any(index in line for line in await migrate(mongodb_database))
            await until(running, SERVING)
            listed = await running.feed.ListNotifications(service.ListNotificationsRequest(user_id="user_1"))
            assert len(listed.notifications) == 1
    assert reasons(logged) == [f"the schema lacks index {index} of notifications: {CURE}"]


LATER = [
    ("deliveries", "due"),
    ("deliveries", "of_address"),
    ("deliveries", "erase"),
    ("scheduled_notifications", "due"),
    ("push_subscriptions", "endpoint"),
    ("suppressions", "listed"),
]


@pytest.mark.parametrize(("collection", "index"), LATER)
async def test_an_index_of_another_collection_counts_as_much(
    mongodb_database: MongoDatabase, collection: str, index: str, logged: LogCapture
) -> None:
    """Without it nothing is sent, moved, erased or unique: health says which is gone, and `migrate up` makes it."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        async with running_notifications(mongodb_database, **PATIENT) as running:
            await until(running, SERVING)
            client.get_default_database()[collection].drop_index(index)
            await until(running, NOT_SERVING)
            assert any(index in line for line in await migrate(mongodb_database))
            await until(running, SERVING)
    assert reasons(logged) == [f"the schema lacks index {index} of {collection}: {CURE}"]


@pytest.mark.long
async def test_an_index_of_another_kind_is_as_good_as_none(mongodb_database: MongoDatabase) -> None:
    """One that bears the name, and holds not all rows or is hidden, would make lists wrong or fail."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        database = client.get_default_database()
        async with running_notifications(mongodb_database) as running:
            await until(running, SERVING)
            database.command("collMod", "notifications", index={"name": "feed_rows", "hidden": True})
            await until(running, NOT_SERVING)
            database.command("collMod", "notifications", index={"name": "feed_rows", "hidden": False})
            await until(running, SERVING)


@DRIVERS
async def test_a_database_newer_than_the_code_is_served(mongodb_database: MongoDatabase, driver: str) -> None:
    """After a rollback the older version runs alone on the newer schema."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        client.get_default_database().migrations.insert_one({"_id": 99, "name": "to_come"})
    async with running_notifications(mongodb_database, mongodb_driver=driver, **PATIENT) as running:
        await until(running, SERVING)
        await running.feed.ListNotifications(service.ListNotificationsRequest(user_id="user_1"))
