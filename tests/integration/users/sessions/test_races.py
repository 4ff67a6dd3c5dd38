"""Sessions under races: what has ended stays ended, one token is replaced once, nobody is taken for another."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.lock_waits import uncommitted, wait_for_lock

WIDTH = 16


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server under a clock that stands still until a test moves it."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, FrozenClock()) as served:
        yield served


async def new_user(users: Stubs) -> str:
    """Create a user; return the id."""
    request = user_service_pb2.CreateUserRequest(email=f"{uuid.uuid4().hex}@example.com")
    return (await users.users.CreateUser(request)).user.id


async def new_session(users: Stubs, user_id: str = "") -> pb.CreateSessionResponse:
    """Create a session, for a new user if none is given."""
    return await users.sessions.CreateSession(pb.CreateSessionRequest(user_id=user_id or await new_user(users)))


def refresh(users: Stubs, token: str, *, rotate: bool) -> Awaitable[pb.RefreshSessionResponse]:
    """Refresh a session."""
    return users.sessions.RefreshSession(pb.RefreshSessionRequest(session_token=token, rotate_token=rotate))


async def outcomes(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """Carry out all calls at once; return their answers, and for errors their reasons."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [reason(each) if isinstance(each, grpc.aio.AioRpcError) else each for each in done]


@pytest.mark.parametrize("rotate", [False, True])
async def test_no_refresh_revives_a_revoked_session(users: Stubs, users_server: UsersServer, rotate: bool) -> None:
    """Sixteen refreshes that are due race one revocation: after it, no token of the session is good."""
    for _ in range(5):
        made = await new_session(users)
        users_server.clock.advance(timedelta(days=2))
        revoke = users.sessions.RevokeSession(pb.RevokeSessionRequest(session_id=made.session.id))
        calls: list[Awaitable[Any]] = [refresh(users, made.session_token, rotate=rotate) for _ in range(WIDTH)]
        calls.insert(random.randrange(WIDTH), revoke)
        done = await outcomes(calls)
        answers = [each for each in done if isinstance(each, pb.RefreshSessionResponse)]
        assert [each.revoked_count for each in done if isinstance(each, pb.RevokeSessionResponse)] == [1]
        assert {each for each in done if isinstance(each, str)} <= {"SESSION_INVALID"}
        assert sum(each.extended for each in answers) <= 1
        for token in {made.session_token, *(each.session_token for each in answers if each.session_token)}:
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))
            assert reason(ended.value) == "SESSION_INVALID"


@pytest.mark.parametrize("rotate", [False, True], ids=["refreshed", "rotated"])
@pytest.mark.parametrize("age", [timedelta(), timedelta(days=2)], ids=["not due", "due"])
@pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
async def test_a_session_that_ends_during_its_refresh_has_ended(
    users: Stubs, users_server: UsersServer, end: str, age: timedelta, rotate: bool
) -> None:
    """A refresh that found the session living, and writes after it was ended, is refused and changes nothing."""
    made = await new_session(users)
    users_server.clock.advance(age)
    change = f"UPDATE sessions SET {end} = %(now)s WHERE id = %(id)s"
    async with uncommitted(users_server, change, {"now": users_server.clock(), "id": made.session.id}):
        # It reads the session as committed, and waits for the row.
        waiting = asyncio.create_task(outcomes([refresh(users, made.session_token, rotate=rotate)]))
        await wait_for_lock(users_server)
    assert await waiting == ["SESSION_INVALID"]
    stored = users_server.rows("SELECT extended_at, last_seen_at FROM sessions WHERE id = %s", made.session.id)
    created = made.session.created_at.ToDatetime()
    assert stored == [(created, created)]
    kept = "SELECT COUNT(*) FROM rotated_session_tokens WHERE session_id = %s"
    assert users_server.rows(kept, made.session.id) == [(0,)]


async def test_of_sixteen_rotations_one_replaces_the_token(users: Stubs, users_server: UsersServer) -> None:
    """All sixteen succeed, exactly one gets a new token, exactly one extends, and old and new token are good."""
    for _ in range(5):
        made = await new_session(users)
        users_server.clock.advance(timedelta(days=1))
        done = await outcomes(refresh(users, made.session_token, rotate=True) for _ in range(WIDTH))
        new = [each.session_token for each in done if each.session_token]
        assert len(new) == 1
        assert sum(each.extended for each in done) == 1
        for token in (made.session_token, new[0]):
            answer = await users.sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))
            assert answer.session.id == made.session.id
        kept = "SELECT COUNT(*) FROM rotated_session_tokens WHERE session_id = %s"
        assert users_server.rows(kept, made.session.id) == [(1,)]


async def test_a_token_is_good_all_through_its_replacement(users: Stubs) -> None:
    """Validations that race a rotation all succeed: no moment lies between the old place of a token and the new."""
    made = await new_session(users)
    token = made.session_token
    for _ in range(10):
        request = pb.ValidateSessionRequest(session_token=token)
        calls: list[Awaitable[Any]] = [users.sessions.ValidateSession(request) for _ in range(WIDTH)]
        calls.insert(random.randrange(WIDTH), refresh(users, token, rotate=True))
        done = await outcomes(calls)
        assert {each.session.id for each in done} == {made.session.id}
        token = next(each.session_token for each in done if isinstance(each, pb.RefreshSessionResponse))


async def test_one_revocation_counts_the_session(users: Stubs) -> None:
    """Sixteen revocations of one session, by id, by token and by user, end it once."""
    made = await new_session(users)
    kinds = (
        lambda: users.sessions.RevokeSession(pb.RevokeSessionRequest(session_id=made.session.id)),
        lambda: users.sessions.RevokeSession(pb.RevokeSessionRequest(session_token=made.session_token)),
        lambda: users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=made.session.user_id)),
    )
    done = await outcomes(kinds[i % len(kinds)]() for i in range(WIDTH))
    assert sum(each.revoked_count for each in done) == 1


async def test_sessions_that_revoke_each_other_never_leave_none_counted_twice(users: Stubs) -> None:
    """Each of sixteen sessions ends the others at once: every session ends at most once."""
    user_id = await new_user(users)
    tokens = [(await new_session(users, user_id)).session_token for _ in range(WIDTH)]
    done = await outcomes(
        users.sessions.RevokeOtherSessions(pb.RevokeOtherSessionsRequest(session_token=token)) for token in tokens
    )
    ended = sum(each.revoked_count for each in done if isinstance(each, pb.RevokeOtherSessionsResponse))
    left = (await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user_id))).sessions
    assert ended + len(left) == WIDTH
    assert {each for each in done if isinstance(each, str)} <= {"SESSION_INVALID"}


async def test_no_session_outlives_its_user(many: list[Stubs]) -> None:
    """A user who is deleted while sessions are created is not found from then on, and keeps none of them."""
    user_id = await new_user(many[0])
    creations = [many[i % 4].sessions.CreateSession(pb.CreateSessionRequest(user_id=user_id)) for i in range(WIDTH)]
    deletion = many[0].users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user_id))
    done = await outcomes([*creations[:4], deletion, *creations[4:]])
    assert {each for each in done if isinstance(each, str)} <= {"USER_NOT_FOUND", "CONFLICT_RETRY"}
    assert not (await many[0].sessions.ListSessions(pb.ListSessionsRequest(user_id=user_id))).sessions


async def test_one_request_id_creates_one_session(users: Stubs) -> None:
    """Sixteen repeats at once get one session and one token, or are told to come back."""
    user_id = await new_user(users)
    request = pb.CreateSessionRequest(user_id=user_id, request_id=str(uuid.uuid4()))
    done = await outcomes(users.sessions.CreateSession(request) for _ in range(WIDTH))
    assert {each for each in done if isinstance(each, str)} <= {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"}
    answers = [each for each in done if isinstance(each, pb.CreateSessionResponse)]
    assert len({each.session_token for each in answers}) == 1
    assert len((await users.sessions.ListSessions(pb.ListSessionsRequest(user_id=user_id))).sessions) == 1


async def test_one_request_id_replaces_a_token_once(many: list[Stubs], users_server: UsersServer) -> None:
    """Sixteen repeats at once, beside calls that only validate, get one new token, and both tokens are good."""
    for _ in range(5):
        made = await new_session(many[0])
        request = pb.RefreshSessionRequest(
            session_token=made.session_token, rotate_token=True, request_id=str(uuid.uuid4())
        )
        done = await outcomes(many[i % 4].sessions.RefreshSession(request) for i in range(WIDTH))
        answers = [each for each in done if isinstance(each, pb.RefreshSessionResponse)]
        assert {each for each in done if isinstance(each, str)} <= {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"}
        assert len({each.SerializeToString(deterministic=True) for each in answers}) == 1
        for token in (made.session_token, answers[0].session_token):
            answer = await many[0].sessions.ValidateSession(pb.ValidateSessionRequest(session_token=token))
            assert answer.session.id == made.session.id
        kept = "SELECT COUNT(*) FROM rotated_session_tokens WHERE session_id = %s"
        assert users_server.rows(kept, made.session.id) == [(1,)]


async def test_a_repeat_that_overtakes_its_first_call_is_no_theft(users: Stubs, users_server: UsersServer) -> None:
    """A repeat that waits for the first call, until the old token's grace is over, gets that call's answer."""
    made = await new_session(users)
    request = pb.RefreshSessionRequest(
        session_token=made.session_token, rotate_token=True, request_id=str(uuid.uuid4())
    )
    touched = "UPDATE sessions SET ip_address = NULL WHERE id = %(id)s"
    async with uncommitted(users_server, touched, {"id": made.session.id}):
        first = asyncio.create_task(outcomes([users.sessions.RefreshSession(request)]))
        await wait_for_lock(users_server)
        second = asyncio.create_task(outcomes([users.sessions.RefreshSession(request)]))
    users_server.clock.advance(timedelta(minutes=1))
    done = [*await first, *await second]
    answers = [each for each in done if isinstance(each, pb.RefreshSessionResponse)]
    assert {each for each in done if isinstance(each, str)} <= {"REQUEST_IN_FLIGHT"}
    assert len({each.session_token for each in answers}) == 1
    again = await users.sessions.RefreshSession(request)
    assert again == answers[0]
    good = pb.ValidateSessionRequest(session_token=again.session_token)
    assert (await users.sessions.ValidateSession(good)).session.id == made.session.id


@pytest.mark.long
async def test_a_storm_of_cancelled_validations_mixes_nobody_up(users: Stubs) -> None:
    """While two thirds of a thousand validations are cancelled at any moment, each other gets its own session."""
    made = [await new_session(users) for _ in range(20)]
    choose = random.Random(7)

    async def validate() -> tuple[str, str, str]:
        wanted = choose.choice(made)
        request = pb.ValidateSessionRequest(session_token=wanted.session_token, include_user=True)
        call = users.sessions.ValidateSession(request)
        if choose.random() < 2 / 3:
            asyncio.get_running_loop().call_later(choose.random() / 50, call.cancel)
        answer = await call
        return wanted.session.id, answer.session.id, answer.user.id

    owners = {each.session.id: each.session.user_id for each in made}
    good = 0
    for _ in range(10):
        done = await asyncio.gather(*(validate() for _ in range(100)), return_exceptions=True)
        for each in done:
            if isinstance(each, tuple):
                wanted, session, user = each
                assert (session, user) == (wanted, owners[wanted])
                good += 1
            else:
                assert isinstance(each, asyncio.CancelledError)
    assert good >= 200
    # Afterwards, too, every connection answers what it is asked.
    for known in made:
        request = pb.ValidateSessionRequest(session_token=known.session_token)
        assert (await users.sessions.ValidateSession(request)).session.id == known.session.id
