"""Asking the users service whether a recipient exists: together, within limits, remembered for a while."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.users.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from chassis.peers import breaker
from notifications_service.recipients import check
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_MS, until
from tests.harness.users import Stubs, UsersServer, metadata, reason, retry_seconds, violations
from tests.integration.notifications.building import content, create, items

# How long a no is remembered.
UNKNOWN_MS = 200


class Users(user_service_pb2_grpc.UserServiceServicer):
    """A users service that knows whom it is told, and does what it is told."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.asked: list[list[str]] = []
        self.masks: set[str] = set()
        self.refuse: grpc.StatusCode | None = None
        self.pause: Callable[[], Awaitable[Any]] = lambda: asyncio.sleep(0)

    async def BatchGetUsers(
        self, request: user_service_pb2.BatchGetUsersRequest, context: Any
    ) -> user_service_pb2.BatchGetUsersResponse:
        """Answer who exists."""
        self.asked.append(list(request.ids))
        self.masks.update(request.read_mask.paths)
        if self.refuse is not None:
            await context.abort(self.refuse, "told to refuse")
        found = [user_pb2.User(id=key) for key in request.ids if key in self.known]
        missing = [key for key in request.ids if key not in self.known]
        await self.pause()
        return user_service_pb2.BatchGetUsersResponse(users=found, missing_ids=missing)


@pytest.fixture
async def users() -> AsyncIterator[Users]:
    """A users service on a real port; its address is ``users.address``."""
    server, servicer = grpc.aio.server(), Users()  # type: ignore[abstract]
    user_service_pb2_grpc.add_UserServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    await server.start()
    yield servicer
    await server.stop(0)


class Clock:
    """The time by which answers are remembered; it stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stand in for the clock of what is remembered, and of how long a failing service is left alone."""
    clock = Clock()
    monkeypatch.setattr(check, "time", clock)
    monkeypatch.setattr(breaker, "monotonic", clock.monotonic)
    return clock


@asynccontextmanager
async def asking(users: Any, database: MongoDatabase, **settings: Any) -> AsyncIterator[Notifications]:
    """Run a notifications server that asks the users service."""
    asked: dict[str, Any] = {"recipient_check": "required", "users_address": users.address}
    async with running_notifications(database, **(asked | settings)) as running:
        yield running


@pytest.fixture
async def notifications(users: Any, mongodb_module_database: MongoDatabase) -> AsyncIterator[Notifications]:
    """The notifications server that asks it, with patience for an answer."""
    patience = {"recipient_check_timeout_ms": PATIENCE_MS, "recipient_unknown_ms": UNKNOWN_MS}
    async with asking(users, mongodb_module_database, **patience) as running:
        yield running


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_unknown_recipient_is_refused(notifications: Notifications, users: Users, user_id: str) -> None:
    """NOT_FOUND names the field, in a batch each of them, and nothing is stored; only ids are asked for."""
    error = await refusal(notifications.feed.CreateNotification(create(user_id)))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert (reason(error), violations(error)) == ("RECIPIENT_NOT_FOUND", ["user_id"])
    assert metadata(error) == {"id": user_id}
    users.known.add(f"{user_id}_known")
    batch = items((f"{user_id}_a", content()), (f"{user_id}_known", content()), (f"{user_id}_b", content()))
    error = await refusal(notifications.feed.BatchCreateNotifications(batch))
    assert (reason(error), metadata(error)) == ("RECIPIENT_NOT_FOUND", {})
    assert violations(error) == ["items.items[0].user_id", "items.items[2].user_id"]
    counted = await notifications.feed.CountNotifications(service.CountNotificationsRequest(user_id=f"{user_id}_known"))
    assert counted.counts == [0]
    assert users.masks == {"id"}


async def test_answers_are_remembered_for_a_while(
    clock: Clock, notifications: Notifications, users: Users, user_id: str
) -> None:
    """A yes serves later calls; a no is asked again soon, so that a new user can be written to."""
    await refusal(notifications.feed.CreateNotification(create(user_id)))
    users.known.add(user_id)
    await refusal(notifications.feed.CreateNotification(create(user_id)))
    assert len(users.asked) == 1
    clock.now += (UNKNOWN_MS + 1) / 1000
    for _ in range(5):
        await notifications.feed.CreateNotification(create(user_id))
    assert len(users.asked) == 2


async def test_calls_at_once_are_asked_together(notifications: Notifications, users: Users, user_id: str) -> None:
    """Sixty recipients at the same time cost a few calls, not sixty."""
    users.known |= {f"{user_id}_{number}" for number in range(60)}
    arrived = asyncio.Event()

    async def pause() -> None:
        # Nobody is answered before all have come.
        in_flight = notifications.server.in_flight
        await until(lambda: arrived.is_set() or in_flight.total == 60, "all calls")
        arrived.set()

    users.pause = pause
    await asyncio.gather(*(notifications.feed.CreateNotification(create(key)) for key in users.known))
    assert sum(len(ids) for ids in users.asked) == 60
    assert len(users.asked) < 20


async def test_a_deleted_user_is_forgotten_at_once(notifications: Notifications, users: Users, user_id: str) -> None:
    """After DeleteUserNotifications the users service is asked anew; an answer from before does not count."""
    users.known.add(user_id)
    await notifications.feed.CreateNotification(create(user_id))
    users.known.discard(user_id)
    delete = service.DeleteUserNotificationsRequest(user_id=user_id)
    assert (await notifications.feed.DeleteUserNotifications(delete)).deleted_count == 1
    assert reason(await refusal(notifications.feed.CreateNotification(create(user_id)))) == "RECIPIENT_NOT_FOUND"


async def test_an_answer_on_its_way_while_a_user_is_deleted_is_not_remembered(
    notifications: Notifications, users: Users, user_id: str
) -> None:
    """The yes of a moment before the deletion must not outlive it in the cache."""
    users.known.add(user_id)
    answering, go_on = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        answering.set()
        await go_on.wait()

    users.pause = pause
    early = asyncio.ensure_future(notifications.feed.CreateNotification(create(user_id)))
    await answering.wait()
    users.known.discard(user_id)
    await notifications.feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    go_on.set()
    await early
    assert reason(await refusal(notifications.feed.CreateNotification(create(user_id)))) == "RECIPIENT_NOT_FOUND"


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "denies"])
async def test_an_absent_users_service_is_unavailable(
    users: Any, mongodb_module_database: MongoDatabase, user_id: str, trouble: str
) -> None:
    """Where it cannot say whether the recipient exists the caller is told to come again, and in time."""
    users.known.add(user_id)
    timeout = PATIENCE_MS
    if trouble == "hangs":
        users.pause, timeout = asyncio.Event().wait, 300
    else:
        users.refuse = grpc.StatusCode.UNAVAILABLE if trouble == "refuses" else grpc.StatusCode.PERMISSION_DENIED
    async with asking(users, mongodb_module_database, recipient_check_timeout_ms=timeout) as notifications:
        error = await refusal(notifications.feed.CreateNotification(create(user_id)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(error) == "USERS_SERVICE_UNAVAILABLE"
    assert retry_seconds(error)


async def test_a_failing_users_service_is_left_alone_for_a_while(
    clock: Clock, notifications: Notifications, users: Users, user_id: str
) -> None:
    """After five failures in a row the circuit is open: calls end at once and none gets there."""
    users.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED
    for _ in range(5):
        await refusal(notifications.feed.CreateNotification(create(user_id)))
    asked = len(users.asked)
    assert asked == 5
    error = await refusal(notifications.feed.CreateNotification(create(user_id)))
    assert reason(error) == "USERS_SERVICE_UNAVAILABLE"
    assert len(users.asked) == asked


async def test_by_setting_a_notification_is_accepted_while_nobody_can_be_asked(
    users: Any, mongodb_module_database: MongoDatabase, user_id: str
) -> None:
    """accept-when-unavailable stores it then, and still refuses whom the users service does not know."""
    settings = {"recipient_check": "accept-when-unavailable", "recipient_check_timeout_ms": PATIENCE_MS}
    async with asking(users, mongodb_module_database, **settings) as running:
        assert reason(await refusal(running.feed.CreateNotification(create(user_id)))) == "RECIPIENT_NOT_FOUND"
        users.refuse = grpc.StatusCode.UNAVAILABLE
        created = await running.feed.CreateNotification(create(f"{user_id}_unasked"))
        assert created.notification.user_id == f"{user_id}_unasked"


async def test_a_repeat_needs_no_users_service(notifications: Notifications, users: Users, user_id: str) -> None:
    """A request id that was answered is answered again, though the user is gone and nobody can be asked."""
    users.known.add(user_id)
    request = create(user_id, request_id=str(uuid.uuid4()))
    first = await notifications.feed.CreateNotification(request)
    users.refuse = grpc.StatusCode.UNAVAILABLE
    await notifications.feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    assert await notifications.feed.CreateNotification(request) == first


async def test_the_refusal_of_a_recipient_is_not_remembered_by_request_id(
    clock: Clock, notifications: Notifications, users: Users, user_id: str
) -> None:
    """An id whose call failed can be used again once the reason is gone."""
    request = create(user_id, request_id=str(uuid.uuid4()))
    await refusal(notifications.feed.CreateNotification(request))
    users.known.add(user_id)
    clock.now += (UNKNOWN_MS + 1) / 1000
    assert (await notifications.feed.CreateNotification(request)).notification.user_id == user_id


async def test_the_users_service_itself_is_asked(
    users_server: UsersServer, users_channel: grpc.aio.Channel, mongodb_module_database: MongoDatabase
) -> None:
    """With the real one: a user who signed up can be written to, and one who did not cannot."""
    created = await Stubs.on(users_channel).users.CreateUser(
        user_service_pb2.CreateUserRequest(email=f"{uuid.uuid4()}@example.com", name="Ann")
    )
    async with asking(users_server, mongodb_module_database, recipient_check_timeout_ms=PATIENCE_MS) as running:
        answer = await running.feed.CreateNotification(create(created.user.id))
        assert answer.notification.user_id == created.user.id
        error = await refusal(running.feed.CreateNotification(create("user_00000000000000000000000000")))
        assert reason(error) == "RECIPIENT_NOT_FOUND"


@pytest.mark.parametrize("request_id", ["", "again"])
async def test_a_batch_may_skip_whom_nobody_knows(
    notifications: Notifications, users: Users, user_id: str, request_id: str
) -> None:
    """The others get theirs, and each stranger is named once, in the order of the request; a repeat says the same."""
    known, strangers = [f"{user_id}_{n}" for n in range(3)], [f"{user_id}_x{n}" for n in range(2)]
    users.known.update(known)
    asked = [known[0], strangers[1], known[1], strangers[0], known[2]]
    batch = items(*((who, content()) for who in (*asked, strangers[1])))
    batch.skip_unknown, batch.request_id = True, str(uuid.uuid4()) if request_id else ""
    created = await notifications.feed.BatchCreateNotifications(batch)
    assert [item.user_id for item in created.notifications] == known
    assert list(created.unknown_user_ids) == [strangers[1], strangers[0]]
    if request_id:
        assert await notifications.feed.BatchCreateNotifications(batch) == created
    batch.skip_unknown, batch.request_id = False, ""
    assert reason(await refusal(notifications.feed.BatchCreateNotifications(batch))) == "RECIPIENT_NOT_FOUND"


async def test_a_batch_for_strangers_alone_creates_nothing(notifications: Notifications, user_id: str) -> None:
    """It is no error where they may be skipped, and its repeat has the same answer."""
    fan_out = service.BatchCreateNotificationsRequest.FanOut(user_ids=[user_id], content=content())
    batch = service.BatchCreateNotificationsRequest(fan_out=fan_out, skip_unknown=True, request_id=str(uuid.uuid4()))
    for _ in range(2):
        answer = await notifications.feed.BatchCreateNotifications(batch)
        assert (list(answer.notifications), list(answer.unknown_user_ids)) == ([], [user_id])
