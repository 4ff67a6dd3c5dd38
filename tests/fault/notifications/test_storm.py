"""Callers who leave in crowds cost the notifications service nothing that lasts, under either driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_pb2 import NotificationContent, NotificationType

from tests.contract.requests import NO_NOTIFICATION, NOBODY, NOTIFICATIONS
from tests.harness.databases import MongoDatabase
from tests.harness.left_open import no_transaction_is_open
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.storm import Rpc, broken, call, rpcs_of, storm
from tests.integration.telemetry.scraping import metrics_port, until

# One after the other: they look at transactions of the whole server.
pytestmark = pytest.mark.xdist_group("mongodb-storms")

PACKAGE = "vibework.notifications.v1"
# A stream that opens, and says something at once.
OPENING: dict[str, tuple[dict[str, Any], str]] = {
    "NotificationService/WatchNotifications": ({"userId": NOBODY, "snapshot": {}, "heartbeatInterval": "1s"}, ""),
}
# No limit of the database's may end what a busy machine takes long for.
PATIENT = {"mongodb_query_timeout_ms": 30_000, "grpc_max_deadline_ms": 120_000}


@dataclass(frozen=True)
class Stormy:
    """A running server, its RPCs, and the port of its metrics."""

    running: Notifications
    rpcs: list[Rpc]
    metrics: int

    def rpc(self, name: str) -> Rpc:
        """Return the RPC of a name."""
        return next(rpc for rpc in self.rpcs if rpc.method.name == name)


@asynccontextmanager
async def stormy(database: MongoDatabase, driver: str, **settings: Any) -> AsyncIterator[Stormy]:
    """Run the server with a notification that requests can name."""
    port, metrics = metrics_port()
    async with running_notifications(database, mongodb_driver=driver, **metrics, **(PATIENT | settings)) as running:
        created = await running.feed.CreateNotification(
            pb.CreateNotificationRequest(
                user_id=NOBODY,
                content=NotificationContent(title="Hello", message="x", type=NotificationType.NOTIFICATION_TYPE_IN_APP),
            )
        )
        known = {NO_NOTIFICATION: created.notification.id}
        yield Stormy(running, rpcs_of(PACKAGE, NOTIFICATIONS | OPENING, known), port)


async def nothing_is_left(server: Stormy, database: MongoDatabase, driver: str) -> None:
    """Wait until the server serves nobody, its pool is idle, and MongoDB has no transaction open; fails after 10 s."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.running.server.in_flight.total:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    own = {"pool": "calls", "driver": driver}
    await until(
        server.metrics,
        lambda now: now.value("vibework_pool_in_use", **own) == now.value("vibework_pool_waiting", **own) == 0,
    )
    await asyncio.to_thread(no_transaction_is_open, database)


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_after_a_storm_of_callers_who_left_the_service_is_as_before(
    mongodb_database: MongoDatabase, driver: str
) -> None:
    """Every RPC, 32 calls at once, half of them left by their callers: the others are answered, and nothing stays."""
    async with stormy(mongodb_database, driver) as server:
        assert broken(await storm(server.running.channel, server.rpcs, 12)) == {}
        await nothing_is_left(server, mongodb_database, driver)
        assert broken(await storm(server.running.channel, [server.rpc("CreateNotification")], 200)) == {}
        await nothing_is_left(server, mongodb_database, driver)
        answers = {rpc.method.name: await call(server.running.channel, rpc, rpc.fresh()) for rpc in server.rpcs}
        assert answers["CreateNotification"] == answers["ListNotifications"] == answers["MarkAllNotifications"] == "OK"


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_rpc_weathers_a_storm_of_its_own(mongodb_database: MongoDatabase) -> None:
    """Several hundred calls of each RPC alone, so that none hides behind another's luck."""
    async with stormy(mongodb_database, "pymongo") as server:
        for rpc in server.rpcs:
            assert broken(await storm(server.running.channel, [rpc], 400)) == {}
            await nothing_is_left(server, mongodb_database, "pymongo")
