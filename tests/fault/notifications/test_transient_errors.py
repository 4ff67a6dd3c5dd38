"""Errors of MongoDB that pass, by each of its numbers and for each kind of call: callers may always try again.

The server itself raises them (`failCommand`), as it would in an election or while it is overloaded.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
import pymongo
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.mongodb.driver_errors import OUT_OF_TIME, TRANSIENT
from script.local.mongodb import LocalMongoDB
from tests.fault.notifications.conftest import failing
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_MS
from tests.harness.users import reason, retry_seconds
from tests.integration.notifications.building import content, create, items

USER: Final = "user_transient"
# Every command that a call may send.
COMMANDS: Final = [
    "find",
    "aggregate",
    "getMore",
    "insert",
    "update",
    "delete",
    "findAndModify",
    "commitTransaction",
    "count",
    "distinct",
]
READS: Final = ["find", "aggregate"]

Call = Callable[[Notifications, str], Awaitable[Any]]


async def watched(running: Notifications) -> None:
    """Watch with a snapshot until all of it is there."""
    request = service.WatchNotificationsRequest(
        user_id=USER, snapshot=service.WatchNotificationsRequest.Snapshot(limit=1)
    )
    stream: Any = running.feed.WatchNotifications(request)
    async with aclosing(stream.__aiter__()) as events:
        async for event in events:
            if event.HasField("snapshot_end"):
                break
    stream.cancel()


def of_list(**fields: Any) -> Call:
    """List the user's notifications."""
    return lambda running, _: running.feed.ListNotifications(service.ListNotificationsRequest(user_id=USER, **fields))


CALLS: Final[dict[str, Call]] = {
    "get": lambda running, key: running.feed.GetNotification(service.GetNotificationRequest(id=key)),
    "list": of_list(),
    "list of a state": of_list(filter=service.NotificationFilter(read=False)),
    "list with total": of_list(include_total=True),
    "count": lambda running, _: running.feed.CountNotifications(service.CountNotificationsRequest(user_id=USER)),
    "stats": lambda running, _: running.feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=USER)),
    "create": lambda running, _: running.feed.CreateNotification(create(USER)),
    "create once": lambda running, _: running.feed.CreateNotification(create(USER, request_id=str(uuid.uuid4()))),
    "batch": lambda running, _: running.feed.BatchCreateNotifications(items((USER, content()), (USER, content()))),
    "update": lambda running, key: running.feed.UpdateNotification(
        service.UpdateNotificationRequest(
            notification=pb.Notification(id=key, title="other"), update_mask=FieldMask(paths=["title"])
        )
    ),
    "mark": lambda running, key: running.feed.MarkNotifications(
        service.MarkNotificationsRequest(user_id=USER, ids=[key], mark=service.NOTIFICATION_MARK_READ)
    ),
    "mark all": lambda running, _: running.feed.MarkAllNotifications(
        service.MarkAllNotificationsRequest(user_id=USER, mark=service.NOTIFICATION_MARK_READ)
    ),
    "delete": lambda running, key: running.feed.DeleteNotification(service.DeleteNotificationRequest(id=key)),
    "delete of user": lambda running, _: running.feed.DeleteUserNotifications(
        service.DeleteUserNotificationsRequest(user_id=USER)
    ),
}
ONLY_READ: Final = ("get", "list", "list of a state", "list with total", "count", "stats")
# Numbers of versions after 6.0, or that come with more than a number: no server can be told to raise them.
NOT_RAISED: Final = frozenset({150, 249, 343, 384, 13_388, 402, 406, 407, 412, 433, 449})
RAISED: Final = sorted(TRANSIENT - NOT_RAISED)
# One of each kind, for every run; the full run takes all of them.
NUMBERS = pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([6, 24, 64, 91, 202, 9_001], id="some"),
        pytest.param(RAISED, id="all", marks=pytest.mark.long),
    ],
)
# With this one the server closes the connection.
CLOSING: Final = frozenset({303})
UNAVAILABLE: Final = ("UNAVAILABLE", "DATABASE_UNAVAILABLE", True)


@pytest.fixture(params=["pymongo", "motor"])
def settings(request: pytest.FixtureRequest, mongod: LocalMongoDB, database: MongoDatabase) -> dict[str, Any]:
    """The settings of a server under each driver."""
    # After an error of an election the driver waits for the next hello of the server, in which nothing has changed.
    url = f"{database.url}&heartbeatFrequencyMS=500"
    return {"mongodb_url": url, "mongodb_driver": request.param}


@pytest.fixture
async def running(settings: dict[str, Any], database: MongoDatabase) -> AsyncIterator[Notifications]:
    """A server whose calls end soon, each with a connection at once: none waits for another one."""
    limits = settings | {"mongodb_query_timeout_ms": 1_500, "mongodb_connection_pool_size": 4 * len(CALLS)}
    async with running_notifications(database, **limits) as served:
        yield served


@pytest.fixture
async def patient(settings: dict[str, Any], database: MongoDatabase) -> AsyncIterator[Notifications]:
    """A server whose calls have all the time that they need."""
    limits = settings | {"mongodb_query_timeout_ms": PATIENCE_MS}
    async with running_notifications(database, **limits) as served:
        yield served


async def refusal(call: Awaitable[Any]) -> tuple[str, str, bool]:
    """Return code and reason of the error that a call ends with, and whether it says when to come back."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, reason(error), bool(retry_seconds(error))
    return "OK", "", False


async def told_at_once(running: Notifications, key: str) -> dict[str, tuple[str, str, bool]]:
    """Make a call of each kind, all at once, and return what each is told."""
    answers = await asyncio.gather(*(refusal(call(running, key)) for call in CALLS.values()))
    return dict(zip(CALLS, answers, strict=True))


@pytest.mark.long
@NUMBERS
async def test_every_error_that_passes_is_told_as_such(
    running: Notifications, mongod: LocalMongoDB, numbers: list[int]
) -> None:
    """Whatever the number and the call, it is UNAVAILABLE with a time to come back, and not a defect of ours."""
    key = (await running.feed.CreateNotification(create(USER))).notification.id
    wrong: dict[tuple[str, int], Any] = {}
    for code in numbers:
        async with failing(mongod, COMMANDS, errorCode=code):
            answers = await told_at_once(running, key)
        wrong |= {(name, code): told for name, told in answers.items() if told != UNAVAILABLE}
    assert wrong == {}
    assert (await running.feed.GetNotification(service.GetNotificationRequest(id=key))).notification.id == key


@NUMBERS
@pytest.mark.long
async def test_a_read_is_sent_once_more(patient: Notifications, mongod: LocalMongoDB, numbers: list[int]) -> None:
    """An error that passes costs the caller of a read nothing, whether the driver repeats such reads or not."""
    key = (await patient.feed.CreateNotification(create(USER))).notification.id
    wrong: dict[tuple[str, int], Any] = {}
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        for code in numbers:
            for name in ONLY_READ:
                data = {"failCommands": READS, "appName": "notifications-service", "errorCode": code}
                client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
                told = await refusal(CALLS[name](patient, key))
                if told[0] != "OK":
                    wrong[name, code] = told
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    assert wrong == {}


async def test_a_command_whose_time_was_over_is_told_as_that(patient: Notifications, mongod: LocalMongoDB) -> None:
    """The server answers, and would need as long again: it is not away, and nobody is told to come back at once."""
    key = (await patient.feed.CreateNotification(create(USER))).notification.id
    for code in OUT_OF_TIME:
        async with failing(mongod, COMMANDS, errorCode=code):
            answers = await told_at_once(patient, key)
        assert answers == dict.fromkeys(CALLS, ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", False))


@pytest.mark.parametrize("code", [24, 91, 202, 11_601])
async def test_a_watch_begins_once_the_error_has_passed(
    patient: Notifications, mongod: LocalMongoDB, code: int
) -> None:
    """Watchers wait for the shared stream, and a read of their snapshot is sent once more."""
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        data = {"failCommands": READS, "appName": "notifications-service", "errorCode": code}
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
        await watched(patient)


@pytest.mark.long
async def test_an_unknown_error_that_the_server_says_will_pass(running: Notifications, mongod: LocalMongoDB) -> None:
    """Numbers of later versions are told by the labels that come with them."""
    key = (await running.feed.CreateNotification(create(USER))).notification.id
    later = {"errorCode": 9_999, "errorLabels": ["RetryableError", "SystemOverloadedError"]}
    async with failing(mongod, COMMANDS, **later):
        assert await refusal(CALLS["mark"](running, key)) == UNAVAILABLE
    async with failing(mongod, COMMANDS, errorCode=9_999):
        assert (await refusal(CALLS["mark"](running, key)))[0] == "INTERNAL"


@pytest.mark.sampled(12)
@pytest.mark.parametrize("code", [code for code in (*RAISED, *OUT_OF_TIME) if code not in CLOSING])
def test_the_server_knows_these_numbers(mongod: LocalMongoDB, code: int) -> None:
    """A number that no server answers would hide a mistake."""
    # Some of them say that the server goes: the driver looks for it anew, by itself every ten seconds.
    with pymongo.MongoClient[dict[str, Any]](mongod.url, appname="asked", heartbeatFrequencyMS=500) as client:
        data = {"failCommands": ["find"], "appName": "asked", "errorCode": code}
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 2}, "data": data})
        with pytest.raises(pymongo.errors.PyMongoError) as caught:
            client.away.command({"find": "notifications"})
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    details: Any = caught.value.details  # type: ignore[attr-defined]
    assert details["code"] == code
    assert not details["codeName"].startswith(("Location", "OBSOLETE"))
