"""SignInWithVerification: a secret makes a session, and a user where asked to; all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.users import Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    new_email,
    new_user,
    outcome,
    secret_of,
    session_is_valid,
    signs_in,
    verification,
    wrong,
)

SIGN_IN: Final = pb.VERIFICATION_PURPOSE_SIGN_IN
CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
KINDS: Final = [CODE, TOKEN]
ANN: Final = pb.SignInWithVerificationRequest.NewUser(name="Ann", image="https://example.com/ann.png")
CLIENT: Final = user_pb2.ClientContext(ip_address="192.0.2.7", user_agent="Browser/1")


def request_of(created: pb.CreateVerificationResponse, **fields: Any) -> pb.SignInWithVerificationRequest:
    """Make a sign-in with the secret of a verification."""
    return pb.SignInWithVerificationRequest(**{"secret": secret_of(created), "client": CLIENT} | fields)


async def signed_in(users: Stubs, request: pb.SignInWithVerificationRequest) -> pb.SignInWithVerificationResponse:
    """Sign in."""
    response: pb.SignInWithVerificationResponse = await users.verifications.SignInWithVerification(request)
    return response


async def ends(users: Stubs, request: pb.SignInWithVerificationRequest) -> str:
    """Sign in, and return how that ends."""
    return await outcome(users.verifications.SignInWithVerification(request))


async def read(users: Stubs, user_id: str) -> user_pb2.User:
    """Read a user."""
    return (await users.users.GetUser(users_pb.GetUserRequest(id=user_id))).user


@pytest.mark.parametrize("kind", KINDS)
async def test_a_secret_makes_one_session(users: Stubs, kind: Any) -> None:
    """The token is good, the session says how its user was authenticated and from where; the secret is consumed."""
    user = await new_user(users, password=PASSWORD, email_verified=True)
    request = request_of(await verification(users, SIGN_IN, user.email.upper(), kind))
    done = await signed_in(users, request)
    assert await session_is_valid(users, done.session_token)
    assert done.user == user == await read(users, user.id)
    assert not done.user_created
    assert not done.HasField("ended_access")
    session = done.session
    assert session.authentication_method == sessions_pb.AUTHENTICATION_METHOD_VERIFICATION
    assert (session.user_id, session.ip_address, session.user_agent) == (user.id, "192.0.2.7", "Browser/1")
    assert session.expires_at.ToDatetime() - session.created_at.ToDatetime() == timedelta(days=7)
    listed = await users.sessions.ListSessions(sessions_pb.ListSessionsRequest(user_id=user.id))
    assert [item.id for item in listed.sessions] == [session.id]
    assert await ends(users, request) == "VERIFICATION_INVALID"
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_who_is_not_remembered_has_a_day(users: Stubs) -> None:
    """The session ends after 1 day and is not extended."""
    user = await new_user(users, email_verified=True)
    created = await verification(users, SIGN_IN, user.email)
    session = (await signed_in(users, request_of(created, do_not_remember=True))).session
    assert session.do_not_remember
    assert session.expires_at.ToDatetime() - session.created_at.ToDatetime() == timedelta(days=1)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_user_is_created_where_the_request_says_so(users: Stubs, users_server: UsersServer, kind: Any) -> None:
    """With the proved address, verified, name and picture; nothing ended, and the event is that of a new user."""
    email = new_email()
    created = await verification(users, SIGN_IN, email.upper(), kind)
    done = await signed_in(users, request_of(created, new_user=ANN))
    assert done.user_created
    assert not done.HasField("ended_access")
    assert (done.user.email, done.user.email_verified, done.user.name, done.user.image) == (
        email,
        True,
        ANN.name,
        ANN.image,
    )
    assert done.user == await read(users, done.user.id)
    assert await session_is_valid(users, done.session_token)
    recorded = users_server.rows("SELECT kind, revision FROM user_events WHERE user_id = %s", done.user.id)
    assert recorded == [("created", 1)]


async def test_an_existing_user_is_not_changed_by_new_user(users: Stubs) -> None:
    """Name and picture are for who is created; who has the address is signed in as it is."""
    user = await new_user(users, email_verified=True)
    created = await verification(users, SIGN_IN, user.email)
    done = await signed_in(users, request_of(created, new_user=ANN))
    assert not done.user_created
    assert done.user == user


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_is_created_unasked(users: Stubs, kind: Any) -> None:
    """USER_NOT_FOUND consumes nothing: the same secret creates the user once the request says so."""
    created = await verification(users, SIGN_IN, new_email(), kind)
    for _ in range(2):
        assert await ends(users, request_of(created)) == "USER_NOT_FOUND"
    assert await ends(users, request_of(created, new_user={"name": ""})) == "OK"


async def test_whether_a_user_exists_is_told_to_no_guesser(users: Stubs) -> None:
    """A wrong secret ends alike for a user's address, for nobody's, and whether or not a user may be created."""
    user = await new_user(users)
    for email in (user.email, new_email()):
        created = await verification(users, SIGN_IN, email)
        for fields in ({}, {"new_user": ANN}):
            request = request_of(created, secret=wrong(created), **fields)
            assert await ends(users, request) == "VERIFICATION_INVALID"


async def test_a_wrong_attempt_counts_though_the_call_fails(users: Stubs, users_server: UsersServer) -> None:
    """Five wrong codes end it, with and without a `request_id`, which is not used up by a refusal."""
    user, request_id = await new_user(users, email_verified=True), str(uuid4())
    created = await verification(users, SIGN_IN, user.email)
    for fields in ({}, {"request_id": request_id}, {"request_id": str(uuid4())}, {}):
        request = request_of(created, secret=wrong(created), **fields)
        assert await ends(users, request) == "VERIFICATION_INVALID"
    attempts = users_server.rows("SELECT attempts FROM verifications WHERE id = %s", created.verification.id)
    assert attempts == [(4,)]
    assert users_server.rows("SELECT request_id FROM idempotency_keys WHERE request_id = %s", request_id) == []
    assert await ends(users, request_of(created, request_id=request_id)) == "OK"
    again = await verification(users, SIGN_IN, user.email)
    for expected in ["VERIFICATION_INVALID"] * 5 + ["VERIFICATION_ATTEMPTS_EXCEEDED"]:
        assert await ends(users, request_of(again, secret=wrong(again))) == expected
    assert await ends(users, request_of(again)) == "VERIFICATION_ATTEMPTS_EXCEEDED"


async def test_a_repeat_has_the_first_answer(users: Stubs, users_server: UsersServer) -> None:
    """The same `request_id`: the same session and token, whoever's browser it came from; another body is refused."""
    email, request_id = new_email(), str(uuid4())
    created = await verification(users, SIGN_IN, email, TOKEN)
    first = await signed_in(users, request_of(created, new_user=ANN, request_id=request_id))
    elsewhere = user_pb2.ClientContext(ip_address="192.0.2.99", user_agent="Browser/2")
    again = request_of(created, new_user=ANN, request_id=request_id.upper(), client=elsewhere)
    assert await signed_in(users, again) == first
    other = request_of(created, new_user=ANN, request_id=request_id, do_not_remember=True)
    assert await ends(users, other) == "REQUEST_ID_REUSED"
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", first.user.id) == [(1,)]
    kept = users_server.rows("SELECT response FROM idempotency_keys WHERE request_id = %s", request_id)
    assert first.session_token.encode() not in kept[0][0]


async def test_a_disabled_user_is_told_so_only_with_the_right_secret(users: Stubs, users_server: UsersServer) -> None:
    """Who guesses learns nothing; who proves the address hears USER_DISABLED, has no session, and consumes nothing."""
    user = await new_user(users)
    await users.users.DisableUser(users_pb.DisableUserRequest(id=user.id))
    created = await verification(users, SIGN_IN, user.email)
    assert await ends(users, request_of(created, secret=wrong(created))) == "VERIFICATION_INVALID"
    for _ in range(2):
        assert await ends(users, request_of(created, new_user=ANN)) == "USER_DISABLED"
    assert users_server.rows("SELECT id FROM sessions WHERE user_id = %s", user.id) == []
    assert users_server.rows("SELECT email_verified FROM users WHERE id = %s", user.id) == [(0,)]
    await users.users.EnableUser(users_pb.EnableUserRequest(id=user.id))
    assert await ends(users, request_of(created)) == "OK"


@pytest.fixture
def narrow_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A server on the same database that lets one address make one user."""
    with users_service(users_server.database, users_server.clock, attempts_per_address=1) as served:
        yield served


async def test_new_users_are_limited_by_address_and_their_secrets_stay_good(
    users: Stubs, narrow_server: UsersServer
) -> None:
    """Who made too many users waits, with a secret that is not used up; users who are there sign in all the same."""
    there = await new_user(users, email_verified=True)
    async with narrow_server.aio_channel() as channel:
        narrow = Stubs.on(channel)
        made = [await verification(narrow, SIGN_IN, email) for email in (new_email(), new_email(), there.email)]
        office = user_pb2.ClientContext(ip_address="203.0.113.250")
        outcomes = [await ends(narrow, request_of(created, new_user=ANN, client=office)) for created in made]
    assert outcomes == ["OK", "RATE_LIMITED", "OK"]
    assert await ends(users, request_of(made[1], new_user=ANN)) == "OK"
