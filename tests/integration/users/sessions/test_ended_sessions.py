"""ListSessions with ended ones: when each ended and why, in pages that cost what is on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from sqlalchemy.dialects import mysql
from vibework.users.v1 import account_service_pb2, user_service_pb2
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import verification_service_pb2 as verifications_pb
from vibework.users.v1.user_pb2 import User

from chassis.contract.timestamps import from_proto
from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.users import BlockingStubs, Stubs, UsersServer, reason, users_service
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    link,
    new_session,
    new_user,
    outcome,
    provider_account,
    secret_of,
    sign_in_request,
    verification,
)
from users_service.sessions.repository import COLUMNS, newest_first

NEW: Final = "another password of tests"


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server under a clock that stands still until a test moves it."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, FrozenClock()) as served:
        yield served


@pytest.fixture
async def user(users: Stubs) -> User:
    """A user with a password."""
    return await new_user(users, password=PASSWORD)


async def listed(users: Stubs, user: User, **fields: Any) -> list[pb.Session]:
    """Return all sessions of a user, ended or not."""
    request = pb.ListSessionsRequest(user_id=user.id, include_ended=True, **fields)
    return list((await users.sessions.ListSessions(request)).sessions)


def sign_out(users: Stubs, user: User, token: str) -> Awaitable[Any]:
    """Sign out."""
    return users.sessions.RevokeSession(pb.RevokeSessionRequest(session_token=token))


def revoke_all(users: Stubs, user: User, token: str) -> Awaitable[Any]:
    """Revoke all sessions."""
    return users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=user.id))


async def revoke_from_another(users: Stubs, user: User, token: str) -> None:
    """Revoke it from a session that is newer."""
    kept = await new_session(users, user.id)
    await users.sessions.RevokeOtherSessions(pb.RevokeOtherSessionsRequest(session_token=kept))


def change_password(users: Stubs, user: User, token: str) -> Awaitable[Any]:
    """Change the password."""
    return users.accounts.ChangePassword(
        account_service_pb2.ChangePasswordRequest(user_id=user.id, current_password=PASSWORD, new_password=NEW)
    )


async def reset_password(users: Stubs, user: User, token: str) -> None:
    """Reset the password of a user whose address is verified already."""
    paths = user_service_pb2.UpdateUserRequest(user=User(id=user.id, email_verified=True))
    paths.update_mask.paths.append("email_verified")
    await users.users.UpdateUser(paths)
    created = await verification(users, verifications_pb.VERIFICATION_PURPOSE_PASSWORD_RESET, user.email)
    request = verifications_pb.ResetPasswordRequest(secret=secret_of(created), new_password=NEW)
    await users.verifications.ResetPassword(request)


async def prove_the_address(users: Stubs, user: User, token: str) -> None:
    """Sign in by a code, as the first who proves the address."""
    created = await verification(users, verifications_pb.VERIFICATION_PURPOSE_SIGN_IN, user.email)
    request = verifications_pb.SignInWithVerificationRequest(secret=secret_of(created))
    await users.verifications.SignInWithVerification(request)


def disable(users: Stubs, user: User, token: str) -> Awaitable[Any]:
    """Disable the user."""
    return users.users.DisableUser(user_service_pb2.DisableUserRequest(id=user.id))


End = Callable[[Stubs, User, str], Awaitable[Any]]
ENDS: Final[dict[End, pb.SessionEndReason.ValueType]] = {
    sign_out: pb.SESSION_END_REASON_REVOKED,
    revoke_all: pb.SESSION_END_REASON_REVOKED,
    revoke_from_another: pb.SESSION_END_REASON_REVOKED,
    change_password: pb.SESSION_END_REASON_PASSWORD_CHANGED,
    reset_password: pb.SESSION_END_REASON_PASSWORD_CHANGED,
    prove_the_address: pb.SESSION_END_REASON_ADDRESS_PROVED,
    disable: pb.SESSION_END_REASON_USER_DISABLED,
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_session_says_when_and_why_it_ended(
    users: Stubs, users_server: UsersServer, user: User, end: End
) -> None:
    """Each way of ending a session has its reason, and the time of its call, and stays when its time is over, too."""
    token = await new_session(users, user.id)
    (live,) = await listed(users, user)
    assert not live.HasField("ended_at")
    assert live.end_reason == pb.SESSION_END_REASON_UNSPECIFIED
    users_server.clock.advance(timedelta(hours=1))
    await end(users, user, token)
    for later in (timedelta(), timedelta(days=40)):
        (ended,) = [each for each in await listed(users, user) if each.id == live.id]
        assert ended.end_reason == ENDS[end]
        assert from_proto(ended.ended_at) == from_proto(live.created_at) + timedelta(hours=1)
        assert live.id not in [each.id for each in await of_living(users, user)]
        users_server.clock.advance(later)


async def of_living(users: Stubs, user: User) -> list[pb.Session]:
    """Return the sessions that are listed by default."""
    return list((await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user.id))).sessions)


async def test_a_stolen_session_says_so(users: Stubs, users_server: UsersServer, user: User) -> None:
    """The end of a session whose replaced token came back has a reason of its own."""
    token = await new_session(users, user.id)
    await users.sessions.RefreshSession(pb.RefreshSessionRequest(session_token=token, rotate_token=True))
    users_server.clock.advance(timedelta(minutes=5))
    used = users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))
    assert await outcome(used) == "SESSION_INVALID"
    (ended,) = await listed(users, user)
    assert ended.end_reason == pb.SESSION_END_REASON_STOLEN
    assert from_proto(ended.ended_at) == users_server.clock()


async def test_an_expired_session_ended_when_its_time_was_over(
    users: Stubs, users_server: UsersServer, user: User
) -> None:
    """Nobody ended it: `ended_at` is `expires_at`, from that moment on, and whatever is ended later leaves it so."""
    await new_session(users, user.id)
    users_server.clock.advance(timedelta(days=7, microseconds=-1))
    (live,) = await listed(users, user)
    assert not live.HasField("ended_at")
    users_server.clock.advance(timedelta(microseconds=1))
    for then in (revoke_all, disable):
        (ended,) = await listed(users, user)
        assert ended.ended_at == ended.expires_at == live.expires_at
        assert ended.end_reason == pb.SESSION_END_REASON_EXPIRED
        users_server.clock.advance(timedelta(days=1))
        await then(users, user, "")


@pytest.mark.parametrize("stored", [None, "of another system"])
async def test_a_reason_that_is_not_known_is_none(
    users: Stubs, users_server: UsersServer, user: User, stored: str | None
) -> None:
    """A session that was ended before reasons were kept, or by others, has ended all the same."""
    await new_session(users, user.id)
    end = "UPDATE sessions SET revoked_at = %s, revoked_reason = %s WHERE user_id = %s"
    users_server.rows(end, users_server.clock(), stored, user.id)
    (ended,) = await listed(users, user)
    assert from_proto(ended.ended_at) == users_server.clock()
    assert ended.end_reason == pb.SESSION_END_REASON_UNSPECIFIED


async def test_a_session_says_how_its_user_was_authenticated(
    users: Stubs, users_server: UsersServer, user: User
) -> None:
    """Each door leaves its method with the session, which is told with the first answer and in lists."""
    account = provider_account()
    await link(users, user.id, account)
    created = await verification(users, verifications_pb.VERIFICATION_PURPOSE_SIGN_IN, user.email)
    by_secret = verifications_pb.SignInWithVerificationRequest(secret=secret_of(created))
    made: list[Any] = [
        await users.sessions.SignIn(pb.SignInRequest(email=user.email, password=PASSWORD)),
        await users.accounts.SignInWithAccount(sign_in_request(account, user.email)),
        await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user.id)),
        await users.verifications.SignInWithVerification(by_secret),
    ]
    methods = {each.session.id: each.session.authentication_method for each in made}
    assert list(methods.values()) == [
        pb.AUTHENTICATION_METHOD_PASSWORD,
        pb.AUTHENTICATION_METHOD_ACCOUNT,
        pb.AUTHENTICATION_METHOD_CALLER,
        pb.AUTHENTICATION_METHOD_VERIFICATION,
    ]
    assert {each.id: each.authentication_method for each in await listed(users, user)} == methods
    users_server.rows("UPDATE sessions SET authentication_method = NULL WHERE user_id = %s", user.id)
    assert {each.authentication_method for each in await listed(users, user)} == {0}


async def test_pages_hold_live_and_ended_ones_in_one_order(users: Stubs, users_server: UsersServer, user: User) -> None:
    """Newest first whatever became of them; one that ends between two pages is on its own page all the same."""
    tokens = []
    for number in range(9):
        tokens.append(await new_session(users, user.id))
        if number % 3 == 0:
            await sign_out(users, user, tokens[-1])
        users_server.clock.advance(timedelta(seconds=number % 2))
    every = await listed(users, user)
    request = pb.ListSessionsRequest(user_id=user.id, page_size=4, include_ended=True, current_session_token=tokens[1])
    seen: list[pb.Session] = []
    while True:
        page = await users.sessions.ListSessions(request)
        seen += page.sessions
        if not page.next_page_token:
            break
        await sign_out(users, user, tokens[4])
        request.page_token = page.next_page_token
    assert [each.id for each in seen] == [each.id for each in every]
    assert len({each.id for each in seen}) == 9
    assert sum(each.current for each in seen) == 1
    ended = {each.id for each in await listed(users, user) if each.HasField("ended_at")}
    assert [each.id for each in await of_living(users, user)] == [each.id for each in every if each.id not in ended]
    assert len(ended) == 4


async def test_a_page_token_belongs_to_its_list(users: Stubs, user: User) -> None:
    """A token of the live ones does not continue the list of all, nor the other way about."""
    for _ in range(3):
        await new_session(users, user.id)
    for include_ended in (True, False):
        first = pb.ListSessionsRequest(user_id=user.id, page_size=1, include_ended=include_ended)
        token = (await users.sessions.ListSessions(first)).next_page_token
        other = pb.ListSessionsRequest(user_id=user.id, page_token=token, include_ended=not include_ended)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await users.sessions.ListSessions(other)
        assert reason(refused.value) == "PAGE_TOKEN_FILTER_MISMATCH"


FILL: Final = """
INSERT INTO sessions (id, user_id, token_hash, created_at, revoked_at, revoked_reason)
WITH RECURSIVE numbers AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 998)
SELECT CONCAT('sess_', %s, '_', n), %s, UNHEX(SHA2(CONCAT(%s, n), 256)), '2026-01-01' + INTERVAL n DIV 4 SECOND,
  IF(n MOD 10 = 0, NULL, '2026-06-01'), 'revoked' FROM numbers
"""


@pytest.mark.parametrize("seconds", [None, 125])
def test_a_page_reads_its_own_rows_only(
    users_server: UsersServer, mysql_server: MySQLServer, seconds: int | None
) -> None:
    """A page deep in the past costs what the first costs, and none is sorted, as for the live ones."""
    with users_server.channel() as channel:
        created = BlockingStubs.on(channel).users.CreateUser(
            user_service_pb2.CreateUserRequest(email=f"pages{seconds}@example.com")
        )
    user_id = created.user.id
    users_server.rows(FILL, user_id, user_id, user_id)
    after = None if seconds is None else (datetime(2026, 1, 1) + timedelta(seconds=seconds), "sess_")  # noqa: DTZ001
    page = newest_first(COLUMNS, user_id, after).limit(21)
    compiled = str(page.compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True})).replace("%%", "%")
    counters = ["FLUSH STATUS", compiled, "SHOW SESSION STATUS LIKE 'Handler_read%'"]
    reads = run_mysql(mysql_server, counters, database=users_server.database.name)
    assert sum(int(value) for _, value in reads) <= 21 + 8
