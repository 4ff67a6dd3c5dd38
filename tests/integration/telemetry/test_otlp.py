"""Traces and metrics over OTLP, as a collector sees them."""

from __future__ import annotations

import asyncio
import itertools
import time
from io import BytesIO
from typing import Any

import grpc
import orjson
import pytest
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import session_service_pb2, user_pb2, user_service_pb2

from chassis.context.statements import UNNAMED
from chassis.logs import logging
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import running_notifications
from tests.harness.patience import PATIENCE_MS, PATIENCE_SECONDS, until
from tests.harness.statements import holding
from tests.harness.users import BlockingStubs, Stubs, users_service
from tests.integration.telemetry.collector import Collector, Span

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
USERS, NOTIFICATIONS = "users-service", "notifications-service"
SERVER, CLIENT = 2, 3

_numbers = itertools.count(1)


def create(user_id: str) -> notifications_pb2.CreateNotificationRequest:
    """Make a request that is right."""
    content = notification_pb2.NotificationContent(
        type=notification_pb2.NOTIFICATION_TYPE_IN_APP, title="Welcome", message="Hello"
    )
    return notifications_pb2.CreateNotificationRequest(user_id=user_id, content=content)


async def new_user(address: str) -> str:
    """Make a user and return its id."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = user_service_pb2.CreateUserRequest(email=f"traced{next(_numbers)}@example.com")
        return (await Stubs.on(channel).users.CreateUser(request)).user.id


def chain(collector: Collector, last: Span) -> list[tuple[str, str]]:
    """Return services and names of a span and those above it, the topmost first."""
    found, spans = [last], {span.id: span for span in collector.spans}
    while found[0].parent in spans:
        found.insert(0, spans[found[0].parent])
    return [(span.service, span.name) for span in found]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_one_trace_leads_from_the_caller_to_the_rows_of_both_databases(
    collector: Collector, mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase, driver: str
) -> None:
    """Whoever looks for the cause of one slow call sees both services and every statement in one trace."""
    with users_service(mysql_module_database) as served:
        settings: dict[str, Any] = {
            "recipient_check": "required",
            "recipient_check_timeout_ms": PATIENCE_MS,
            "users_address": served.address,
            "mongodb_driver": driver,
        }
        async with running_notifications(mongodb_module_database, **settings) as running:
            user_id = await new_user(served.address)
            await running.feed.CreateNotification(create(user_id), metadata=(("traceparent", TRACEPARENT),))
    mine = [span for span in collector.spans if span.trace == TRACE]
    (statement,) = [span for span in mine if span.service == USERS and span.name == "users.read_by_id"]
    asked = "vibework.users.v1.UserService/BatchGetUsers"
    created = "vibework.notifications.v1.NotificationService/CreateNotification"
    above = [(NOTIFICATIONS, created), (NOTIFICATIONS, asked), (USERS, asked)]
    assert chain(collector, statement) == [*above, (USERS, "users.read_by_id")]
    (command,) = [span for span in mine if span.name == "feed.insert_each"]
    assert chain(collector, command) == [(NOTIFICATIONS, created), (NOTIFICATIONS, "feed.insert_each")]
    (first,) = [span for span in mine if span.name == created]
    assert (first.parent, first.kind) == (CALLER, SERVER)
    assert first.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": created,
        "rpc.response.status_code": "OK",
    }
    assert statement.kind == command.kind == CLIENT
    assert statement.attributes["db.system.name"] == "mysql"
    assert statement.attributes["db.operation.name"] == "SELECT"
    assert statement.attributes["db.namespace"] == mysql_module_database.name
    assert command.attributes["db.system.name"] == "mongodb"
    assert command.attributes["db.collection.name"] == "notifications"
    assert command.attributes["db.operation.name"] == "insert"
    assert UNNAMED not in {span.name for span in collector.spans}


async def test_statements_of_transactions_are_spans_of_their_call(
    collector: Collector, mysql_module_database: MySQLDatabase
) -> None:
    """A sign-up shows each of its statements by name, and its commit, but none of its values."""
    with users_service(mysql_module_database) as served:
        async with served.aio_channel() as channel:
            request = session_service_pb2.SignUpRequest(email="planted@example.com", password="planted-password")
            await Stubs.on(channel).sessions.SignUp(request, metadata=(("traceparent", TRACEPARENT),))
    mine = [span for span in collector.spans if span.trace == TRACE]
    names = {"users.insert_user", "credentials.store", "sessions.insert_session", "mysql.commit"}
    assert names <= {span.name for span in mine}
    assert UNNAMED not in {span.name for span in mine}
    assert "planted" not in repr(collector.spans)


async def test_a_sign_in_asks_its_database_six_times(
    collector: Collector, mysql_module_database: MySQLDatabase
) -> None:
    """Each is a round trip, whose time is lost to hashing; what goes past SQLAlchemy is in the trace, too."""
    with users_service(mysql_module_database) as served:
        async with served.aio_channel() as channel:
            sessions, metadata = Stubs.on(channel).sessions, (("traceparent", TRACEPARENT),)
            email, password = "signing-in@example.com", "planted-password"
            await sessions.SignUp(session_service_pb2.SignUpRequest(email=email, password=password))
            client = user_pb2.ClientContext(ip_address="192.0.2.1")
            request = session_service_pb2.SignInRequest(email=email, password=password, client=client)
            await sessions.SignIn(request, metadata=metadata)
    mine = [span for span in collector.spans if span.trace == TRACE and span.kind == CLIENT]
    assert [span.name for span in mine] == [
        "attempts.increment",
        "credentials.read_by_email",
        "mysql.commit",
        "sessions.insert_guarded",
        "attempts.settle",
        "mysql.commit",
    ]
    assert "planted" not in repr(collector.spans)


async def test_errors_are_marked_where_they_are_faults(
    collector: Collector, mysql_module_database: MySQLDatabase
) -> None:
    """A user that is not there is an answer; a database that is away is a fault."""
    missing = user_service_pb2.GetUserRequest(id="user_01jd8k2v5rf2xbq0m3c9w7n4ht")
    with users_service(mysql_module_database) as served, served.channel() as channel, pytest.raises(grpc.RpcError):
        BlockingStubs.on(channel).users.GetUser(missing)
    away = users_service(mysql_module_database, mysql_port=free_port())
    with away as served, served.channel() as channel, pytest.raises(grpc.RpcError):
        BlockingStubs.on(channel).users.GetUser(missing)
    name = "vibework.users.v1.UserService/GetUser"
    found = {span.attributes["rpc.response.status_code"]: span for span in collector.named(name)}
    assert (found["NOT_FOUND"].failed, found["NOT_FOUND"].attributes["error.type"]) == (False, "USER_NOT_FOUND")
    assert (found["UNAVAILABLE"].failed, found["UNAVAILABLE"].attributes["error.type"]) == (
        True,
        "DATABASE_UNAVAILABLE",
    )


async def test_a_statement_that_serves_several_calls_links_to_all_of_them(
    collector: Collector, mysql_module_database: MySQLDatabase
) -> None:
    """Reads that share a statement are found from each call: one is its parent, the others are linked."""
    with users_service(mysql_module_database) as served:
        ids = [f"user_01jd8k2v5rf2xbq0m3c9w7n4{number:02}" for number in range(8)]
        async with served.aio_channel() as channel:
            stubs = Stubs.on(channel)
            # The first read waits for the table, and the others gather behind it.
            with holding(mysql_module_database, "LOCK TABLES users WRITE"):
                calls = [
                    asyncio.ensure_future(stubs.users.GetUser(user_service_pb2.GetUserRequest(id=id_))) for id_ in ids
                ]
                server = served.server
                assert server is not None
                await until(lambda: server.in_flight.total == len(ids), "all calls")
            await asyncio.gather(*calls, return_exceptions=True)
    served_calls = {span.id for span in collector.named("vibework.users.v1.UserService/GetUser")}
    reads = collector.named("users.read_by_id")
    assert len(served_calls) == len(ids)
    assert any(span.links for span in reads)
    assert {span.parent for span in reads} | {link for span in reads for link in span.links} == served_calls


async def test_the_metrics_are_sent_too(collector: Collector, mysql_module_database: MySQLDatabase) -> None:
    """The same numbers arrive that Prometheus reads, and the last ones at the stop."""
    with users_service(mysql_module_database) as served:
        async with served.aio_channel() as channel:
            await collector.until(lambda: (USERS, "vibework_serving") in collector.metrics)
            for _ in range(3):
                await Stubs.on(channel).users.ListUsers(user_service_pb2.ListUsersRequest())
    assert collector.metrics[USERS, "grpc_server_handled_total"] == 3
    assert collector.metrics[USERS, "grpc_server_handling_seconds"] == 3
    assert collector.metrics[USERS, "vibework_pool_limit"] == served.settings.mysql_pool_max_connections


async def test_the_standard_variables_describe_the_process(
    collector: Collector, mysql_module_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and attributes given by the environment count for more than ours; samplers are the SDK's."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "accounts")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with users_service(mysql_module_database) as served, served.channel() as channel:
        BlockingStubs.on(channel).users.ListUsers(user_service_pb2.ListUsersRequest())
    described = collector.resources[-1]
    assert described["service.name"] == "accounts"
    assert described["service.version"] == "9"
    assert described["deployment.environment.name"] == "test"
    assert "service.instance.id" in described
    assert collector.spans == []


async def test_the_access_log_names_the_trace(collector: Collector, mysql_module_database: MySQLDatabase) -> None:
    """From a line of the log to its trace, and back."""
    stream = BytesIO()
    sink = logging.configure("info", "json", stream)
    with users_service(mysql_module_database) as served:
        async with served.aio_channel() as channel:
            request = user_service_pb2.ListUsersRequest()
            await Stubs.on(channel).users.ListUsers(request, metadata=(("traceparent", TRACEPARENT),))

        def logged() -> bool:
            sink.flush()
            return b'"rpc"' in stream.getvalue()

        await until(logged, "the line of the call")
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert line["trace_id"] == TRACE


@pytest.mark.long
async def test_a_dead_collector_slows_neither_calls_nor_the_stop(
    mysql_module_database: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What watches the services must not take them down: spans are lost instead."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    # Whoever waited for it would wait so long each time.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    with users_service(mysql_module_database) as served:
        async with served.aio_channel() as channel, asyncio.timeout(PATIENCE_SECONDS):
            stubs = Stubs.on(channel)
            for _ in range(50):
                await stubs.users.ListUsers(user_service_pb2.ListUsersRequest())
        stopping = time.monotonic()
    assert time.monotonic() - stopping < PATIENCE_SECONDS
