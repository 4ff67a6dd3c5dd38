"""DisableUser and EnableUser over the wire: who is disabled has no session, gets none, and nobody else is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import argon2
import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2, user_service_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb
from vibework.users.v1.user_pb2 import User

from tests.harness.clocks import VirtualClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, told, users_service, violated
from tests.integration.users.lock_waits import uncommitted, wait_for_lock
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    link,
    new_email,
    new_session,
    new_user,
    outcome,
    provider_account,
    secret_of,
    session_is_valid,
    sign_in_request,
    signs_in,
    verification,
    wrong,
)

ACTIVE, DISABLED = user_pb2.USER_STATE_ACTIVE, user_pb2.USER_STATE_DISABLED
# Beyond 2038, where a TIMESTAMP ends, and the last time that a Timestamp can say.
FAR: Final = [datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
# Attempts at one account.
FEW: Final = 5


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server that allows few attempts at an account."""
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, attempts_per_account=FEW) as served,
    ):
        yield served


@pytest_asyncio.fixture
async def user(users: Stubs) -> User:
    """A user with a password, whose address is verified."""
    return await new_user(users, password=PASSWORD, email_verified=True)


def at(time: datetime) -> Timestamp:
    """Return a time as callers send it."""
    sent = Timestamp()
    sent.FromDatetime(time)
    return sent


def disable(users: Stubs, user: User, **fields: Any) -> Awaitable[Any]:
    """Disable a user."""
    return users.users.DisableUser(user_service_pb2.DisableUserRequest(id=user.id, **fields))


async def enable(users: Stubs, user: User, **fields: Any) -> User:
    """Enable a user."""
    return (await users.users.EnableUser(user_service_pb2.EnableUserRequest(id=user.id, **fields))).user


async def read(users: Stubs, user: User) -> User:
    """Read a user."""
    return (await users.users.GetUser(user_service_pb2.GetUserRequest(id=user.id))).user


def said_of(user: User) -> list[str]:
    """Return the fields that are set and that only a disabled user has."""
    return [field.name for field, _ in user.ListFields() if field.name.startswith("disabled_")]


async def error_of(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def sign_in(users: Stubs, email: str, password: str = PASSWORD, **fields: Any) -> Awaitable[Any]:
    """Sign in with a password."""
    return users.sessions.SignIn(sessions_pb.SignInRequest(email=email, password=password, **fields))


def create_session(users: Stubs, user: User, **fields: Any) -> Awaitable[Any]:
    """Create a session for a user."""
    return users.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user.id, **fields))


def let_the_end_pass(server: UsersServer, user: User) -> None:
    """Move the end of a disablement to a time that has passed by the database's clock."""
    ended = "UPDATE users SET disabled_until = UTC_TIMESTAMP(6), updated_at = updated_at WHERE id = %s"
    server.rows(ended, user.id)


def events_of(server: UsersServer, user: User) -> list[tuple[Any, ...]]:
    """Return what was recorded of a user's state."""
    recorded = (
        "SELECT kind, revision FROM user_events WHERE user_id = %s AND kind IN ('disabled', 'enabled') ORDER BY id"
    )
    return server.rows(recorded, user.id)


async def test_disabling_ends_every_session_and_says_why(users: Stubs, users_server: UsersServer, user: User) -> None:
    """Sessions of the user end with the answer and say why; those of others live; all readers see the same user."""
    tokens, other = [await new_session(users, user.id) for _ in range(3)], await new_user(users)
    foreign, until = await new_session(users, other.id), datetime.now(UTC) + timedelta(days=1)
    before = datetime.now(UTC)
    answer = await disable(users, user, reason="spam", until=at(until))
    assert answer.revoked_sessions == 3
    assert [await session_is_valid(users, token) for token in (*tokens, foreign)] == [False] * 3 + [True]
    found = answer.user
    assert (found.state, found.disabled_reason) == (DISABLED, "spam")
    assert found.disabled_until.ToDatetime(UTC) == until
    assert before <= found.disabled_at.ToDatetime(UTC) <= datetime.now(UTC)
    assert found.etag != user.etag
    assert found.updated_at == found.disabled_at
    assert await read(users, user) == found
    by_email = user_service_pb2.GetUserRequest(email=user.email)
    assert (await users.users.GetUser(by_email)).user == found
    ids = [user.id]
    batch = await users.users.BatchGetUsers(user_service_pb2.BatchGetUsersRequest(ids=ids))
    listed = await users.users.ListUsers(user_service_pb2.ListUsersRequest(filter=user_service_pb2.UserFilter(ids=ids)))
    assert [*batch.users, *listed.users] == [found, found]
    ended = users_server.rows("SELECT DISTINCT revoked_reason FROM sessions WHERE user_id = %s", user.id)
    assert ended == [("user_disabled",)]


async def test_no_session_comes_back_with_the_user(users: Stubs, users_server: UsersServer, user: User) -> None:
    """Enabling revives no session, clears what was said, and lets new ones begin."""
    token = await new_session(users, user.id)
    disabled = (await disable(users, user, reason="spam")).user
    enabled = await enable(users, user)
    assert enabled.state == ACTIVE
    assert said_of(enabled) == []
    assert enabled.etag not in (user.etag, disabled.etag)
    assert enabled.updated_at.ToDatetime() > disabled.updated_at.ToDatetime()
    assert await read(users, user) == enabled
    assert not await session_is_valid(users, token)
    refresh = sessions_pb.RefreshSessionRequest(session_token=token)
    assert await outcome(users.sessions.RefreshSession(refresh)) == "SESSION_INVALID"
    assert await session_is_valid(users, await new_session(users, user.id))
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    assert events_of(users_server, user) == [("disabled", 2), ("enabled", 3)]


async def test_only_the_right_password_tells_that_a_user_is_disabled(users: Stubs, user: User) -> None:
    """A wrong one gets what it gets of an active user, down to the details; the right one gets USER_DISABLED."""
    refused = told(await error_of(sign_in(users, user.email, PASSWORD + "x")))
    await disable(users, user, reason="not for guessers")
    for address, password in ((user.email, PASSWORD + "x"), (user.email, "x"), (new_email(), PASSWORD)):
        assert told(await error_of(sign_in(users, address, password))) == refused
    error = await error_of(sign_in(users, user.email))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "USER_DISABLED" in told(error)
    assert "not for guessers" not in told(error)


async def test_right_passwords_are_no_guesses(users: Stubs, user: User) -> None:
    """Who tries the right one again and again meanwhile is not locked out for it once enabled; wrong ones count."""
    await disable(users, user)
    assert {await signs_in(users, user.email, PASSWORD) for _ in range(2 * FEW)} == {"USER_DISABLED"}
    assert {await signs_in(users, user.email, "wrong password") for _ in range(FEW)} == {"CREDENTIALS_INVALID"}
    assert await signs_in(users, user.email, PASSWORD) == "RATE_LIMITED"


@pytest.mark.parametrize("legacy", [False, True], ids=["outdated", "legacy"])
async def test_a_hash_that_would_be_upgraded_opens_no_session_either(
    users: Stubs, users_server: UsersServer, legacy: bool
) -> None:
    """The other way through a sign-in looks at the state, too, and upgrades nothing."""
    hashed = argon2.PasswordHasher(1, 8 * 1024, 1).hash(PASSWORD)
    user = await new_user(users)
    if legacy:
        users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", hashed, user.id)
    else:
        request = accounts_pb.SetPasswordRequest(user_id=user.id, password_hash=hashed)
        await users.accounts.SetPassword(request)
    await disable(users, user)
    assert await signs_in(users, user.email, PASSWORD) == "USER_DISABLED"
    assert await signs_in(users, user.email, "wrong password") == "CREDENTIALS_INVALID"
    stored = "SELECT COALESCE(a.password, u.password_hash) FROM users u LEFT JOIN accounts a ON a.user_id = u.id"
    assert users_server.rows(f"{stored} WHERE u.id = %s", user.id) == [(hashed,)]
    await enable(users, user)
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_a_refusal_is_not_remembered(users: Stubs, user: User) -> None:
    """A request_id that was refused is free once the user is enabled; one that was answered answers the same."""
    first = await create_session(users, user, request_id=(answered := str(uuid4())))
    await disable(users, user)
    refused = str(uuid4())
    assert await outcome(create_session(users, user, request_id=refused)) == "USER_DISABLED"
    assert await outcome(sign_in(users, user.email, request_id=refused)) == "USER_DISABLED"
    assert await create_session(users, user, request_id=answered) == first
    assert not await session_is_valid(users, first.session_token)
    await enable(users, user)
    assert await outcome(create_session(users, user, request_id=refused)) == "OK"
    assert await outcome(sign_in(users, user.email, request_id=refused)) == "OK"


async def test_a_provider_opens_no_session_and_links_nothing(users: Stubs, user: User) -> None:
    """A provider's word for the user is told USER_DISABLED; one that does not prove the address learns nothing."""
    account = provider_account(access_token="before")
    linked = await link(users, user.id, account)
    await disable(users, user)
    account.tokens.access_token = "after"
    assert await outcome(users.accounts.SignInWithAccount(sign_in_request(account, ""))) == "USER_DISABLED"
    other = provider_account()
    by_address = sign_in_request(other, user.email)
    assert await outcome(users.accounts.SignInWithAccount(by_address)) == "USER_DISABLED"
    unproved = sign_in_request(other, user.email, verified=False)
    assert await outcome(users.accounts.SignInWithAccount(unproved)) == "LINKING_NOT_ALLOWED"
    kept = [each for each in await accounts_of(users, user.id) if each.provider != "credential"]
    assert kept == [linked]
    await enable(users, user)
    assert await outcome(users.accounts.SignInWithAccount(sign_in_request(account, ""))) == "OK"


async def test_a_secret_opens_no_session(users: Stubs, user: User) -> None:
    """The right one is told USER_DISABLED, as often as it is tried, and is good once the user is enabled."""
    await disable(users, user)
    created = await verification(users, verifications_pb.VERIFICATION_PURPOSE_SIGN_IN, user.email)
    right = verifications_pb.SignInWithVerificationRequest(secret=secret_of(created))
    guessed = verifications_pb.SignInWithVerificationRequest(secret=wrong(created))
    by_secret = users.verifications.SignInWithVerification
    assert {await outcome(by_secret(right)) for _ in range(2 * FEW)} == {"USER_DISABLED"}
    assert await outcome(by_secret(guessed)) == "VERIFICATION_INVALID"
    await enable(users, user)
    answer = await by_secret(right)
    assert answer.user.state == ACTIVE
    assert await session_is_valid(users, answer.session_token)


async def test_an_end_passes_by_itself(users: Stubs, users_server: UsersServer, user: User) -> None:
    """Once it has passed the user is active for everybody, with nothing said any more, and no call was needed."""
    token = await new_session(users, user.id)
    await disable(users, user, reason="a day off", until=at(datetime.now(UTC) + timedelta(days=1)))
    assert await signs_in(users, user.email, PASSWORD) == "USER_DISABLED"
    let_the_end_pass(users_server, user)
    found = await read(users, user)
    assert found.state == ACTIVE
    assert said_of(found) == []
    assert (await sign_in(users, user.email)).user == found
    assert not await session_is_valid(users, token)
    assert await session_is_valid(users, await new_session(users, user.id))
    # An active user stays as is.
    assert await enable(users, user) == found
    again = (await disable(users, user)).user
    assert again.disabled_at.ToDatetime() == again.updated_at.ToDatetime()
    assert events_of(users_server, user) == [("disabled", 2), ("disabled", 3)]


@pytest.mark.parametrize("until", FAR, ids=str)
async def test_an_end_may_be_far_away(users: Stubs, user: User, until: datetime) -> None:
    """What a Timestamp can say is kept to the microsecond, and read back."""
    answer = await disable(users, user, until=at(until))
    assert answer.user.disabled_until.ToDatetime(UTC) == until
    assert await read(users, user) == answer.user
    assert await outcome(create_session(users, user)) == "USER_DISABLED"


@pytest.mark.parametrize("off", [timedelta(), timedelta(minutes=10), timedelta(minutes=-10)], ids=str)
async def test_an_end_is_after_now_by_the_clock_that_it_passes_by(
    users_server: UsersServer, user: User, off: timedelta
) -> None:
    """The database's clock decides, whatever a process's shows; an end that is not to come changes nothing."""
    clock = VirtualClock()
    clock.advance(off)
    with users_service(users_server.database, clock, VirtualClock()) as served:
        async with served.aio_channel() as channel:
            users, now = Stubs.on(channel), datetime.now(UTC)
            token = await new_session(users, user.id)
            for passed in (now, now - timedelta(days=400), datetime.min.replace(tzinfo=UTC)):
                error = await error_of(disable(users, user, until=at(passed)))
                assert violated(error) == {"until": "TIMESTAMP_GT_NOW"}
            assert await read(users, user) == user
            assert await session_is_valid(users, token)
            answer = await disable(users, user, until=at(now + timedelta(minutes=5)))
            assert answer.user.state == DISABLED


async def test_an_etag_guards_both(users: Stubs, users_server: UsersServer, user: User) -> None:
    """A state that the caller has not seen is ABORTED, and neither user nor sessions change."""
    token = await new_session(users, user.id)
    assert await outcome(disable(users, user, etag='"99"')) == "ETAG_MISMATCH"
    assert await outcome(enable(users, user, etag='"99"')) == "ETAG_MISMATCH"
    assert await read(users, user) == user
    assert await session_is_valid(users, token)
    disabled = (await disable(users, user, etag=user.etag)).user
    assert await outcome(enable(users, user, etag=user.etag)) == "ETAG_MISMATCH"
    assert await read(users, user) == disabled
    assert (await enable(users, user, etag=disabled.etag)).state == ACTIVE
    assert events_of(users_server, user) == [("disabled", 2), ("enabled", 3)]


async def test_disabling_again_changes_reason_and_end(users: Stubs, users_server: UsersServer, user: User) -> None:
    """Since when stays; what is not named any more is gone; a repeat that says the same changes nothing."""
    until = at(datetime.now(UTC) + timedelta(days=1))
    first = (await disable(users, user, reason="spam", until=until)).user
    second = (await disable(users, user, reason="fraud")).user
    assert (second.disabled_reason, second.HasField("disabled_until")) == ("fraud", False)
    assert second.disabled_at == first.disabled_at
    assert second.etag != first.etag
    assert second.updated_at.ToDatetime() > first.updated_at.ToDatetime()
    again = await disable(users, user, reason="fraud")
    assert (again.user, again.revoked_sessions) == (second, 0)
    assert events_of(users_server, user) == [("disabled", 2), ("disabled", 3)]


async def test_a_user_who_is_not_there(users: Stubs) -> None:
    """Both are NOT_FOUND for an id that names nobody, also where it differs by a space at its end only."""
    user = await new_user(users)
    for id_ in (f"user_{uuid4().hex}", f"{user.id} "):
        assert await outcome(disable(users, User(id=id_))) == "USER_NOT_FOUND"
        assert await outcome(enable(users, User(id=id_))) == "USER_NOT_FOUND"
    assert (await read(users, user)).state == ACTIVE


async def test_a_mask_names_the_state(users: Stubs, user: User) -> None:
    """Who asks for the state alone gets the state alone."""
    await disable(users, user, reason="spam")
    request = user_service_pb2.GetUserRequest(id=user.id, read_mask=FieldMask(paths=["state"]))
    assert (await users.users.GetUser(request)).user == User(state=DISABLED)


async def test_an_update_of_a_disabled_user_leaves_the_state(users: Stubs, user: User) -> None:
    """Whoever changes the name of a disabled user lets nobody in by it."""
    disabled = (await disable(users, user, reason="spam")).user
    request = user_service_pb2.UpdateUserRequest(
        user=User(id=user.id, name="Bea", state=ACTIVE), update_mask=FieldMask(paths=["name"])
    )
    changed = (await users.users.UpdateUser(request)).user
    assert (changed.name, changed.state, changed.disabled_at) == ("Bea", DISABLED, disabled.disabled_at)
    assert await outcome(create_session(users, user)) == "USER_DISABLED"


async def test_a_session_that_one_process_thinks_expired_ends_for_all(
    users_server: UsersServer, users: Stubs, user: User
) -> None:
    """A process whose clock is ahead disables: sessions that live by the others' clocks end as well, uncounted."""
    token = await new_session(users, user.id)
    clock = VirtualClock()
    clock.advance(timedelta(days=7, minutes=1))
    with users_service(users_server.database, clock, VirtualClock()) as served:
        async with served.aio_channel() as channel:
            answer = await disable(Stubs.on(channel), user)
    assert answer.revoked_sessions == 0
    assert not await session_is_valid(users, token)
    refresh = sessions_pb.RefreshSessionRequest(session_token=token)
    assert await outcome(users.sessions.RefreshSession(refresh)) == "SESSION_INVALID"


DISABLING: Final = (
    "UPDATE users SET disabled_at = UTC_TIMESTAMP(6), is_disabled = 1, revision = revision + 1 WHERE id = %(id)s"
)
ENABLING: Final = "UPDATE users SET disabled_at = NULL, is_disabled = 0, revision = revision + 1 WHERE id = %(id)s"


def by_account(users: Stubs, user: User) -> Awaitable[Any]:
    """Sign in with the account that is linked to the user."""
    return users.accounts.SignInWithAccount(sign_in_request(provider_account(user.id), user.email))


def by_password(users: Stubs, user: User) -> Awaitable[Any]:
    """Sign in with the password."""
    return sign_in(users, user.email)


Door = Callable[[Stubs, User], Awaitable[Any]]
DOORS: Final[list[Door]] = [by_password, by_account, create_session]


@pytest.mark.parametrize("door", DOORS)
async def test_whoever_is_at_the_door_waits_for_the_state(
    users: Stubs, users_server: UsersServer, user: User, door: Door
) -> None:
    """A session is not stored beside a change of the state that has not committed: it waits, and sees what became."""
    await link(users, user.id, provider_account(user.id))
    async with uncommitted(users_server, DISABLING, {"id": user.id}):
        waiting = asyncio.create_task(outcome(door(users, user)))
        await wait_for_lock(users_server)
    assert await waiting == "USER_DISABLED"
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", user.id) == [(0,)]


@pytest.mark.parametrize("door", DOORS)
async def test_whoever_comes_in_with_the_change_is_told_of_an_active_user(
    users: Stubs, users_server: UsersServer, user: User, door: Door
) -> None:
    """A sign-in that read the user as disabled, and got in because EnableUser came first, answers the user of now."""
    await link(users, user.id, provider_account(user.id))
    await disable(users, user)
    async with uncommitted(users_server, ENABLING, {"id": user.id}):
        waiting = asyncio.ensure_future(door(users, user))
        await wait_for_lock(users_server)
    answer = await waiting
    assert await session_is_valid(users, answer.session_token)
    if door is not create_session:
        assert answer.user == await read(users, user)
        assert answer.user.state == ACTIVE


async def test_who_signs_up_is_active(users: Stubs) -> None:
    """The first session of a user is stored like all others, and says so."""
    answer = await users.sessions.SignUp(sessions_pb.SignUpRequest(email=new_email(), password=PASSWORD))
    assert answer.user.state == ACTIVE
    assert await session_is_valid(users, answer.session_token)
