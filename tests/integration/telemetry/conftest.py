"""Both services with their metrics open, and a little load."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc
import pytest
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.testing.local.ports import free_port
from vibework.users.v1 import session_service_pb2, user_service_pb2

from chassis.telemetry import registry, start
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_MS, PATIENCE_SECONDS
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.telemetry.collector import Collector, collecting
from tests.integration.telemetry.scraping import metrics_port

_numbers = itertools.count(1)

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Measured:
    """A users service and a notifications service that ask each other, and the ports of their metrics."""

    users: UsersServer
    notifications: Notifications
    users_port: int
    notifications_port: int


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out no metric because a busy machine is late."""
    monkeypatch.setattr(registry, "PATIENCE", PATIENCE_SECONDS)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, and the variables that send everything there; what comes last has the time that it takes."""
    with collecting() as started:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", started.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
        monkeypatch.setattr(start, "FLUSH_SECONDS", PATIENCE_SECONDS)
        yield started


@pytest.fixture(scope="module")
def measured_users(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[tuple[UsersServer, int]]:
    """The users service with its metrics on a port; its outbox waits for nobody."""
    (port, metrics), other = metrics_port(), free_port()
    patient = metrics | {"health_timeout_ms": PATIENCE_MS}
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, None, notifications_address=f"127.0.0.1:{other}", **patient) as served,
    ):
        yield served, port


@pytest.fixture(params=["pymongo", "motor"])
async def measured(
    request: pytest.FixtureRequest, measured_users: tuple[UsersServer, int], mongodb_module_database: MongoDatabase
) -> AsyncIterator[Measured]:
    """Both services, under each driver of MongoDB; no number is left out because a busy machine is late."""
    request.getfixturevalue("unhurried")
    served, port = measured_users
    own, metrics = metrics_port()
    asking = {"recipient_check": "required", "users_address": served.address, "recipient_check_timeout_ms": PATIENCE_MS}
    settings = metrics | asking | {"health_timeout_ms": PATIENCE_MS}
    async with running_notifications(mongodb_module_database, mongodb_driver=request.param, **settings) as running:
        yield Measured(served, running, port, own)


async def load(measured: Measured) -> str:
    """Make calls that succeed and calls that fail, on both services; return the id of the user they made."""
    async with measured.users.aio_channel() as channel:
        stubs = Stubs.on(channel)
        email = f"{next(_numbers)}@example.com"
        signed_up = await stubs.sessions.SignUp(session_service_pb2.SignUpRequest(email=email, password=PASSWORD))
        user_id = signed_up.user.id
        await stubs.sessions.ValidateSession(
            session_service_pb2.ValidateSessionRequest(session_token=signed_up.session_token)
        )
        await stubs.users.ListUsers(user_service_pb2.ListUsersRequest(page_size=1))
        with pytest.raises(grpc.aio.AioRpcError):
            await stubs.users.GetUser(user_service_pb2.GetUserRequest(id="user_01jd8k2v5rf2xbq0m3c9w7n4ht"))
    feed = measured.notifications.feed
    content = notification_pb2.NotificationContent(
        type=notification_pb2.NOTIFICATION_TYPE_IN_APP, title="Welcome", message="Hello"
    )
    await feed.CreateNotification(notifications_pb2.CreateNotificationRequest(user_id=user_id, content=content))
    await feed.ListNotifications(notifications_pb2.ListNotificationsRequest(user_id=user_id))
    return user_id
