"""The log of slow statements: which ones, how long, how large, and nothing of anybody's data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.struct_pb2 import Struct
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import user_service_pb2

from chassis.logs import logging
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import running_notifications
from tests.harness.proxy import Proxy, proxy_to
from tests.harness.users import Stubs, users_service
from tests.integration.telemetry.scraping import metrics_port, scrape

# Milliseconds from which on statements are slow here, and seconds for which the database hangs: long enough that the
# statement of a call that begins then is slow, however late it comes to it.
SLOW_MS = 150
HANGS = 1.0
PLANTED = "planted"


@dataclass
class Log:
    """What was logged so far."""

    stream: BytesIO
    flush: Callable[[], object]

    @property
    def text(self) -> str:
        """Return all of it."""
        self.flush()
        return self.stream.getvalue().decode()

    def slow(self, statement: str) -> list[dict[str, Any]]:
        """Return the lines on a slow statement, and check that each was slow."""
        lines = [orjson.loads(line) for line in self.text.splitlines()]
        found = [line for line in lines if line["event"] == "slow statement" and line["statement"] == statement]
        assert all(line["ms"] >= SLOW_MS for line in found)
        return found

    def slowest(self, statement: str) -> dict[str, Any]:
        """Return the line on the slowest one; on a busy machine there may be others."""
        return max(self.slow(statement), key=lambda line: line["ms"])


@pytest.fixture
def log() -> Log:
    """Send the log to memory; ask for it before a server starts."""
    stream = BytesIO()
    sink = logging.configure("info", "json", stream)
    return Log(stream, sink.flush)


@asynccontextmanager
async def hanging(proxy: Proxy) -> AsyncIterator[None]:
    """Let the database hang for a moment, in which the calls of the context begin."""
    proxy.freeze()
    asyncio.get_running_loop().call_later(HANGS, proxy.thaw)
    yield


def create(number: int) -> user_service_pb2.CreateUserRequest:
    """Make a request that is right."""
    return user_service_pb2.CreateUserRequest(email=f"{PLANTED}{number}@example.com", name=PLANTED)


async def ended(call: Awaitable[Any]) -> None:
    """Wait for a call, however it ends."""
    with suppress(grpc.aio.AioRpcError):
        await call


@pytest.fixture
def mysql_proxy(mysql_module_database: MySQLDatabase) -> Iterator[tuple[MySQLDatabase, Proxy]]:
    """The database behind a proxy."""
    with proxy_to(mysql_module_database.host, mysql_module_database.port) as proxy:
        yield replace(mysql_module_database, host="127.0.0.1", port=proxy.listens), proxy


async def test_slow_statements_of_both_ways_to_mysql_are_logged_and_counted(
    log: Log, mysql_proxy: tuple[MySQLDatabase, Proxy]
) -> None:
    """Those of SQLAlchemy and the point reads past it, by name and with sizes; quick ones are not there."""
    database, proxy = mysql_proxy
    port, metrics = metrics_port()
    with users_service(database, None, slow_query_ms=SLOW_MS, **metrics) as served:
        async with served.aio_channel() as channel:
            users = Stubs.on(channel).users
            by_email = user_service_pb2.GetUserRequest(email=f"{PLANTED}@example.com")
            await ended(users.GetUser(by_email))
            await users.CreateUser(create(1))
            async with hanging(proxy):
                await ended(users.GetUser(by_email))
            async with hanging(proxy):
                await users.CreateUser(create(2))
        found = await scrape(port)
    read = log.slowest("users.read_by_email")
    assert HANGS * 1_000 / 2 < read["ms"] < HANGS * 1_000 + 10_000
    assert (read["rows"], read["parameters"], read["level"]) == (0, ["str[19]"], "warning")
    insert = log.slowest("users.insert_user")
    assert insert["rows"] == 1
    assert len(insert["parameters"]) > 3
    reads = len(log.slow("users.read_by_email"))
    assert found.value("vibework_slow_statements_total", statement="users.read_by_email") == reads
    assert PLANTED not in log.text


async def test_a_statement_that_was_given_up_is_logged_as_such(
    log: Log, mysql_proxy: tuple[MySQLDatabase, Proxy]
) -> None:
    """The slowest of all never come to an end: they are told when their time is over."""
    database, proxy = mysql_proxy
    with users_service(database, slow_query_ms=SLOW_MS, mysql_query_timeout_ms=2_000) as served:
        async with served.aio_channel() as channel:
            users = Stubs.on(channel).users
            listed = user_service_pb2.ListUsersRequest()
            by_email = user_service_pb2.GetUserRequest(email=f"{PLANTED}@example.com")
            await asyncio.gather(users.ListUsers(listed), ended(users.GetUser(by_email)))
            proxy.freeze()
            await asyncio.gather(ended(users.ListUsers(listed)), ended(users.GetUser(by_email)))
            proxy.thaw()
    # The last ones: on a busy machine the first calls may have been slow, too.
    assert log.slow("users.list_users")[-1]["failure"] == "CancelledError"
    assert log.slow("users.read_by_email")[-1]["failure"] == "CancelledError"
    assert PLANTED not in log.text


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_slow_statements_of_both_drivers_of_mongodb_are_logged_and_counted(
    log: Log, mongodb_module_database: MongoDatabase, driver: str
) -> None:
    """Reads and writes, by name and with sizes; neither values nor the keys of a caller's own data."""
    port, metrics = metrics_port()
    address = mongodb_module_database.url.split("/")[2].rpartition("@")[2].split(",")[0]
    host, _, number = address.partition(":")
    with proxy_to(host, int(number)) as proxy:
        url = mongodb_module_database.url.replace(address, f"127.0.0.1:{proxy.listens}")
        direct = url + ("&" if "?" in url else "?") + "directConnection=true"
        settings = metrics | {"mongodb_url": direct, "slow_query_ms": SLOW_MS, "mongodb_driver": driver}
        async with running_notifications(mongodb_module_database, **settings) as running:
            data = Struct()
            data.update({PLANTED: PLANTED})
            create = notifications_pb2.CreateNotificationRequest(
                user_id=f"user_{PLANTED}",
                content=notification_pb2.NotificationContent(
                    type=notification_pb2.NOTIFICATION_TYPE_IN_APP, title=PLANTED, message=PLANTED, data=data
                ),
            )
            listed = notifications_pb2.ListNotificationsRequest(user_id=f"user_{PLANTED}", page_size=50)
            await running.feed.CreateNotification(create)
            async with hanging(proxy):
                await running.feed.CreateNotification(create)
            async with hanging(proxy):
                await running.feed.ListNotifications(listed)
            found = await scrape(port)
    insert = log.slowest("feed.insert_each")
    assert insert["parameters"] == {"documents": "list[1]"}
    page = log.slowest("feed.page")
    assert page["parameters"]["find"] == "str[13]"
    assert page["parameters"]["filter"].startswith("document[")
    assert found.value("vibework_slow_statements_total", statement="feed.page") == len(log.slow("feed.page"))
    assert PLANTED not in log.text


async def test_nothing_is_slow_where_that_is_switched_off(log: Log, mysql_proxy: tuple[MySQLDatabase, Proxy]) -> None:
    """SLOW_QUERY_MS=0 logs nothing."""
    database, proxy = mysql_proxy
    with users_service(database, slow_query_ms=0) as served:
        async with served.aio_channel() as channel:
            users = Stubs.on(channel).users
            await users.ListUsers(user_service_pb2.ListUsersRequest())
            async with hanging(proxy):
                await users.ListUsers(user_service_pb2.ListUsersRequest())
    assert "slow statement" not in log.text
