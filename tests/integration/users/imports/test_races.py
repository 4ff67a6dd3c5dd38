"""Imports that race sign-ups and each other: unique keys decide, and every answer is true."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2, user_service_pb2

from tests.harness.users import Stubs, UsersServer, reason
from tests.integration.users.imports.coming_in import (
    ALREADY_THERE,
    IMPORTED,
    account,
    imported,
    incoming,
    refused,
    results,
    said,
    session,
)
from tests.integration.users.lock_waits import uncommitted, wait_for_lock
from tests.integration.users.ways_to_sign_in import PASSWORD, new_email, new_session, new_user
from users_service.imports import repository
from users_service.imports.conflicts import Taken

# Why a call may be told to come again.
AGAIN = {"CONFLICT_RETRY", "DATABASE_UNAVAILABLE"}
INSERT = "INSERT INTO users (id, email, email_normalized) VALUES (%(id)s, %(email)s, %(email)s)"


async def signed_up(users: Stubs, email: str) -> str:
    """Sign up; return how that ends."""
    try:
        await users.sessions.SignUp(session_service_pb2.SignUpRequest(email=email, password=PASSWORD))
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "OK"


async def told(users: Stubs, *messages: Any) -> list[tuple[str, str, str]]:
    """Import, and again for as long as the server asks for that."""
    while True:
        request = user_service_pb2.ImportUsersRequest(users=messages)
        try:
            return [said(outcome) for outcome in (await users.users.ImportUsers(request)).outcomes]
        except grpc.aio.AioRpcError as error:
            assert reason(error) in AGAIN  # noqa: PT017 - any other error ends the test


async def test_sign_ups_and_imports_of_one_address_make_one_user(many: list[Stubs], users_server: UsersServer) -> None:
    """Whoever comes first has it, and all others are told so, each in its own way; no batch fails for it."""
    email = new_email()
    bystanders = [incoming() for _ in range(16)]
    imports = [told(many[number % 4], incoming(), incoming(email=email), bystanders[number]) for number in range(16)]
    sign_ups = [signed_up(many[number % 4], email) for number in range(16)]
    done: list[Any] = await asyncio.gather(*imports, *sign_ups)
    ends = [outcomes[1] for outcomes in done[:16]]
    assert all(outcomes[0] == outcomes[2] == IMPORTED for outcomes in done[:16])
    assert set(ends) <= {IMPORTED, refused("EMAIL_TAKEN", "email")}
    assert set(done[16:]) <= {"OK", "EMAIL_TAKEN"} | AGAIN
    assert ends.count(IMPORTED) + done[16:].count("OK") == 1
    assert users_server.rows("SELECT COUNT(*) FROM users WHERE email_normalized = %s", email) == [(1,)]


async def test_imports_of_the_same_users_at_once_store_each_once(many: list[Stubs], users_server: UsersServer) -> None:
    """Eight runs of one import, in different orders: all are told of the same users, and every one is whole."""
    messages = [incoming(accounts=[account()], sessions=[session()]) for _ in range(60)]
    orders = [messages if number % 2 else messages[::-1] for number in range(8)]
    done = await asyncio.gather(*(told(many[number % 4], *order) for number, order in enumerate(orders)))
    assert {outcome for outcomes in done for outcome in outcomes} == {IMPORTED, ALREADY_THERE}
    assert sum(results(outcomes).count("IMPORTED") for outcomes in done) == 60
    ids = [message.id for message in messages]
    for table, column in (
        ("users", "id"),
        ("accounts", "user_id"),
        ("sessions", "user_id"),
        ("user_events", "user_id"),
    ):
        marks = ", ".join(["%s"] * len(ids))
        rows = users_server.rows(f"SELECT COUNT(*) FROM {table} WHERE {column} IN ({marks})", *ids)
        assert rows == [(60,)], table


@pytest.mark.parametrize("taken", ["id", "email"])
async def test_what_is_taken_while_the_import_waits_refuses_one_user(
    users: Stubs, users_server: UsersServer, taken: str
) -> None:
    """The look-up saw nothing yet; the unique key refuses the row, and the others of the batch come in all the same."""
    message = incoming()
    row = {"id": incoming().id, "email": new_email(), taken: getattr(message, taken)}
    async with uncommitted(users_server, INSERT, row):
        call = asyncio.create_task(imported(users, incoming(), message, incoming()))
        await wait_for_lock(users_server)
    expected = ALREADY_THERE if taken == "id" else refused("EMAIL_TAKEN", "email")
    assert await call == [IMPORTED, expected, IMPORTED]


async def test_where_no_look_up_finds_what_a_key_refuses_the_others_still_come_in(
    users: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a collation of another system, to which different texts are equal: each then has its own transaction."""
    there = await new_user(users)
    token = await new_session(users, there.id)

    async def finds_nothing(connection: Any, incoming: Any) -> Taken:
        return Taken()

    monkeypatch.setattr(repository, "find_taken", finds_nothing)
    assert await imported(
        users,
        incoming(),
        incoming(id=there.id),
        incoming(email=there.email),
        incoming(sessions=[session(token)]),
        incoming(),
    ) == [
        IMPORTED,
        refused("INVALID_FIELDS", "id"),
        refused("EMAIL_TAKEN", "email"),
        refused("SESSION_TOKEN_TAKEN", "sessions"),
        IMPORTED,
    ]
