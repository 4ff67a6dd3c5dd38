"""DeleteUser over the wire: everything of the user goes, at once or not at all."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from vibework.users.v1 import account_service_pb2, session_service_pb2, verification_service_pb2
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from tests.harness.users import Stubs, UsersServer, reason

TABLES = ("users", "sessions", "rotated_session_tokens", "accounts", "verifications")


async def full_user(users: Stubs) -> tuple[User, str]:
    """Create a user who has something in every table; return it with a session token."""
    email = f"{uuid.uuid4().hex}@Example.com"
    user = (await users.users.CreateUser(pb.CreateUserRequest(email=email, password="correct horse"))).user
    first = await users.sessions.CreateSession(session_service_pb2.CreateSessionRequest(user_id=user.id))
    await users.sessions.CreateSession(session_service_pb2.CreateSessionRequest(user_id=user.id))
    refreshed = await users.sessions.RefreshSession(
        session_service_pb2.RefreshSessionRequest(session_token=first.session_token, rotate_token=True)
    )
    provider = account_service_pb2.ProviderAccount(provider="github", account_id=user.id)
    await users.accounts.LinkAccount(account_service_pb2.LinkAccountRequest(user_id=user.id, account=provider))
    await users.verifications.CreateVerification(
        verification_service_pb2.CreateVerificationRequest(
            purpose=verification_service_pb2.VERIFICATION_PURPOSE_PASSWORD_RESET,
            identifier=email,
            kind=verification_service_pb2.VERIFICATION_KIND_TOKEN,
            delivery=verification_service_pb2.VERIFICATION_DELIVERY_RETURN_CODE,
        )
    )
    return user, refreshed.session_token


def rows_of(server: UsersServer, user: User) -> dict[str, int]:
    """Count the rows that belong to a user, by table."""
    conditions = {
        "users": "id = %s",
        "sessions": "user_id = %s",
        "rotated_session_tokens": "session_id IN (SELECT id FROM sessions WHERE user_id = %s)",
        "accounts": "user_id = %s",
        "verifications": "identifier = %s",
    }
    values = {"verifications": user.email.casefold()}
    return {
        table: server.rows(f"SELECT COUNT(*) FROM {table} WHERE {conditions[table]}", values.get(table, user.id))[0][0]
        for table in TABLES
    }


async def test_everything_of_the_user_goes(users: Stubs, users_server: UsersServer) -> None:
    """Sessions, their replaced tokens, accounts and verifications go with the user; another's stay."""
    user, token = await full_user(users)
    other, other_token = await full_user(users)
    before = rows_of(users_server, other)
    assert min(before.values()) > 0
    response = await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id, etag=user.etag))
    assert (response.deleted_sessions, response.deleted_accounts) == (2, 2)
    assert rows_of(users_server, user) == dict.fromkeys(TABLES, 0)
    assert rows_of(users_server, other) == before
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.sessions.ValidateSession(session_service_pb2.ValidateSessionRequest(session_token=token))
    assert reason(caught.value) == "SESSION_INVALID"
    await users.sessions.ValidateSession(session_service_pb2.ValidateSessionRequest(session_token=other_token))


async def test_the_address_is_free_again(users: Stubs) -> None:
    """A new user can have the address of a deleted one, and is another user."""
    user, _ = await full_user(users)
    await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id))
    assert (await users.users.CreateUser(pb.CreateUserRequest(email=user.email))).user.id != user.id


async def test_an_outdated_etag_deletes_nothing(users: Stubs, users_server: UsersServer) -> None:
    """AIP-154: who deletes what has changed meanwhile is asked to look again."""
    user, _ = await full_user(users)
    before = rows_of(users_server, user)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id, etag='"7"'))
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert reason(caught.value) == "ETAG_MISMATCH"
    assert rows_of(users_server, user) == before


async def test_of_many_deletions_one_succeeds(users: Stubs, users_server: UsersServer) -> None:
    """Sixteen at once: one answers what it deleted, the others that there is no such user, and one word is left."""
    user, _ = await full_user(users)
    calls = [users.users.DeleteUser(pb.DeleteUserRequest(id=user.id)) for _ in range(16)]
    told = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in told if isinstance(each, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["USER_NOT_FOUND"] * 15
    assert users_server.rows("SELECT COUNT(*) FROM outbox WHERE payload LIKE %s", f"%{user.id}%") == [(2,)]


async def test_sessions_created_meanwhile_do_not_outlive_the_user(users: Stubs, users_server: UsersServer) -> None:
    """Sign-ins and new sessions that race the deletion end with the user or find none; no row is left over."""
    for _ in range(5):
        user, _ = await full_user(users)
        create = session_service_pb2.CreateSessionRequest(user_id=user.id)
        sign_in = session_service_pb2.SignInRequest(email=user.email, password="correct horse")
        calls = [users.sessions.CreateSession(create) for _ in range(8)]
        more = [users.sessions.SignIn(sign_in) for _ in range(4)]
        deletion = users.users.DeleteUser(pb.DeleteUserRequest(id=user.id))
        told = await asyncio.gather(*calls, deletion, *more, return_exceptions=True)
        reasons = {reason(each) for each in told if isinstance(each, grpc.aio.AioRpcError)}
        assert reasons <= {"USER_NOT_FOUND", "CREDENTIALS_INVALID", "CONFLICT_RETRY"}
        assert rows_of(users_server, user) == dict.fromkeys(TABLES, 0) | {
            "verifications": rows_of(users_server, user)["verifications"]
        }


async def test_a_deletion_may_be_of_a_user_who_is_missing(users: Stubs) -> None:
    """`allow_missing` answers that nothing went; an etag still guards a user who is there."""
    user, _ = await full_user(users)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id, etag='"0"', allow_missing=True))
    assert reason(caught.value) == "ETAG_MISMATCH"
    first, second = [
        await users.users.DeleteUser(pb.DeleteUserRequest(id=user.id, allow_missing=True)) for _ in range(2)
    ]
    assert first.deleted_sessions == 2
    assert second == pb.DeleteUserResponse()
