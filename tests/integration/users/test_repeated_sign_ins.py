"""Sign-ins with a `request_id`, by password and by provider: a repeat gets the first answer, a failure is forgotten."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import Any, Final

import bcrypt
import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1.user_pb2 import ClientContext

from tests.harness.patience import until
from tests.harness.users import Stubs, UsersServer, reason
from tests.integration.users.lock_waits import uncommitted, wait_for_lock
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    link,
    new_email,
    new_user,
    provider_account,
    sign_in_request,
)

WIDTH: Final = 8
# What a repeat may be told while the first is under way.
COME_BACK: Final = frozenset({"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"})

SignIn = pb.SignInRequest | accounts_pb.SignInWithAccountRequest
Make = Callable[[Stubs], Awaitable[SignIn]]


def new_id() -> str:
    """Return a request_id that nobody used."""
    return str(uuid.uuid4())


async def by_password(users: Stubs) -> pb.SignInRequest:
    """Return a sign-in of a new user by password."""
    user = await new_user(users, password=PASSWORD)
    return pb.SignInRequest(email=user.email, password=PASSWORD, request_id=new_id())


async def by_account(users: Stubs) -> accounts_pb.SignInWithAccountRequest:
    """Return a sign-in with an account that is linked to a new user."""
    user, account = await new_user(users), secret_account()
    await link(users, user.id, account)
    return sign_in_with(account, user.email)


async def by_new_account(_: Stubs) -> accounts_pb.SignInWithAccountRequest:
    """Return a sign-in with an account that nobody has: its first makes the user."""
    return sign_in_with(secret_account(), new_email())


def secret_account() -> accounts_pb.ProviderAccount:
    """Return an account at a provider with tokens that nothing else has."""
    return provider_account(access_token=f"access {new_id()}", refresh_token=f"refresh {new_id()}")


def sign_in_with(account: accounts_pb.ProviderAccount, email: str) -> accounts_pb.SignInWithAccountRequest:
    """Return a sign-in with a provider account under an id of its own."""
    request = sign_in_request(account, email)
    request.request_id = new_id()
    return request


EVERY_WAY: Final = pytest.mark.parametrize("make", [by_password, by_account, by_new_account])


async def signed_in(users: Stubs, request: SignIn) -> Any:
    """Sign in; return the answer, or the reason of the error."""
    try:
        if isinstance(request, pb.SignInRequest):
            return await users.sessions.SignIn(request)
        return await users.accounts.SignInWithAccount(request)
    except grpc.aio.AioRpcError as error:
        return reason(error)


def sessions_of(server: UsersServer, user_id: str) -> int:
    """Return how many sessions a user has."""
    return int(server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", user_id)[0][0])


def copy_of(request: SignIn, **changes: Any) -> Any:
    """Return a request with other values."""
    kind: Any = type(request)
    changed = kind()
    changed.CopyFrom(request)
    changed.MergeFrom(kind(**changes))
    return changed


@EVERY_WAY
async def test_a_repeat_gets_the_first_answer(users: Stubs, users_server: UsersServer, make: Make) -> None:
    """User, session and token of the first, whoever's browser it comes from, and though the session has ended since."""
    request = await make(users)
    first = await signed_in(users, request)
    assert await signed_in(users, request) == first
    elsewhere = copy_of(request, client=ClientContext(ip_address="198.51.100.7", user_agent="another"))
    assert await signed_in(users, elsewhere) == first
    assert await signed_in(users, copy_of(request, request_id=request.request_id.upper())) == first
    assert sessions_of(users_server, first.user.id) == 1
    await users.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(user_id=first.user.id))
    assert await signed_in(users, request) == first
    other = await signed_in(users, copy_of(request, request_id=new_id()))
    assert other.session_token != first.session_token
    assert sessions_of(users_server, first.user.id) == 2


@EVERY_WAY
async def test_another_body_is_refused(users: Stubs, users_server: UsersServer, make: Make) -> None:
    """Under an id that was used, another sign-in is told so, and makes no session."""
    request = await make(users)
    first = await signed_in(users, request)
    for other in (copy_of(request, do_not_remember=True), copy_of(request, email=new_email())):
        assert await signed_in(users, other) == "REQUEST_ID_REUSED"
    if isinstance(request, pb.SignInRequest):
        assert await signed_in(users, copy_of(request, password=f"{PASSWORD}x")) == "REQUEST_ID_REUSED"
    assert sessions_of(users_server, first.user.id) == 1


@EVERY_WAY
async def test_of_repeats_at_once_one_signs_in(many: list[Stubs], users_server: UsersServer, make: Make) -> None:
    """Eight at once get one session and one token, or are told to come back; then that is what they get."""
    for _ in range(3):
        request = await make(many[0])
        done = await asyncio.gather(*(signed_in(many[n % len(many)], request) for n in range(WIDTH)))
        assert {each for each in done if isinstance(each, str)} <= COME_BACK
        again = await signed_in(many[0], request)
        assert all(each == again for each in done if not isinstance(each, str))
        assert sessions_of(users_server, again.user.id) == 1


async def test_a_wrong_password_is_not_remembered(users: Stubs, users_server: UsersServer) -> None:
    """Its id is free: the right password signs in under it; from then on the wrong one is another body."""
    right = await by_password(users)
    wrong = copy_of(right, password=f"{PASSWORD}x")
    kept = "SELECT COUNT(*) FROM idempotency_keys WHERE request_id = %s"
    for _ in range(2):
        assert await signed_in(users, wrong) == "CREDENTIALS_INVALID"
        assert users_server.rows(kept, right.request_id) == [(0,)]
    first = await signed_in(users, right)
    assert users_server.rows(kept, right.request_id) == [(1,)]
    assert await signed_in(users, wrong) == "REQUEST_ID_REUSED"
    assert await signed_in(users, right) == first


async def test_a_wrong_password_beside_the_right_one_takes_nothing_from_it(many: list[Stubs]) -> None:
    """Of right and wrong ones at once under one id the right ones sign in, once; the wrong ones never do."""
    for _ in range(3):
        right = await by_password(many[0])
        wrong = copy_of(right, password=f"{PASSWORD}x")
        requests = [right if n % 2 else wrong for n in range(WIDTH)]
        done = await asyncio.gather(*(signed_in(many[n % len(many)], each) for n, each in enumerate(requests)))
        assert set(done[::2]) <= {"CREDENTIALS_INVALID", "REQUEST_ID_REUSED"}
        assert {each for each in done[1::2] if isinstance(each, str)} <= COME_BACK
        again = await signed_in(many[0], right)
        assert all(each == again for each in done[1::2] if not isinstance(each, str))


async def test_a_repeat_is_neither_verified_nor_counted(users: Stubs, users_server: UsersServer) -> None:
    """A caller that repeats a sign-in uses up no attempt, one after the other or at once."""
    request = await by_password(users)
    request.client.ip_address = "192.0.2.78"
    counted = "SELECT scope, attempts FROM attempt_counters WHERE scope LIKE 'sign_in:%%' AND attempts > 0"
    before = Counter(users_server.rows(counted))
    done = await asyncio.gather(*(signed_in(users, request) for _ in range(WIDTH)))
    while any(isinstance(each, str) for each in done):
        done = await asyncio.gather(*(signed_in(users, request) for _ in range(WIDTH)))
    assert Counter(users_server.rows(counted)) == before


async def test_a_repeat_that_overtakes_its_first_call_waits_for_it(users: Stubs, users_server: UsersServer) -> None:
    """The first is held up in its transaction: the repeat gets that one's answer, or is told to come back."""
    request = await by_password(users)
    user_id = users_server.rows("SELECT id FROM users WHERE email = %s", request.email)[0][0]
    touched = "UPDATE users SET image = NULL, name = 'held' WHERE id = %(id)s"
    async with uncommitted(users_server, touched, {"id": user_id}):
        first = asyncio.create_task(signed_in(users, request))
        await wait_for_lock(users_server)
        second = asyncio.create_task(signed_in(users, request))
    done = [await first, await second]
    again = await signed_in(users, request)
    assert {each for each in done if isinstance(each, str)} <= COME_BACK
    assert all(each == again for each in done if not isinstance(each, str))
    assert sessions_of(users_server, user_id) == 1


async def test_a_hash_that_changes_meanwhile_is_verified_anew(users: Stubs, users_server: UsersServer) -> None:
    """What fails because of an upgrade by others is not remembered; the round after it answers, and is kept."""
    request = await by_password(users)
    user_id = users_server.rows("SELECT id FROM users WHERE email = %s", request.email)[0][0]
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    changed = "UPDATE accounts SET password = %(hash)s WHERE user_id = %(id)s"
    async with uncommitted(users_server, changed, {"hash": hashed, "id": user_id}):
        call = asyncio.create_task(signed_in(users, request))
        await wait_for_lock(users_server)
    first = await call
    assert not isinstance(first, str)
    assert await signed_in(users, request) == first
    assert sessions_of(users_server, user_id) == 1


@EVERY_WAY
async def test_what_is_kept_is_sealed(users: Stubs, users_server: UsersServer, make: Make, logged: StringIO) -> None:
    """Neither the row nor the log has the token, the password or the provider's tokens, nor a bare hash of them."""
    request = await make(users)
    answer = await signed_in(users, request)
    await signed_in(users, request)
    rows = users_server.rows("SELECT * FROM idempotency_keys WHERE request_id = %s", request.request_id)
    assert len(rows) == 1
    await until(lambda: logged.getvalue().count("/SignIn") >= 2, "the lines of the calls in the log")
    kept = repr(rows) + logged.getvalue()
    secrets = [answer.session_token, PASSWORD]
    if isinstance(request, accounts_pb.SignInWithAccountRequest):
        secrets += [value for _, value in request.account.tokens.ListFields() if isinstance(value, str)]
    assert [secret for secret in secrets if secret and secret in kept] == []
