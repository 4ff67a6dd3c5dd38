"""The feed while MongoDB is away, slow, in the way, or not what it must be."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import grpc
import pymongo
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.testing.local import ports
from vibework.testing.local.processes import Process

from chassis.serving.lifecycle import Scope, StartFailed
from notifications_service.app import build
from script.local import mongodb_installation
from script.local.mongodb import LocalMongoDB
from tests.fault.notifications.conftest import failing
from tests.harness.databases import MongoDatabase
from tests.harness.keeper import PROGRAM_CACHE
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import reason, retry_seconds
from tests.integration.notifications.building import content, create, items
from tests.integration.telemetry.scraping import metrics_port, scrape

DRIVERS = pytest.mark.parametrize("driver", ["pymongo", "motor"])
# How long commands hang at the server, and the deadline of a caller who has given up long before.
BLOCKED_MS = 3_000
SOON_SECONDS = 0.2
USER = "user_locked"
# For tests in which calls wait in vain for as long: below the cap of a call.
QUERY_TIMEOUT: dict[str, Any] = {"mongodb_query_timeout_ms": 5_000}


async def restarted(mongod: LocalMongoDB) -> None:
    """Start a killed mongod on its data."""
    # By this thread, with which it would end; waiting is for another.
    mongod.begin()
    await asyncio.to_thread(mongod.wait)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def answered(make: Callable[[], Any]) -> None:
    """Call until the answer comes: the limit that others ran into holds for this call, too, on a busy machine."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(grpc.aio.AioRpcError):
                await make()
                return
            await asyncio.sleep(0.05)


async def health_becomes(running: Notifications, wanted: int) -> None:
    """Wait until the server reports the status, as long as patience lasts."""
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aclosing(stub.Watch(health_pb2.HealthCheckRequest()).__aiter__()) as statuses,
    ):
        async for status in statuses:
            if status.status == wanted:
                return


@pytest.mark.long
@DRIVERS
async def test_the_feed_comes_back_with_its_database(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str
) -> None:
    """After a crash calls are UNAVAILABLE, and in time, health says so, and all is well again without a restart."""
    async with running_notifications(database, mongodb_driver=driver, **QUERY_TIMEOUT) as running:
        created = await running.feed.CreateNotification(create("user_1"))
        mongod.kill()
        error = await refusal(running.feed.CreateNotification(create("user_1")))
        # Whatever waits beyond the cap of a call is DEADLINE_EXCEEDED.
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "DATABASE_UNAVAILABLE"
        assert retry_seconds(error)
        await health_becomes(running, health_pb2.HealthCheckResponse.NOT_SERVING)
        await restarted(mongod)
        await health_becomes(running, health_pb2.HealthCheckResponse.SERVING)
        # What was acknowledged before the crash was on disk.
        found = await running.feed.GetNotification(service.GetNotificationRequest(id=created.notification.id))
        assert found == service.GetNotificationResponse(notification=created.notification)


@pytest.mark.long
async def test_a_server_starts_before_its_database(mongod: LocalMongoDB, database: MongoDatabase) -> None:
    """It reports NOT_SERVING until the database is there."""
    mongod.kill()
    async with running_notifications(database, **QUERY_TIMEOUT) as running:
        await health_becomes(running, health_pb2.HealthCheckResponse.NOT_SERVING)
        await restarted(mongod)
        await health_becomes(running, health_pb2.HealthCheckResponse.SERVING)
        await running.feed.CreateNotification(create("user_2"))


@DRIVERS
@pytest.mark.long
async def test_a_slow_database_ends_calls_at_their_deadline(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str
) -> None:
    """The caller's deadline and the query timeout hold against a database that hangs; the next call is well."""
    async with running_notifications(database, mongodb_driver=driver, mongodb_query_timeout_ms=400) as running:
        request = service.ListNotificationsRequest(user_id="user_3")
        async with failing(mongod, ["find", "aggregate"], blockConnection=True, blockTimeMS=BLOCKED_MS):
            error = await refusal(running.feed.ListNotifications(request, timeout=SOON_SECONDS))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            error = await refusal(running.feed.ListNotifications(request))
            assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        await answered(lambda: running.feed.ListNotifications(request))


@DRIVERS
@pytest.mark.long
async def test_a_pool_that_stays_full_is_told_as_our_limit(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str
) -> None:
    """Whoever gets no connection hears OVERLOADED: a breaker must not take it for a database that is away."""
    limits: dict[str, Any] = {
        "mongodb_driver": driver,
        "mongodb_query_timeout_ms": 400,
        # Of which one is for calls.
        "mongodb_connection_pool_size": 4,
    }
    async with running_notifications(database, **limits) as running:
        # So many that each is a command of its own.
        requests = [service.ListNotificationsRequest(user_id=f"user_{number}", page_size=100) for number in range(6)]
        async with failing(mongod, ["find"], blockConnection=True, blockTimeMS=BLOCKED_MS):
            errors = await asyncio.gather(*(refusal(running.feed.ListNotifications(each)) for each in requests))
        told = {(error.code(), reason(error)) for error in errors}
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED") in told
        assert told <= {
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
            (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        }


@pytest.mark.long
@DRIVERS
async def test_a_transaction_that_always_loses_is_aborted(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str
) -> None:
    """After its retries a batch says CONFLICT_RETRY; with a few conflicts it succeeds and is there once."""
    batch = items(("user_4", content()), ("user_4", content()))
    conflict = {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}
    async with running_notifications(database, mongodb_driver=driver) as running:
        async with failing(mongod, ["insert"], **conflict):
            error = await refusal(running.feed.BatchCreateNotifications(batch))
            assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "CONFLICT_RETRY")
            assert retry_seconds(error)
        with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
            data = {"failCommands": ["insert"], "appName": "notifications-service", **conflict}
            client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": data})
        await running.feed.BatchCreateNotifications(batch)
        request = service.CountNotificationsRequest(user_id="user_4")
        assert (await running.feed.CountNotifications(request)).counts[0] % 2 == 0
        await running.feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id="user_4"))


@pytest.mark.long
@DRIVERS
async def test_a_write_whose_connection_breaks_is_done_once(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str
) -> None:
    """The driver repeats a create that lost its connection, and the server knows it as the same."""
    async with running_notifications(database, mongodb_driver=driver) as running:
        with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
            data = {"failCommands": ["insert"], "appName": "notifications-service", "closeConnection": True}
            client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
        created = await running.feed.CreateNotification(create(f"user_5_{driver}"))
        listed = await running.feed.ListNotifications(service.ListNotificationsRequest(user_id=f"user_5_{driver}"))
        assert [item.id for item in listed.notifications] == [created.notification.id]


@pytest.mark.long
@DRIVERS
async def test_a_mongod_that_is_no_replica_set_is_refused_at_the_start(tmp_path: Path, driver: str) -> None:
    """One line says what it must be: without a replica set there are no transactions and no change streams."""
    port = ports.free_port()
    program = mongodb_installation.find_or_install(PROGRAM_CACHE)
    (tmp_path / "data").mkdir()
    options = [f"--dbpath={tmp_path / 'data'}", f"--port={port}", "--bind_ip=127.0.0.1", "--nounixsocket"]
    alone = Process("MongoDB", [str(program), *options], log=tmp_path / "log")
    try:
        alone.wait_until(lambda: ports.is_taken(port), timeout=PATIENCE_SECONDS)
        settings = settings_for(MongoDatabase(f"mongodb://127.0.0.1:{port}/alone", "alone"), mongodb_driver=driver)
        async with AsyncExitStack() as resources:
            with pytest.raises(StartFailed, match="not a replica set"):
                await build(settings, Scope(resources, asyncio.Event()))
    finally:
        alone.kill()


@pytest.mark.long
@DRIVERS
@pytest.mark.parametrize(("code", "cause"), [(371, "read_only"), (14031, "disk_full"), (10107, None), (100, None)])
async def test_writes_that_the_server_refuses(
    mongod: LocalMongoDB, database: MongoDatabase, driver: str, code: int, cause: str | None
) -> None:
    """They are told to come back, whatever the server's reason; reads and health go on; then writes succeed at once."""
    port, metrics = metrics_port()
    async with running_notifications(database, mongodb_driver=driver, **metrics, **QUERY_TIMEOUT) as running:
        await running.feed.CreateNotification(create("user_refused"))
        async with failing(mongod, ["insert", "update", "findAndModify"], errorCode=code):
            for call in (
                running.feed.CreateNotification(create("user_refused", request_id=str(uuid.uuid4()))),
                running.feed.BatchCreateNotifications(items(("user_refused", content()), ("user_2", content()))),
                running.feed.MarkAllNotifications(
                    service.MarkAllNotificationsRequest(user_id="user_refused", mark=service.NOTIFICATION_MARK_READ)
                ),
            ):
                error = await refusal(call)
                assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
                assert retry_seconds(error)
            request = service.ListNotificationsRequest(user_id="user_refused")
            assert (await running.feed.ListNotifications(request)).notifications
            await health_becomes(running, health_pb2.HealthCheckResponse.SERVING)
            told = await scrape(port)
            # A primary that is about to be none is health's to tell.
            assert told.value("vibework_database_writable", driver="mongodb") == (cause is None)
            assert cause is None or told.value("vibework_database_refusals_total", cause=cause) >= 3
        await running.feed.CreateNotification(create("user_refused"))


@pytest.mark.long
async def test_writes_while_the_server_is_locked(mongod: LocalMongoDB, database: MongoDatabase) -> None:
    """A locked server lets writes wait and reads pass: waiting ends in time, and with the lock's end writes succeed."""
    async with running_notifications(database, mongodb_query_timeout_ms=500) as running:
        await running.feed.CreateNotification(create(USER))
        with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
            await asyncio.to_thread(client.admin.command, {"fsync": 1, "lock": True})
            try:
                calls = [running.feed.CreateNotification(create(USER)) for _ in range(16)]
                for error in await asyncio.gather(*map(refusal, calls)):
                    # Whoever comes first says that time is up: our limit, or the server's, which was told the same.
                    assert reason(error) in ("DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED", "OVERLOADED")
                request = service.ListNotificationsRequest(user_id=USER)
                assert (await running.feed.ListNotifications(request)).notifications
                await health_becomes(running, health_pb2.HealthCheckResponse.SERVING)
            finally:
                await asyncio.to_thread(client.admin.command, "fsyncUnlock")
        await asyncio.gather(*(answered(lambda: running.feed.CreateNotification(create(USER))) for _ in range(16)))
