"""SignUp: user, password account and session come to be together or not at all, once per address."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from io import StringIO
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.patience import until
from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, users_service, violations

PASSWORD = "correct horse battery"


def request_for(email: str, **fields: Any) -> pb.SignUpRequest:
    """Return a request with a good password."""
    return pb.SignUpRequest(**{"email": email, "password": PASSWORD, **fields})


def fresh_email() -> str:
    """Return an address that nobody has."""
    return f"{uuid.uuid4().hex}@example.com"


async def outcome(call: Any) -> Any:
    """Return the answer of a call, or the reason of its error."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return reason(error)


def stored_of(server: UsersServer, email: str) -> tuple[int, int, int]:
    """Return how many users, accounts and sessions there are for an address."""
    tables = ("users u", "users u JOIN accounts a ON a.user_id = u.id", "users u JOIN sessions s ON s.user_id = u.id")
    counts = [server.rows(f"SELECT COUNT(*) FROM {each} WHERE u.email = %s", email)[0][0] for each in tables]
    return counts[0], counts[1], counts[2]


async def test_a_user_is_signed_up_and_in(users: Stubs, users_server: UsersServer) -> None:
    """One call makes the user, a password account with an Argon2id hash, and a session whose token works."""
    email = fresh_email().upper()
    answer = await users.sessions.SignUp(request_for(email, name="Ann", image="https://example.com/ann.png"))
    assert (answer.user.email, answer.user.name, answer.user.email_verified) == (email, "Ann", False)
    assert answer.session.user_id == answer.user.id
    request = pb.ValidateSessionRequest(session_token=answer.session_token, include_user=True)
    assert (await users.sessions.ValidateSession(request)).user == answer.user
    rows = users_server.rows(
        "SELECT provider, account_id = user_id, password FROM accounts WHERE user_id = %s", answer.user.id
    )
    assert [row[:2] for row in rows] == [("credential", 1)]
    assert rows[0][2].startswith("$argon2id$")


async def test_one_address_is_signed_up_once(users: Stubs, users_server: UsersServer) -> None:
    """Of 64 sign-ups for one address at once, in any case of its letters, one wins and 63 are told that it is taken."""
    email = fresh_email()
    requests = [request_for(email.upper() if i % 2 else email) for i in range(64)]
    done = await asyncio.gather(*(outcome(users.sessions.SignUp(each)) for each in requests))
    assert Counter(each if isinstance(each, str) else "signed up" for each in done) == {
        "signed up": 1,
        "EMAIL_TAKEN": 63,
    }
    winner = next(each for each in done if not isinstance(each, str))
    assert stored_of(users_server, winner.user.email) == (1, 1, 1)


async def test_a_repeat_gets_the_first_answer(users: Stubs, users_server: UsersServer) -> None:
    """The same request id answers the same user, session and token, also to 16 at once; another body is refused."""
    email = fresh_email()
    request = request_for(email, request_id=str(uuid.uuid4()))
    done = await asyncio.gather(*(outcome(users.sessions.SignUp(request)) for _ in range(16)))
    assert {each for each in done if isinstance(each, str)} <= {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"}
    answers = [each for each in done if not isinstance(each, str)]
    again = await users.sessions.SignUp(request)
    assert all(each == again for each in answers)
    assert stored_of(users_server, email) == (1, 1, 1)
    request.name = "Somebody else"
    assert await outcome(users.sessions.SignUp(request)) == "REQUEST_ID_REUSED"


async def test_a_repeat_is_neither_hashed_nor_counted(users: Stubs, users_server: UsersServer) -> None:
    """A caller that repeats does not use up the attempts of the address it calls for."""
    client = {"ip_address": "192.0.2.77"}
    request = request_for(fresh_email(), request_id=str(uuid.uuid4()), client=client)
    answers = [await users.sessions.SignUp(request) for _ in range(5)]
    assert all(each == answers[0] for each in answers)
    counted = "SELECT attempts FROM attempt_counters WHERE scope = 'sign_up:address'"
    assert users_server.rows(counted) == [(1,)]


async def test_a_taken_address_leaves_nothing(users: Stubs, users_server: UsersServer) -> None:
    """A refused sign-up stores neither account nor session, and its request id stays free."""
    email = fresh_email()
    await users.sessions.SignUp(request_for(email))
    request = request_for(email.title(), request_id=str(uuid.uuid4()))
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await users.sessions.SignUp(request)
    assert (taken.value.code(), reason(taken.value)) == (grpc.StatusCode.ALREADY_EXISTS, "EMAIL_TAKEN")
    assert stored_of(users_server, email) == (1, 1, 1)
    assert users_server.rows("SELECT * FROM idempotency_keys WHERE request_id = %s", request.request_id) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": "x" * 7}, ["password"]),
        ({"password": "x" * 129}, ["password"]),
        ({"email": "nobody", "password": ""}, ["email", "password"]),
        ({"client": {"ip_address": "300.0.0.1"}}, ["client.ip_address"]),
        ({"request_id": "1"}, ["request_id"]),
    ],
)
async def test_wrong_fields_are_all_named(users: Stubs, fields: dict[str, Any], expected: list[str]) -> None:
    """A request that breaks rules is told of each of them, and of no value."""
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await users.sessions.SignUp(request_for(**{"email": fresh_email(), **fields}))
    assert reason(wrong.value) == "INVALID_FIELDS"
    assert sorted(violations(wrong.value)) == expected


async def test_no_password_is_stored_or_logged(users: Stubs, users_server: UsersServer, logged: StringIO) -> None:
    """Neither the tables nor the log hold a password or a token, also after refusals and repeats."""
    email, password = fresh_email(), f"secret {uuid.uuid4().hex}"
    request = request_for(email, password=password, request_id=str(uuid.uuid4()))
    token = (await users.sessions.SignUp(request)).session_token
    await users.sessions.SignUp(request)
    await outcome(users.sessions.SignUp(request_for(email, password=password)))
    await outcome(users.sessions.SignIn(pb.SignInRequest(email=email, password=password + "x")))
    await until(lambda: logged.getvalue().count("/Sign") >= 4, "the lines of the calls in the log")
    tables = [row[0] for row in users_server.rows("SHOW TABLES")]
    dump = repr([users_server.rows(f"SELECT * FROM `{table}`") for table in tables]) + logged.getvalue()
    assert email in dump
    assert password not in dump
    assert token not in dump


async def test_a_full_queue_refuses_and_counts_nothing(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """Where too many passwords wait, calls are told when to come back, and no attempt of theirs is counted."""
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, argon2_threads=1, argon2_queue=1, attempts_per_account=3) as served,
    ):
        async with served.aio_channel() as channel:
            users = Stubs.on(channel)
            email = fresh_email()
            done = await asyncio.gather(
                *(users.sessions.SignUp(request_for(fresh_email())) for _ in range(32)), return_exceptions=True
            )
            refused = [each for each in done if isinstance(each, grpc.aio.AioRpcError)]
            assert {reason(each) for each in refused} == {"PASSWORD_HASHING_BUSY"}
            assert {each.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert all(retry_seconds(each) == 1 for each in refused)
            await users.sessions.SignUp(request_for(email))
            request = pb.SignInRequest(email=email, password=PASSWORD)
            reasons = await asyncio.gather(*(outcome(users.sessions.SignIn(request)) for _ in range(3)))
            assert "RATE_LIMITED" not in reasons
            assert (await users.sessions.SignIn(request)).user.email == email
