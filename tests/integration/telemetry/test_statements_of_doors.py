"""What begins a session asks its database as little as it did, and alike for guessers whoever is disabled."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_pb2, user_service_pb2

from tests.harness.databases import MySQLDatabase
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.telemetry.collector import Collector
from tests.integration.users.ways_to_sign_in import PASSWORD, new_user

SERVER, CLIENT = 2, 3
GUESS = "not the password"


@pytest.fixture
def served(collector: Collector, mysql_module_database: MySQLDatabase) -> Iterator[UsersServer]:
    """A server that sends its traces there."""
    with users_service(mysql_module_database) as server:
        yield server


@pytest_asyncio.fixture
async def users(served: UsersServer) -> AsyncIterator[Stubs]:
    """Its stubs."""
    async with served.aio_channel() as channel:
        yield Stubs.on(channel)


async def traced(method: Callable[..., Awaitable[Any]], request: Any) -> tuple[str, Any]:
    """Call a method; return the id of its trace, and the answer, or the reason why there is none."""
    trace = uuid.uuid4().hex
    try:
        answer = await method(request, metadata=(("traceparent", f"00-{trace}-00f067aa0ba902b7-01"),))
    except grpc.aio.AioRpcError as error:
        return trace, error.code()
    return trace, answer


async def statements(collector: Collector, trace: str) -> list[str]:
    """Return the names of the statements of a call, in their order, once the call's own span has come behind them."""
    await collector.until(lambda: any(span.trace == trace and span.kind == SERVER for span in collector.spans))
    return [span.name for span in collector.spans if span.trace == trace and span.kind == CLIENT]


async def test_a_session_costs_what_it_did(collector: Collector, users: Stubs) -> None:
    """The state is read by the statement that stores the session: no round trip more, and none to validate it."""
    user = await new_user(users, password=PASSWORD)
    created, made = await traced(users.sessions.CreateSession, pb.CreateSessionRequest(user_id=user.id))
    request = pb.ValidateSessionRequest(session_token=made.session_token)
    validated, _ = await traced(users.sessions.ValidateSession, request)
    assert await statements(collector, created) == ["sessions.insert_session", "mysql.commit"]
    assert await statements(collector, validated) == ["sessions.read_by_token"]


async def test_a_guess_at_a_disabled_user_is_a_guess(collector: Collector, users: Stubs) -> None:
    """Statement by statement it is answered as one at an active user, so that no time tells of the state."""
    user = await new_user(users, password=PASSWORD)
    request = pb.SignInRequest(email=user.email, password=GUESS, client=user_pb2.ClientContext(ip_address="192.0.2.1"))
    active, refused = await traced(users.sessions.SignIn, request)
    await users.users.DisableUser(user_service_pb2.DisableUserRequest(id=user.id))
    disabled, as_well = await traced(users.sessions.SignIn, request)
    assert refused == as_well == grpc.StatusCode.UNAUTHENTICATED
    asked = ["attempts.increment", "credentials.read_by_email", "mysql.commit"]
    assert await statements(collector, active) == await statements(collector, disabled) == asked
