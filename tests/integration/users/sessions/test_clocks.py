"""Sessions where the clocks of two processes differ: the database's decides what cannot be undone."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from chassis.clock import utc
from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import outcome
from users_service.mysql.database import Database
from users_service.mysql.database_clock import database_now
from users_service.notifications_client import DELETE_SECONDS
from users_service.outbox.relay import LEASE
from users_service.sessions.lifetime import CLOCKS_APART

# How far the clock of the second process is ahead of the first one's.
AHEAD = [timedelta(seconds=35), timedelta(seconds=-35), timedelta(minutes=10), timedelta(minutes=-10)]


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server under a clock that stands still until a test moves it, and so does the database's."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, FrozenClock()) as served:
        yield served


@pytest.fixture(params=AHEAD, ids=str)
async def other(users_server: UsersServer, request: pytest.FixtureRequest) -> AsyncIterator[Stubs]:
    """The stubs of a process whose clock differs; the database is the same, and so is its clock."""
    clock = FrozenClock()
    clock.now = users_server.clock() + request.param
    async with AsyncExitStack() as resources:
        served = resources.enter_context(users_service(users_server.database, clock, users_server.clock))
        yield Stubs.on(await resources.enter_async_context(served.aio_channel()))


async def new_session(users: Stubs) -> pb.CreateSessionResponse:
    """Create a session of a new user."""
    request = user_service_pb2.CreateUserRequest(email=f"{uuid.uuid4().hex}@example.com")
    user = (await users.users.CreateUser(request)).user
    return await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user.id))


async def rotated(users: Stubs, token: str) -> str:
    """Replace a token; return the new one."""
    request = pb.RefreshSessionRequest(session_token=token, rotate_token=True)
    return (await users.sessions.RefreshSession(request)).session_token


async def validates(users: Stubs, token: str) -> str:
    """Return how a validation ends."""
    return await outcome(users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token)))


async def test_a_token_in_its_grace_is_no_theft_whatever_the_clocks(
    users: Stubs, other: Stubs, users_server: UsersServer
) -> None:
    """Replaced by one process a moment ago, a token is good at the other, and the session lives on."""
    for one, two in ((users, other), (other, users)):
        made = await new_session(one)
        new = await rotated(one, made.session_token)
        assert await validates(two, made.session_token) == "OK"
        users_server.clock.advance(timedelta(seconds=30))
        assert [await validates(each, made.session_token) for each in (one, two)] == ["OK", "OK"]
        assert [await validates(each, new) for each in (one, two)] == ["OK", "OK"]


async def test_a_token_used_late_is_stolen_whatever_the_clocks(
    users: Stubs, other: Stubs, users_server: UsersServer
) -> None:
    """Grace over, it ends the session at either process: no clock that is behind lets a thief in for longer."""
    for one, two in ((users, other), (other, users)):
        made = await new_session(one)
        new = await rotated(one, made.session_token)
        users_server.clock.advance(timedelta(seconds=36))
        assert await validates(two, made.session_token) == "SESSION_INVALID"
        assert await validates(one, new) == "SESSION_INVALID"
        stored = users_server.rows("SELECT revoked_reason FROM sessions WHERE id = %s", made.session.id)
        assert stored == [("stolen",)]


async def test_the_database_is_asked_for_its_own_time(users_server: UsersServer) -> None:
    """What decides is the time of its server, in UTC, to the microsecond."""
    asked = "SELECT UTC_TIMESTAMP(6)"
    before = utc(users_server.rows(asked)[0][0])
    async with Database(users_server.settings) as database:
        found = await database.query(database_now)
    assert before <= found <= utc(users_server.rows(asked)[0][0])


def test_a_lease_bears_clocks_that_differ() -> None:
    """A relay whose clock is ahead takes no call that another is still making."""
    assert timedelta(seconds=DELETE_SECONDS) + CLOCKS_APART < LEASE
