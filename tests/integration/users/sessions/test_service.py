"""SessionService over the wire: what is stored, what is told, and what is not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from vibework.users.v1 import account_service_pb2, user_pb2, user_service_pb2
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, metadata, reason, retry_seconds, told, users_service

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server under a clock that stands still until a test moves it."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, FrozenClock()) as served:
        yield served


@pytest.fixture
async def user(users: Stubs) -> user_pb2.User:
    """A user without a password."""
    request = user_service_pb2.CreateUserRequest(email=f"{uuid.uuid4().hex}@example.com")
    return (await users.users.CreateUser(request)).user


async def signed_in(users: Stubs, user: user_pb2.User, **fields: Any) -> pb.CreateSessionResponse:
    """Create a session for a user."""
    return await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user.id, **fields))


async def validated(users: Stubs, token: str) -> pb.ValidateSessionResponse:
    """Validate a token."""
    return await users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))


async def rotated(users: Stubs, token: str, request_id: str = "") -> str:
    """Replace a token; return the new one."""
    request = pb.RefreshSessionRequest(session_token=token, rotate_token=True, request_id=request_id)
    return (await users.sessions.RefreshSession(request)).session_token


async def test_a_token_is_told_once_and_only_its_hash_is_stored(
    users: Stubs, users_server: UsersServer, user: user_pb2.User
) -> None:
    """Whoever reads the whole table learns no token; a token has 256 bits."""
    token = (await signed_in(users, user)).session_token
    assert len(token) == 43
    dump = repr(users_server.rows("SELECT * FROM sessions"))
    assert user.id in dump
    assert token not in dump
    stored = users_server.rows("SELECT HEX(token_hash), SHA2(%s, 256) FROM sessions WHERE user_id = %s", token, user.id)
    assert stored[0][0].lower() == stored[0][1]


async def test_a_session_shows_where_it_came_from(users: Stubs, user: user_pb2.User) -> None:
    """Address and user agent are kept as given; a user agent is cut to what the column holds."""
    client = {"ip_address": "2001:db8::7", "user_agent": "\U0001f98a" * 600}
    session = (await signed_in(users, user, client=client)).session
    assert session.ip_address == "2001:db8::7"
    assert session.user_agent == "\U0001f98a" * 512
    assert session == (await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user.id))).sessions[0]


async def test_tokens_that_are_no_good_are_answered_alike(
    users: Stubs, users_server: UsersServer, user: user_pb2.User
) -> None:
    """Forged, revoked, expired and stolen tokens cannot be told apart: code, reason, message and details are equal."""
    revoked = (await signed_in(users, user)).session_token
    await users.sessions.RevokeSession(pb.RevokeSessionRequest(session_token=revoked))
    brief = (await signed_in(users, user, do_not_remember=True)).session_token
    replaced = (await signed_in(users, user)).session_token
    await rotated(users, replaced)
    users_server.clock.advance(DAY)
    answers = set()
    for token in ("forged", "A" * 43, revoked, brief, replaced):
        for call in (
            users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token)),
            users.sessions.RefreshSession(pb.RefreshSessionRequest(session_token=token, rotate_token=True)),
            users.sessions.RevokeOtherSessions(pb.RevokeOtherSessionsRequest(session_token=token)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            answers.add((refused.value.code(), reason(refused.value), told(refused.value)))
    assert len(answers) == 1
    assert answers.pop()[:2] == (grpc.StatusCode.UNAUTHENTICATED, "SESSION_INVALID")


async def test_validation_changes_nothing(users: Stubs, users_server: UsersServer, user: user_pb2.User) -> None:
    """ValidateSession is read-only: a session that is validated all day ends when it would have ended."""
    made = await signed_in(users, user)
    before = users_server.rows("SELECT * FROM sessions WHERE user_id = %s", user.id)
    for _ in range(3):
        users_server.clock.advance(DAY)
        answer = await validated(users, made.session_token)
        assert answer.session.expires_at == made.session.expires_at
        assert answer.refresh_due
    assert users_server.rows("SELECT * FROM sessions WHERE user_id = %s", user.id) == before


async def test_a_session_ends_after_thirty_days_whatever_is_done(
    users: Stubs, users_server: UsersServer, user: user_pb2.User
) -> None:
    """Refreshed every 25 hours, a session reaches its cap, says that no refresh is due, and ends there."""
    made = await signed_in(users, user)
    step = timedelta(hours=25)
    for _ in range(28):
        users_server.clock.advance(step)
        await users.sessions.RefreshSession(pb.RefreshSessionRequest(session_token=made.session_token))
    last = await validated(users, made.session_token)
    assert last.session.expires_at == made.session.absolute_expires_at
    assert not last.refresh_due
    users_server.clock.advance(30 * DAY - 28 * step - timedelta(microseconds=1))
    refreshed = await users.sessions.RefreshSession(pb.RefreshSessionRequest(session_token=made.session_token))
    assert not refreshed.extended
    users_server.clock.advance(timedelta(microseconds=1))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await validated(users, made.session_token)
    assert reason(ended.value) == "SESSION_INVALID"


@pytest.mark.parametrize("age", [0, 1, 4])
async def test_a_replaced_token_used_late_ends_its_session_as_stolen(
    users: Stubs, users_server: UsersServer, user: user_pb2.User, capfd: pytest.CaptureFixture[str], age: int
) -> None:
    """However far back in the chain, an old token revokes the session, and the log names the session."""
    made = await signed_in(users, user)
    other = await signed_in(users, user)
    chain = [made.session_token]
    for _ in range(5):
        chain.append(await rotated(users, chain[-1]))
    assert "" not in chain
    for token in chain:
        assert (await validated(users, token)).session.id == made.session.id
    # Thirty seconds, and five that clocks may differ by.
    users_server.clock.advance(timedelta(seconds=35))
    assert (await validated(users, chain[age])).session.id == made.session.id
    users_server.clock.advance(timedelta(microseconds=1))
    assert (await validated(users, chain[-1])).session.id == made.session.id
    with pytest.raises(grpc.aio.AioRpcError) as stolen:
        await validated(users, chain[age])
    assert reason(stolen.value) == "SESSION_INVALID"
    with pytest.raises(grpc.aio.AioRpcError):
        await validated(users, chain[-1])
    assert (await validated(users, other.session_token)).session.id == other.session.id
    stored = users_server.rows("SELECT revoked_reason FROM sessions WHERE id = %s", made.session.id)
    assert stored == [("stolen",)]
    written = "".join(capfd.readouterr())
    warnings = [line for line in written.splitlines() if "a replaced token was used" in line]
    assert len(warnings) == 1
    assert made.session.id in warnings[0]
    assert not any(token in written for token in chain)


async def test_a_token_in_its_grace_refreshes_without_replacing(users: Stubs, user: user_pb2.User) -> None:
    """A call that was on its way with the old token goes through, and does not replace the new token."""
    made = await signed_in(users, user)
    new = await rotated(users, made.session_token)
    assert await rotated(users, made.session_token) == ""
    assert (await validated(users, new)).session.id == made.session.id


async def test_signing_out_with_a_token_in_its_grace_ends_the_session(users: Stubs, user: user_pb2.User) -> None:
    """Sign-out races rotation on the client's side too: the old token still ends the session."""
    made = await signed_in(users, user)
    new = await rotated(users, made.session_token)
    request = pb.RevokeSessionRequest(session_token=made.session_token)
    assert (await users.sessions.RevokeSession(request)).revoked_count == 1
    with pytest.raises(grpc.aio.AioRpcError):
        await validated(users, new)


async def test_revoking_tells_what_never_was(users: Stubs, user: user_pb2.User) -> None:
    """An id that never was is NOT_FOUND; a token that never was answers 0, like one that has ended."""
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await users.sessions.RevokeSession(pb.RevokeSessionRequest(session_id="sess_none"))
    assert (missing.value.code(), reason(missing.value)) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert (await users.sessions.RevokeSession(pb.RevokeSessionRequest(session_token="none"))).revoked_count == 0
    made = await signed_in(users, user)
    request = pb.RevokeSessionRequest(session_id=made.session.id)
    counts = [(await users.sessions.RevokeSession(request)).revoked_count for _ in range(2)]
    assert counts == [1, 0]


async def test_signing_out_as_another_user_is_refused(users: Stubs, user: user_pb2.User) -> None:
    """A token of another user than the one named ends nothing, and does not tell the session's id."""
    made = await signed_in(users, user)
    request = pb.RevokeSessionRequest(session_token=made.session_token, user_id="user_other")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await users.sessions.RevokeSession(request)
    assert (reason(refused.value), metadata(refused.value)) == ("SESSION_NOT_FOUND", {})
    assert (await validated(users, made.session_token)).session.id == made.session.id


@pytest.mark.parametrize("age", [timedelta(), timedelta(seconds=36)], ids=["in its grace", "replaced"])
async def test_a_replaced_token_ends_nothing_for_another_user(
    users: Stubs, users_server: UsersServer, user: user_pb2.User, age: timedelta
) -> None:
    """Calls that name a user do not see another's session: not to end it, not to mark it, not to call it stolen."""
    request = user_service_pb2.CreateUserRequest(
        email=f"{uuid.uuid4().hex}@example.com", password="a password of tests"
    )
    other = (await users.users.CreateUser(request)).user
    made = await signed_in(users, user)
    new = await rotated(users, made.session_token)
    users_server.clock.advance(age)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await users.sessions.RevokeSession(pb.RevokeSessionRequest(session_token=made.session_token, user_id=other.id))
    assert (refused.value.code(), reason(refused.value)) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    await users.sessions.ListSessions(
        pb.ListSessionsRequest(user_id=other.id, current_session_token=made.session_token)
    )
    change = account_service_pb2.ChangePasswordRequest(
        user_id=other.id,
        current_password="a password of tests",
        new_password="another password of tests",
        session_token=made.session_token,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await users.accounts.ChangePassword(change)
    assert reason(refused.value) == "SESSION_INVALID"
    assert (await validated(users, new)).session.id == made.session.id
    stored = users_server.rows("SELECT revoked_at FROM sessions WHERE id = %s", made.session.id)
    assert stored == [(None,)]


async def test_a_replaced_token_signs_its_own_user_out(
    users: Stubs, users_server: UsersServer, user: user_pb2.User
) -> None:
    """Long after its replacement it ends the session, as stolen, also where its user is named."""
    made = await signed_in(users, user)
    await rotated(users, made.session_token)
    users_server.clock.advance(timedelta(seconds=36))
    request = pb.RevokeSessionRequest(session_token=made.session_token, user_id=user.id)
    assert (await users.sessions.RevokeSession(request)).revoked_count == 1
    stored = users_server.rows("SELECT revoked_reason FROM sessions WHERE id = %s", made.session.id)
    assert stored == [("stolen",)]


async def test_who_loses_the_answer_of_a_rotation_asks_again(
    users: Stubs, users_server: UsersServer, user: user_pb2.User
) -> None:
    """With the same request_id the old token brings the same new one, however late; without it, it is stolen."""
    made, request_id = await signed_in(users, user), str(uuid.uuid4())
    new = await rotated(users, made.session_token, request_id)
    for wait in (timedelta(), timedelta(minutes=1), timedelta(hours=23)):
        users_server.clock.advance(wait)
        assert await rotated(users, made.session_token, request_id.upper()) == new
    assert (await validated(users, new)).session.id == made.session.id
    with pytest.raises(grpc.aio.AioRpcError) as stolen:
        await rotated(users, made.session_token, str(uuid.uuid4()))
    assert reason(stolen.value) == "SESSION_INVALID"
    with pytest.raises(grpc.aio.AioRpcError):
        await validated(users, new)
    # The answer is that of before, and its token opens nothing.
    assert await rotated(users, made.session_token, request_id) == new
    kept = users_server.rows("SELECT response FROM idempotency_keys WHERE request_id = %s", request_id)
    assert new.encode() not in kept[0][0]


async def test_a_refresh_that_failed_may_be_repeated(users: Stubs, user: user_pb2.User) -> None:
    """A refusal is not kept: the id is free for the token that is right."""
    request_id, made = str(uuid.uuid4()), await signed_in(users, user)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rotated(users, "unknown", request_id)
    assert reason(refused.value) == "SESSION_INVALID"
    new = await rotated(users, made.session_token, request_id)
    assert (await validated(users, new)).session.id == made.session.id
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rotated(users, new, request_id)
    assert reason(refused.value) == "REQUEST_ID_REUSED"


async def test_revoking_all_of_nobody_is_no_error(users: Stubs) -> None:
    """RevokeAllSessions of a user who has none, or never was, answers 0."""
    request = pb.RevokeAllSessionsRequest(user_id="user_none")
    assert (await users.sessions.RevokeAllSessions(request)).revoked_count == 0


async def test_a_session_needs_a_user(users: Stubs) -> None:
    """CreateSession for an unknown user is NOT_FOUND, and its request id stays free."""
    request = pb.CreateSessionRequest(user_id="user_none", request_id=str(uuid.uuid4()))
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await users.sessions.CreateSession(request)
        assert (missing.value.code(), reason(missing.value)) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_creating_is_idempotent(users: Stubs, user: user_pb2.User) -> None:
    """A repeat gets the first answer, token included; the same id with another body is refused."""
    request_id = str(uuid.uuid4())
    first = await signed_in(users, user, request_id=request_id)
    assert await signed_in(users, user, request_id=request_id) == first
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await signed_in(users, user, request_id=request_id, do_not_remember=True)
    assert reason(reused.value) == "REQUEST_ID_REUSED"
    listed = await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user.id))
    assert [session.id for session in listed.sessions] == [first.session.id]


async def test_page_tokens_belong_to_one_user(users: Stubs, user: user_pb2.User) -> None:
    """A page token of one user's list is refused for another's; so is one that was changed."""
    for _ in range(3):
        await signed_in(users, user)
    page = await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user.id, page_size=1))
    for request, expected in (
        (pb.ListSessionsRequest(user_id="user_x", page_token=page.next_page_token), "PAGE_TOKEN_FILTER_MISMATCH"),
        (pb.ListSessionsRequest(user_id=user.id, page_token=page.next_page_token[:-2]), "PAGE_TOKEN_INVALID"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await users.sessions.ListSessions(request)
        assert (refused.value.code(), reason(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, expected)


async def test_pages_hold_when_their_last_session_ends(users: Stubs, user: user_pb2.User) -> None:
    """A page follows the position of the last session shown, also when that one has ended since."""
    ids = [(await signed_in(users, user)).session.id for _ in range(5)]
    page = await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user.id, page_size=2))
    assert [session.id for session in page.sessions] == ids[:2:-1]
    await users.sessions.RevokeSession(pb.RevokeSessionRequest(session_id=page.sessions[-1].id))
    await signed_in(users, user)
    request = pb.ListSessionsRequest(user_id=user.id, page_size=10, page_token=page.next_page_token)
    rest = await users.sessions.ListSessions(request)
    assert [session.id for session in rest.sessions] == ids[2::-1]
    assert rest.next_page_token == ""


async def test_no_user_no_session(users: Stubs, user: user_pb2.User) -> None:
    """With its user, a session is gone: its token is as good as forged."""
    made = await signed_in(users, user)
    await users.users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user.id))
    request = pb.ValidateSessionRequest(session_token=made.session_token, include_user=True)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await users.sessions.ValidateSession(request)
    assert reason(gone.value) == "SESSION_INVALID"
    assert retry_seconds(gone.value) is None
