"""CreateUser over the wire: one user for one address, one answer to one request."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import session_service_pb2
from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1.user_pb2 import User

from chassis.contract.idempotency import request_fingerprint
from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, violations

BCRYPT = "$2b$04$abcdefghijklmnopqrstuuBqhhQhW1ZfPOVPFvgNqPWOvBP.JKXGu"


def address() -> str:
    """Return an address that nobody has."""
    return f"{uuid.uuid4().hex}@Example.com"


async def outcomes(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """Carry out all calls at once; return their answers, and for errors their reasons."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [reason(each) if isinstance(each, grpc.aio.AioRpcError) else each for each in done]


async def test_a_created_user_is_read_by_id_and_by_email_in_any_case(users: Stubs) -> None:
    """What CreateUser answers is what GetUser finds, whichever way it is asked."""
    email = address()
    request = pb.CreateUserRequest(email=email, name="Ann", image="https://example.com/a.png", email_verified=True)
    created = (await users.users.CreateUser(request)).user
    by_id = (await users.users.GetUser(pb.GetUserRequest(id=created.id))).user
    by_email = (await users.users.GetUser(pb.GetUserRequest(email=email.swapcase()))).user
    assert created == by_id == by_email
    assert (created.email, created.name, created.image) == (email, "Ann", "https://example.com/a.png")
    assert created.email_verified
    assert created.id.startswith("user_")


async def test_an_address_is_taken_in_any_case(users: Stubs) -> None:
    """Uniqueness is of the normalised address, so capitals make no second user."""
    email = address()
    await users.users.CreateUser(pb.CreateUserRequest(email=email))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CreateUser(pb.CreateUserRequest(email=email.upper()))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason(caught.value) == "EMAIL_TAKEN"


async def test_sixty_four_at_once_make_one_user_of_an_address(users: Stubs, users_server: UsersServer) -> None:
    """The unique key decides the race: one user, and 63 callers are told that the address is taken."""
    email = address()
    spellings = [email.upper() if number % 2 else email.lower() for number in range(64)]
    told = await outcomes(users.users.CreateUser(pb.CreateUserRequest(email=spelling)) for spelling in spellings)
    assert told.count("EMAIL_TAKEN") == 63
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE email_normalized = %s", email.casefold()) == [(1,)]


@pytest.mark.parametrize("width", [16, 64])
async def test_repeats_of_one_request_at_once_make_one_user(
    users: Stubs, users_server: UsersServer, width: int
) -> None:
    """AIP-155: all repeats are told of the same user, or to come again; none makes a second one."""
    email = address()
    request = pb.CreateUserRequest(email=email, password="correct horse", request_id=str(uuid.uuid4()))
    told = await outcomes(users.users.CreateUser(request) for _ in range(width))
    answers = {each.user.id for each in told if not isinstance(each, str)}
    refused = [each for each in told if isinstance(each, str)]
    assert len(answers) == 1
    assert set(refused) <= {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY", "DATABASE_UNAVAILABLE"}
    assert len(refused) < width / 2
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE email = %s", email) == [(1,)]
    assert (await users.users.CreateUser(request)).user.id in answers


async def test_a_repeat_is_told_the_first_answer_even_after_a_change(users: Stubs) -> None:
    """A caller that lost the answer gets exactly that answer, not the state of today."""
    request = pb.CreateUserRequest(email=address(), name="First", request_id=str(uuid.uuid4()))
    first = await users.users.CreateUser(request)
    await users.users.UpdateUser(
        pb.UpdateUserRequest(user=User(id=first.user.id, name="Second"), update_mask=FieldMask(paths=["name"]))
    )
    request.request_id = request.request_id.upper()
    assert await users.users.CreateUser(request) == first


async def test_a_request_id_belongs_to_one_body(users: Stubs) -> None:
    """A reused id with another body is a mistake of the caller, never another's answer."""
    request = pb.CreateUserRequest(email=address(), request_id=str(uuid.uuid4()))
    await users.users.CreateUser(request)
    request.name = "Somebody else"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CreateUser(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "REQUEST_ID_REUSED"


async def test_a_failure_is_not_remembered(users: Stubs) -> None:
    """What failed left nothing behind, so the same request can succeed later."""
    email = address()
    taken = (await users.users.CreateUser(pb.CreateUserRequest(email=email))).user
    request = pb.CreateUserRequest(email=email, request_id=str(uuid.uuid4()))
    assert await outcomes([users.users.CreateUser(request)]) == ["EMAIL_TAKEN"]
    await users.users.DeleteUser(pb.DeleteUserRequest(id=taken.id))
    assert (await users.users.CreateUser(request)).user.email == email


async def test_a_request_still_in_flight_is_named_so(users: Stubs, users_server: UsersServer) -> None:
    """Who repeats while the first call hangs is told to come again, with a delay."""
    request = pb.CreateUserRequest(email=address(), request_id=str(uuid.uuid4()))
    held = (
        "INSERT INTO idempotency_keys (method, request_id, fingerprint) VALUES ('CreateUser', %s, '')",
        request.request_id,
    )
    with users_server.holding(*held), pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CreateUser(request)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert reason(caught.value) == "REQUEST_IN_FLIGHT"
    assert retry_seconds(caught.value)


async def test_a_password_is_kept_as_a_hash_and_signs_in(users: Stubs, users_server: UsersServer) -> None:
    """CreateUser with a password makes the credential account that SignIn checks."""
    email = address()
    user = (await users.users.CreateUser(pb.CreateUserRequest(email=email, password="correct horse"))).user
    signed_in = await users.sessions.SignIn(session_service_pb2.SignInRequest(email=email, password="correct horse"))
    assert signed_in.user.id == user.id
    ((stored,),) = users_server.rows("SELECT password FROM accounts WHERE user_id = %s", user.id)
    assert stored.startswith("$argon2id$")


async def test_a_foreign_hash_is_taken_over_or_refused(users: Stubs, users_server: UsersServer) -> None:
    """Known formats are stored as they are; what could never be verified is refused, and nothing is created."""
    user = (await users.users.CreateUser(pb.CreateUserRequest(email=address(), password_hash=BCRYPT))).user
    assert users_server.rows("SELECT password FROM accounts WHERE user_id = %s", user.id) == [(BCRYPT,)]
    email = address()
    request = pb.CreateUserRequest(email=email, password_hash="md5:0123456789abcdef0123456789abcdef")
    assert await outcomes([users.users.CreateUser(request)]) == ["PASSWORD_HASH_UNSUPPORTED"]
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE email = %s", email) == [(0,)]


async def test_every_broken_rule_is_named_at_once(users: Stubs) -> None:
    """A form is corrected in one go: all fields that are wrong are listed."""
    request = pb.CreateUserRequest(email="nobody", name="n" * 256, password="short", request_id="1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.users.CreateUser(request)
    assert reason(caught.value) == "INVALID_FIELDS"
    assert set(violations(caught.value)) == {"email", "name", "password", "request_id"}


async def test_nothing_of_a_request_can_be_read_from_its_record(users: Stubs, users_server: UsersServer) -> None:
    """The record of a request names neither the address nor the password, and its fingerprint is keyed."""
    request = pb.CreateUserRequest(email=address(), password="correct horse", request_id=str(uuid.uuid4()))
    await users.users.CreateUser(request)
    ((fingerprint, response),) = users_server.rows(
        "SELECT fingerprint, response FROM idempotency_keys WHERE request_id = %s", request.request_id
    )
    assert request.email.encode() not in response
    assert fingerprint != request_fingerprint(request)
