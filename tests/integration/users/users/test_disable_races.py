"""DisableUser against everything that begins, extends or proves a session: after its answer, no session validates."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb
from vibework.users.v1.user_pb2 import User

from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    link,
    new_session,
    new_user,
    outcome,
    provider_account,
    secret_of,
    session_is_valid,
    sign_in_request,
    signs_in,
    verification,
)

WIDTH: Final = 64
# Sessions that are there before.
OLD: Final = 8
RESET: Final = verifications_pb.VERIFICATION_PURPOSE_PASSWORD_RESET
SIGN_IN: Final = verifications_pb.VERIFICATION_PURPOSE_SIGN_IN


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server under a clock that stands still, which limits nobody: no attempt here is refused for their number."""
    unlimited: dict[str, Any] = {"attempts_per_account": 1_000_000, "attempts_per_address": 1_000_000}
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, FrozenClock(), **unlimited) as served,
    ):
        yield served


# What a call at a door takes: stubs, the user, and the token of one of the sessions from before.
Door = Callable[[Stubs, User, str], Awaitable[Any]]


def sign_in(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Sign in with the password."""
    return users.sessions.SignIn(sessions_pb.SignInRequest(email=user.email, password=PASSWORD))


def create_session(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Let a caller vouch for the user."""
    return users.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user.id))


def repeat_creation(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Let a caller vouch for the user, with one request_id for all."""
    request_id = f"00000000-0000-4000-8000-{user.email[:12]}"
    return users.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user.id, request_id=request_id))


def sign_in_with_account(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Sign in with the account that is linked."""
    return users.accounts.SignInWithAccount(sign_in_request(provider_account(user.id), ""))


def link_by_email(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Sign in with an account that is linked by its address meanwhile."""
    return users.accounts.SignInWithAccount(sign_in_request(provider_account(), user.email))


def link_account(users: Stubs, user: User, _: str) -> Awaitable[Any]:
    """Link another account."""
    return users.accounts.LinkAccount(
        accounts_pb.LinkAccountRequest(user_id=user.id, account=provider_account(provider=f"p{uuid4().hex}"))
    )


def refresh(users: Stubs, _: User, token: str) -> Awaitable[Any]:
    """Extend a session."""
    return users.sessions.RefreshSession(sessions_pb.RefreshSessionRequest(session_token=token))


def rotate(users: Stubs, _: User, token: str) -> Awaitable[Any]:
    """Replace the token of a session."""
    return users.sessions.RefreshSession(sessions_pb.RefreshSessionRequest(session_token=token, rotate_token=True))


async def reset_and_sign_in(users: Stubs, user: User, _: str) -> Any:
    """Reset the password with a secret of now, and sign in with it."""
    created = await verification(users, RESET, user.email, verifications_pb.VERIFICATION_KIND_TOKEN)
    request = verifications_pb.ResetPasswordRequest(secret=secret_of(created), new_password=PASSWORD)
    await users.verifications.ResetPassword(request)
    return await sign_in(users, user, "")


async def sign_in_with_verification(users: Stubs, user: User, _: str) -> Any:
    """Sign in with a secret of now."""
    created = await verification(users, SIGN_IN, user.email, verifications_pb.VERIFICATION_KIND_TOKEN)
    request = verifications_pb.SignInWithVerificationRequest(secret=secret_of(created))
    return await users.verifications.SignInWithVerification(request)


# By door: how its calls may end beside OK and USER_DISABLED.
DOORS: Final[dict[Door, set[str]]] = {
    sign_in: set(),
    create_session: set(),
    repeat_creation: {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"},
    sign_in_with_account: set(),
    link_by_email: set(),
    link_account: set(),
    refresh: {"SESSION_INVALID"},
    rotate: {"SESSION_INVALID"},
    # Each secret takes the place of the one before, and each reset changes the hash that sign-ins have verified.
    reset_and_sign_in: {"VERIFICATION_INVALID", "CONFLICT_RETRY"},
    sign_in_with_verification: {"VERIFICATION_INVALID"},
}


async def prepared(users: Stubs, server: UsersServer) -> tuple[User, list[str]]:
    """Return a user with every way to sign in, and tokens of sessions whose refresh is due."""
    user = await new_user(users, password=PASSWORD, email_verified=True)
    await link(users, user.id, provider_account(user.id))
    tokens = [await new_session(users, user.id) for _ in range(OLD)]
    server.clock.advance(timedelta(days=1))
    return user, tokens


async def at_the_door(call: Awaitable[Any], tokens: list[str]) -> str:
    """Return how a call ends; keep the token that it got."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return reason(error)
    if token := getattr(answer, "session_token", ""):
        tokens.append(token)
    return "OK"


async def shut_out(users: Stubs, user: User, tokens: list[str]) -> None:
    """Disable the user: whatever anybody was given before the answer is of no use from the answer on."""
    await users.users.DisableUser(user_service_pb2.DisableUserRequest(id=user.id, reason="a race"))
    assert not any([await session_is_valid(users, token) for token in list(tokens)])


@pytest.mark.parametrize("door", DOORS)
async def test_64_at_a_door_race_with_a_disabling(many: list[Stubs], users_server: UsersServer, door: Door) -> None:
    """Each call comes before it or after it: none is told to repeat, and no token is good once it has answered."""
    user, tokens = await prepared(many[0], users_server)
    old = list(tokens)
    calls: list[Awaitable[Any]] = [
        at_the_door(door(many[number % 4], user, old[number % OLD]), tokens) for number in range(WIDTH - 1)
    ]
    calls.insert(WIDTH // 3, shut_out(many[1], user, tokens))
    ends = await asyncio.gather(*calls)
    assert set(ends) <= {None, "OK", "USER_DISABLED", *DOORS[door]}
    assert not any([await session_is_valid(many[0], token) for token in tokens])
    live = "SELECT COUNT(*) FROM sessions WHERE user_id = %s AND revoked_at IS NULL"
    assert users_server.rows(live, user.id) == [(0,)]
    assert await signs_in(many[0], user.email, PASSWORD) == "USER_DISABLED"
    await many[0].users.EnableUser(user_service_pb2.EnableUserRequest(id=user.id))
    assert not any([await session_is_valid(many[0], token) for token in tokens])
    assert await signs_in(many[0], user.email, PASSWORD) == "OK"


@pytest.mark.long
async def test_no_session_from_before_a_disabling_lives_behind_an_enabling(
    many: list[Stubs], users_server: UsersServer
) -> None:
    """While a user is disabled and enabled again and again, what began before a disabling has ended with it."""
    user, before = await prepared(many[0], users_server)
    stop = asyncio.Event()

    async def come_in(users: Stubs) -> AsyncIterator[str]:
        while not stop.is_set():
            call = create_session(users, user, "")
            tokens: list[str] = []
            assert await at_the_door(call, tokens) in {"OK", "USER_DISABLED", "CONFLICT_RETRY"}
            for token in tokens:
                yield token

    async def collect(users: Stubs) -> None:
        async for token in come_in(users):
            before.append(token)

    async def turn() -> None:
        for _ in range(10):
            await shut_out(many[3], user, before)
            before.clear()
            await many[3].users.EnableUser(user_service_pb2.EnableUserRequest(id=user.id))
        stop.set()

    await asyncio.gather(turn(), *(collect(users) for users in many[:3] for _ in range(5)))
    assert await outcome(create_session(many[0], user, "")) == "OK"


async def test_of_64_disablings_and_enablings_each_is_a_change_of_its_own(
    many: list[Stubs], users_server: UsersServer
) -> None:
    """Those that come at once wait for each other: events and revisions are in one order, and the last one holds."""
    user, tokens = await prepared(many[0], users_server)
    calls: list[Awaitable[Any]] = [
        many[number % 4].users.DisableUser(user_service_pb2.DisableUserRequest(id=user.id, reason=f"reason {number}"))
        if number % 2
        else many[number % 4].users.EnableUser(user_service_pb2.EnableUserRequest(id=user.id))
        for number in range(WIDTH)
    ]
    answers = await asyncio.gather(*calls)
    ended = [each.revoked_sessions for each in answers if isinstance(each, user_service_pb2.DisableUserResponse)]
    assert sum(ended) == len(tokens)
    recorded = "SELECT revision, kind FROM user_events WHERE user_id = %s AND kind != 'created' ORDER BY id"
    events = [row for row in users_server.rows(recorded, user.id) if row[1] in {"disabled", "enabled"}]
    assert [revision for revision, _ in events] == list(range(2, len(events) + 2))
    assert all(now != "enabled" or then == "disabled" for (_, then), (_, now) in itertools.pairwise(events))
    read = (await many[0].users.GetUser(user_service_pb2.GetUserRequest(id=user.id))).user
    assert read.etag == f'"{events[-1][0]}"'
