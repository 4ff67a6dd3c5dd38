"""What a watch may cost: slow readers, bursts, too many watchers, and the end of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from notifications_service.mongodb import codec
from notifications_service.notification import documents
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.watching import Watching, create, watching

DRIVERS = pytest.mark.parametrize("driver", ["pymongo", "motor"])


def drafts(user_id: str, count: int, message: str = "m") -> list[codec.Document]:
    """Return documents to insert past the service."""
    at = stored_now()
    draft = documents.Draft(user_id, "title", message, documents.Type.IN_APP)
    return [documents.new(draft, at) for _ in range(count)]


async def ids_until(watch: Watching, last: codec.Document) -> list[str]:
    """Return the ids of what is created up to a document."""
    found = [(await watch.change())[1]]
    while found[-1] != str(last["_id"]):
        found.append((await watch.change())[1])
    return found


@DRIVERS
async def test_a_slow_reader_is_ended_and_resumes_where_it_was(mongodb_database: MongoDatabase, driver: str) -> None:
    """Who takes nothing while more happens than is kept for it, is ended; its last token leads on without a gap."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncMongoClient[Any](mongodb_database.url))
        rows = client.get_default_database().notifications
        running = await stack.enter_async_context(
            running_notifications(mongodb_database, mongodb_driver=driver, watch_queue_events=20, watch_patience_ms=200)
        )
        feed = await stack.enter_async_context(_hardly_buffering(running))
        watch = await stack.enter_async_context(watching(feed, "user"))
        large = drafts("user", 400, message="m" * 16_000)
        for start in range(0, len(large), 50):
            await rows.insert_many(large[start : start + 50])
        await until(lambda: running.server.in_flight.total == 0, "the end of the watch")
        assert await watch.failure() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
        told = watch.told
        assert 0 < len(told) < len(large)
        async with watching(running.feed, "user", resume_token=watch.token) as again:
            told += await ids_until(again, large[-1])
        assert told == [str(document["_id"]) for document in large]


@asynccontextmanager
async def _hardly_buffering(running: Notifications) -> AsyncIterator[NotificationServiceStub]:
    """Open a connection with a fixed window of 64 KiB: left to itself it may take in all that the test writes."""
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(running.server.address, options=options) as channel:
        yield NotificationServiceStub(channel)


async def test_a_burst_does_not_end_a_watcher_that_reads(notifications: Notifications, user_id: str, rows: Any) -> None:
    """Far more at once than is kept for a watcher arrives in whole and in order, as long as it is taken."""
    burst = drafts(user_id, 3_000)
    async with watching(notifications.feed, user_id) as watch:
        await rows.insert_many(burst)
        assert await ids_until(watch, burst[-1]) == [str(document["_id"]) for document in burst]
        made = await create(notifications.feed, user_id)
        assert await watch.change() == ("created", made.id)


@DRIVERS
async def test_more_watchers_than_allowed_are_refused(mongodb_database: MongoDatabase, driver: str) -> None:
    """The one too many is told so; there is room again once one has left."""
    async with AsyncExitStack() as stack:
        settings = running_notifications(mongodb_database, mongodb_driver=driver, watch_max_watchers=2)
        running = await stack.enter_async_context(settings)
        await stack.enter_async_context(watching(running.feed, "user"))
        async with watching(running.feed, "user"), watching(running.feed, "user", greeted=False) as refused:
            assert await refused.failure() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")
        # The server hears of the end of a call a moment after its caller.
        await until(lambda: running.server.in_flight.total == 1, "the end of one watch")
        async with watching(running.feed, "user") as admitted:
            made = await create(running.feed, "user")
            assert await admitted.change() == ("created", made.id)


async def test_watches_that_were_cancelled_leave_nothing(mongodb_database: MongoDatabase) -> None:
    """However a watch starts and whenever its caller goes, its place becomes free again, and no error is logged."""
    with capture_logs() as told:
        await _watch_and_go(mongodb_database)
    assert told
    assert [line for line in told if line["log_level"] == "error"] == []


async def _watch_and_go(database: MongoDatabase) -> None:
    async with running_notifications(database, watch_max_watchers=20) as running:
        async with watching(running.feed, "user") as watch:
            token = watch.token
        starts: list[dict[str, Any]] = [{}, {"snapshot": {}}, {"resume_token": token}]
        for number in range(15):
            await create(running.feed, "user")
            async with AsyncExitStack() as stack:
                for index in range(20):
                    start = starts[(number + index) % 3]
                    await stack.enter_async_context(watching(running.feed, "user", greeted=False, **start))
                await asyncio.sleep(0.002 * number)
        await until(lambda: running.server.in_flight.total == 0, "the end of all watches")
        async with AsyncExitStack() as stack:
            for _ in range(20):
                watch = await stack.enter_async_context(watching(running.feed, "user"))
            made = await create(running.feed, "user")
            assert await watch.change() == ("created", made.id)


@DRIVERS
async def test_a_drain_ends_watches_at_once(mongodb_database: MongoDatabase, driver: str) -> None:
    """Watches do not hold up the end of the server: they end with a reason that says to watch again elsewhere."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"mongodb_driver": driver, "grpc_grace_ms": 600_000}
        running = await stack.enter_async_context(running_notifications(mongodb_database, **settings))
        watches = [await stack.enter_async_context(watching(running.feed, f"user {number}")) for number in range(20)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running.server.stop()
        failures = {await watch.failure() for watch in watches}
        assert failures == {(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")}
