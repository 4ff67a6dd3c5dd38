"""ExportUser over the wire: all that the users side keeps of a person, and an end that only a whole export has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_service_pb2, notification_service_pb2, preference_service_pb2
from vibework.notifications.v1.delivery_pb2 import Delivery, Suppression
from vibework.notifications.v1.delivery_service_pb2_grpc import (
    DeliveryServiceServicer,
    add_DeliveryServiceServicer_to_server,
)
from vibework.notifications.v1.notification_pb2 import Notification
from vibework.notifications.v1.notification_service_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from vibework.notifications.v1.preference_service_pb2_grpc import (
    PreferenceServiceServicer,
    add_PreferenceServiceServicer_to_server,
)
from vibework.notifications.v1.preferences_pb2 import Preferences, PushSubscription
from vibework.users.v1 import session_service_pb2, user_service_pb2, verification_service_pb2

from chassis.serving.registration import partly_built
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.imports.coming_in import account, imported, incoming, session
from tests.integration.users.ways_to_sign_in import link, new_session, new_user, provider_account
from tests.unit.chassis.raw_connection import connected
from users_service.exports import servicer as exporting

EXPORT = b"/vibework.users.v1.UserService/ExportUser"


class Notifications(NotificationServiceServicer, DeliveryServiceServicer, PreferenceServiceServicer):
    """A notifications service of the test: pages of two, for one user, and a fault where one is asked for."""

    def __init__(self) -> None:
        self.count = 3
        # Of each notification.
        self.text = ""
        # Name of the RPC whose second page fails.
        self.fails = ""
        self.requests: list[Any] = []

    async def _page(self, request: Any, context: Any, response: Any, field: str, make: Any) -> Any:
        self.requests.append(request)
        start = int(request.page_token or 0)
        if start and type(request).__name__ == f"{self.fails}Request":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        for number in range(start, min(start + 2, self.count)):
            getattr(response, field).append(make(number))
        if start + 2 < self.count:
            response.next_page_token = str(start + 2)
        return response

    async def ListNotifications(self, request: Any, context: Any) -> Any:
        """The feed; the first of it was scheduled until a moment ago."""
        response = notification_service_pb2.ListNotificationsResponse()
        return await self._page(request, context, response, "notifications", lambda n: Notification(id=f"n{n}"))

    async def ListScheduledNotifications(self, request: Any, context: Any) -> Any:
        """What waits."""
        response = notification_service_pb2.ListScheduledNotificationsResponse()
        made = lambda n: Notification(id="n0" if n == 0 else f"s{n}", message=self.text)  # noqa: E731
        return await self._page(request, context, response, "notifications", made)

    async def ListDeliveries(self, request: Any, context: Any) -> Any:
        """Deliveries."""
        response = delivery_service_pb2.ListDeliveriesResponse()
        return await self._page(request, context, response, "deliveries", lambda n: Delivery(id=f"d{n}"))

    async def ListSuppressions(self, request: Any, context: Any) -> Any:
        """Suppressions."""
        response = delivery_service_pb2.ListSuppressionsResponse()
        return await self._page(request, context, response, "suppressions", lambda n: Suppression(detail=f"{n}"))

    async def ListPushSubscriptions(self, request: Any, context: Any) -> Any:
        """Subscriptions."""
        response = preference_service_pb2.ListPushSubscriptionsResponse()
        return await self._page(request, context, response, "subscriptions", lambda n: PushSubscription(id=f"p{n}"))

    async def DeleteUserNotifications(self, _request: Any, _context: Any) -> Any:
        """What the outbox asks for."""
        return notification_service_pb2.DeleteUserNotificationsResponse()

    async def GetPreferences(self, request: Any, _context: Any) -> Any:
        """Preferences that were set once."""
        found = Preferences(user_id=request.user_id, time_zone="Europe/Berlin", updated_at=Timestamp(seconds=5))
        return preference_service_pb2.GetPreferencesResponse(preferences=found)


@pytest_asyncio.fixture
async def other() -> AsyncIterator[tuple[Notifications, str]]:
    """The other service and its address."""
    servicer, server = partly_built(Notifications)(), grpc.aio.server()
    add_NotificationServiceServicer_to_server(servicer, server)
    add_DeliveryServiceServicer_to_server(servicer, server)
    add_PreferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest_asyncio.fixture
async def pair(users_server: UsersServer, other: tuple[Notifications, str]) -> AsyncIterator[Stubs]:
    """The users service on the database of the module, with the other service."""
    with users_service(users_server.database, notifications_address=other[1]) as served:
        async with served.aio_channel() as channel:
            yield Stubs.on(channel)


def export(users: Stubs, id_: str) -> Any:
    """Begin an export."""
    return users.users.ExportUser(user_service_pb2.ExportUserRequest(id=id_))


async def records_of(users: Stubs, id_: str) -> list[user_service_pb2.ExportUserResponse]:
    """Export a user."""
    return [record async for record in export(users, id_)]


async def to_the_end(call: Any) -> grpc.aio.AioRpcError | None:
    """Read what is left of an export; return the error that it ends with, None where it ends with its ``end``."""
    last = user_service_pb2.ExportUserResponse()
    try:
        while (record := await call.read()) is not grpc.aio.EOF:
            assert not last.HasField("end")
            last = record
    except grpc.aio.AioRpcError as error:
        assert not last.HasField("end")
        return error
    assert last.HasField("end")
    return None


async def with_everything(users: Stubs, token: str) -> str:
    """Make a user who has something of everything; return the id."""
    message = incoming(
        password_hash="$2b$04$abcdefghijklmnopqrstuuBqhhQhW1ZfPOVPFvgNqPWOvBP.JKXGu",
        accounts=[account(access_token="an access token")],
        sessions=[session(token)],
    )
    assert await imported(users, message) == [("IMPORTED", "", "")]
    ended, _ = await new_session(users, message.id), await new_session(users, message.id)
    await users.sessions.RevokeSession(session_service_pb2.RevokeSessionRequest(session_token=ended))
    purpose = verification_service_pb2.VERIFICATION_PURPOSE_PASSWORD_RESET
    request = verification_service_pb2.CreateVerificationRequest(
        purpose=purpose,
        identifier=message.email.upper(),
        kind=verification_service_pb2.VERIFICATION_KIND_TOKEN,
        delivery=verification_service_pb2.VERIFICATION_DELIVERY_RETURN_CODE,
    )
    await users.verifications.CreateVerification(request)
    return message.id


async def test_everything_that_both_services_keep_is_streamed(pair: Stubs, other: tuple[Notifications, str]) -> None:
    """The user first, each record once, pages to their end, what has ended included; the end counts them."""
    id_ = await with_everything(pair, "a token")
    records = await records_of(pair, id_)
    kinds = [record.WhichOneof("record") for record in records]
    assert kinds[0] == "user"
    assert kinds[-1] == "end"
    assert records[-1].end.record_count == len(records) - 1
    assert Counter(kinds) == {
        "user": 1,
        "account": 2,
        "session": 3,
        "verification": 1,
        "preferences": 1,
        "push_subscription": 3,
        # Three that are scheduled and three of the feed, one of which was moved while it was read.
        "notification": 5,
        "delivery": 3,
        "suppression": 3,
        "end": 1,
    }
    sessions = [record.session for record in records if record.HasField("session")]
    assert sorted(each.end_reason for each in sessions) == [
        session_service_pb2.SESSION_END_REASON_UNSPECIFIED,
        session_service_pb2.SESSION_END_REASON_UNSPECIFIED,
        session_service_pb2.SESSION_END_REASON_REVOKED,
    ]
    assert {each.HasField("ended_at") for each in sessions} == {True, False}
    asked = {type(request).__name__: request for request in other[0].requests}
    assert asked["ListDeliveriesRequest"].filter.user_id == asked["ListNotificationsRequest"].user_id == id_
    assert asked["ListSuppressionsRequest"].filter.email_address == records[0].user.email
    assert list(asked["ListNotificationsRequest"].read_mask.paths) == ["*"]


async def test_an_export_has_no_secret(pair: Stubs, users_server: UsersServer) -> None:
    """Neither hashes nor tokens, as they are stored or as they were given."""
    id_ = await with_everything(pair, "an imported token")
    text = "".join([json_format.MessageToJson(record) for record in await records_of(pair, id_)])
    stored = users_server.rows(
        "SELECT access_token FROM accounts WHERE user_id = %s AND access_token IS NOT NULL "
        "UNION SELECT password FROM accounts WHERE user_id = %s AND password IS NOT NULL "
        "UNION SELECT HEX(token_hash) FROM sessions WHERE user_id = %s",
        *[id_] * 3,
    )
    for secret in ("an access token", "an imported token", "$2b$", *(value for (value,) in stored)):
        assert secret not in text


async def test_pages_of_the_users_side_are_read_to_their_end(pair: Stubs) -> None:
    """Of someone with hundreds of sessions and accounts, all come, each once and only the person's own."""
    message = incoming(accounts=[account() for _ in range(50)], sessions=[session() for _ in range(100)])
    bystander = incoming(accounts=[account()], sessions=[session()])
    assert await imported(pair, message, bystander) == [("IMPORTED", "", "")] * 2
    for number in range(60):
        await link(pair, message.id, provider_account(f"more {number}"))
        await new_session(pair, message.id)
    records = await records_of(pair, message.id)
    assert len({record.account.id for record in records if record.HasField("account")}) == 110
    assert len({record.session.id for record in records if record.HasField("session")}) == 160
    owners = {record.session.user_id for record in records if record.HasField("session")}
    assert owners == {message.id}


async def test_nobody_is_exported_who_is_not_there(pair: Stubs) -> None:
    """NOT_FOUND, without any record."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await records_of(pair, "nobody")
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


@pytest.mark.parametrize(
    "rpc",
    [
        "ListNotifications",
        "ListScheduledNotifications",
        "ListDeliveries",
        "ListSuppressions",
        "ListPushSubscriptions",
    ],
)
async def test_a_fault_of_the_other_side_ends_the_export_without_its_end(
    pair: Stubs, other: tuple[Notifications, str], rpc: str
) -> None:
    """Wherever it comes, also after thousands of records: no part looks whole, and whoever asks may ask again."""
    user = await new_user(pair)
    other[0].fails = rpc
    call = export(pair, user.id)
    assert (await call.read()).user.id == user.id
    error = await to_the_end(call)
    assert error is not None
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "NOTIFICATIONS_SERVICE_UNAVAILABLE")
    other[0].fails = ""
    assert (await records_of(pair, user.id))[-1].HasField("end")


async def test_without_a_notifications_service_nothing_is_exported(users: Stubs) -> None:
    """A server that is told of none cannot know what that keeps: its part is no export."""
    user = await new_user(users)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await records_of(users, user.id)
    assert reason(caught.value) == "NOTIFICATIONS_SERVICE_UNAVAILABLE"


async def test_a_user_who_is_deleted_meanwhile_has_no_export(pair: Stubs, other: tuple[Notifications, str]) -> None:
    """What was read before and after the deletion does not belong together."""
    user = await new_user(pair)
    other[0].count, other[0].text = 50_000, "x" * 10_000
    call = export(pair, user.id)
    assert (await call.read()).user.id == user.id
    await pair.users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user.id))
    other[0].count = 3
    error = await to_the_end(call)
    assert error is not None
    assert reason(error) == "USER_NOT_FOUND"


def begun_scheduled(other: Notifications) -> int:
    """Return how many pages of scheduled notifications were read."""
    kind = notification_service_pb2.ListScheduledNotificationsRequest
    return sum(isinstance(request, kind) for request in other.requests)


@pytest.mark.long
async def test_an_export_goes_no_faster_than_its_reader(pair: Stubs, other: tuple[Notifications, str]) -> None:
    """While nobody takes records, no page is read ahead of HTTP/2's windows; afterwards all of them come."""
    user = await new_user(pair)
    other[0].count, other[0].text = 20_000, "x" * 10_000
    call = export(pair, user.id)
    await call.read()
    before = -1
    while not before == begun_scheduled(other[0]) > 0:
        before = begun_scheduled(other[0])
        await asyncio.sleep(0.5)
    # Two of 10 KB each: some megabytes are on their way.
    assert before < 2_000
    other[0].count = 4
    assert await to_the_end(call) is None


async def test_a_server_that_ends_ends_its_exports(users_server: UsersServer, other: tuple[Notifications, str]) -> None:
    """Nothing resumes an export, so its reader hears at once to begin anew elsewhere."""
    other[0].count, other[0].text = 1_000_000, "x" * 1_000
    with users_service(users_server.database, notifications_address=other[1]) as served:
        async with served.aio_channel() as channel:
            user = await new_user(Stubs.on(channel))
            call = export(Stubs.on(channel), user.id)
            await call.read()
            reading = asyncio.create_task(to_the_end(call))
            await until(lambda: len(other[0].requests) > 1, "the first page")
            # It hears of the end at its next record, however late that comes.
            served.grace = PATIENCE_SECONDS
            served.end()
            error = await reading
            assert error is not None
            assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_whoever_takes_nothing_is_counted_out(
    users_server: UsersServer, other: tuple[Notifications, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that stands still, though it answers pings, holds no place of a stream for ever."""
    taken, held = exporting.while_taken, list[int]()

    def impatient_at_first(write: Any, seconds: float) -> Any:
        held.append(in_flight.now["stream"])
        return taken(write, 0.3 if len(held) == 1 else seconds)

    monkeypatch.setattr(exporting, "while_taken", impatient_at_first)
    with users_service(users_server.database, notifications_address=other[1], grpc_max_streams=1) as served:
        async with served.aio_channel() as channel:
            user = await new_user(Stubs.on(channel))
            assert served.server is not None
            in_flight = served.server.in_flight
            async with connected(served.server.port, pings=True, window=0) as connection:
                reading = asyncio.create_task(connection.closed())
                connection.call(EXPORT, message=user_service_pb2.ExportUserRequest(id=user.id).SerializeToString())
                await until(lambda: bool(held) and in_flight.now["stream"] == 0, "its end")
                reading.cancel()
                await asyncio.wait([reading])
            assert held == [1]
            assert (await records_of(Stubs.on(channel), user.id))[-1].HasField("end")
