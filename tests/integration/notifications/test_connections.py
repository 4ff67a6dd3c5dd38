"""MONGODB_CONNECTION_POOL_SIZE: all connections of a process to a server, whatever they are for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pymongo
import pytest
from click.testing import CliRunner
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.cli import main
from notifications_service.mongodb.database import MONITORING
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.watching import watching
from tests.integration.notifications.building import content, create, items
from tests.integration.telemetry.scraping import metrics_port, scrape

ROUNDS = 3
# On a busy machine a crowd's calls come one after another, and need fewer connections than they may have.
MOST_ROUNDS = 60
AT_ONCE = 8


class Observer:
    """Counts connections at the server, past the service."""

    def __init__(self, client: Any, application: str) -> None:
        self.most = 0
        self._client = client
        self._application = application

    async def look(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.most = max(self.most, await asyncio.to_thread(self._count))
            await asyncio.sleep(0.005)

    def _count(self) -> int:
        """Count those of the application: with those that wait, and those that watch the server."""
        stages = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": self._application, "connectionId": {"$exists": True}}},
            # A transaction between two of its statements is listed beside its connection.
            {"$group": {"_id": "$connectionId"}},
        ]
        answer = self._client.admin.command({"aggregate": 1, "pipeline": stages, "cursor": {}})
        return len(answer["cursor"]["firstBatch"])


@pytest.fixture
def observed(mongodb_module_database: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    """An observer of what this test serves, by a name of its own: other tests have servers on the same mongod."""
    name = f"connections-{uuid.uuid4().hex}"
    monkeypatch.setattr("notifications_service.mongodb.database.APPLICATION", name)
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        yield Observer(client, name)


async def ended(call: Awaitable[Any]) -> str:
    """Wait for a call; return its code."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


def crowd(running: Notifications, number: int) -> list[Awaitable[str]]:
    """Begin many calls, each with a command of its own."""
    user = f"user_{number}"
    batch = items((user, content()), (user, content()))
    mark = service.MarkAllNotificationsRequest(user_id=user, mark=service.NOTIFICATION_MARK_READ)
    listed = service.ListNotificationsRequest(user_id=user, page_size=100)
    calls: list[Any] = [
        running.feed.CreateNotification(create(user)),
        running.feed.BatchCreateNotifications(batch),
        running.feed.ListNotifications(listed),
        running.feed.MarkAllNotifications(mark),
    ]
    return [ended(call) for call in calls]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
@pytest.mark.parametrize("size", [10, 4])
async def test_no_more_connections_than_it_says(
    mongodb_module_database: MongoDatabase, observed: Observer, driver: str, size: int
) -> None:
    """Calls, transactions, watches, watchers that resume, probes, and the driver's own watching of the server."""
    port, metrics = metrics_port()
    settings: dict[str, Any] = {
        "mongodb_driver": driver,
        "mongodb_connection_pool_size": size,
        "mongodb_query_timeout_ms": 20_000,
    }
    async with (
        running_notifications(mongodb_module_database, **settings, **metrics) as running,
        AsyncExitStack() as stack,
    ):
        looking = asyncio.create_task(observed.look())
        first = await stack.enter_async_context(watching(running.feed, "user_0"))
        await running.feed.CreateNotification(create("user_0"))
        token = (await first.content()).resume_token
        for done in range(MOST_ROUNDS):
            if done >= ROUNDS and observed.most >= size - 2:
                break
            calls = [call for number in range(AT_ONCE) for call in crowd(running, number)]
            resumed = await stack.enter_async_context(watching(running.feed, "user_0", resume_token=token))
            assert set(await asyncio.gather(*calls)) == {"OK"}
            assert (await resumed.content()).resume_token
        found = await scrape(port)
        looking.cancel()
    assert observed.most <= size
    # It takes what it may.
    assert observed.most >= size - 2
    assert found.value("vibework_pool_limit", pool="calls") == size - MONITORING - 1


def test_fewer_than_it_needs_are_a_wrong_setting(mongodb_module_database: MongoDatabase) -> None:
    """Two watch the server, one is for the stream of all watches, and one for calls."""
    environment = {**mongodb_module_database.environment(), "MONGODB_CONNECTION_POOL_SIZE": "3"}
    told = CliRunner().invoke(main, ["status"], env=environment)
    assert told.exit_code == 2
    assert "MONGODB_CONNECTION_POOL_SIZE" in told.stderr
