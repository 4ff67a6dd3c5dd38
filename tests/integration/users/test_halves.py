"""Requests whose answer is kept, and whose work a crash between two commits has taken; over shards that can be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.users import Stubs, UsersServer
from tests.harness.vitess.keyspaces import SHARDS, database_of
from tests.integration.users.ways_to_sign_in import PASSWORD, accounts_of, new_user, outcome, provider_account
from users_service.sessions import tokens

pytestmark = pytest.mark.vitess

Call = Callable[[], Awaitable[Any]]
# Of what a user has, but for the lookups, which are committed first.
OF_A_USER: Final = (
    "DELETE FROM accounts WHERE user_id = '{}'",
    "DELETE FROM sessions WHERE user_id = '{}'",
    "DELETE FROM users WHERE id = '{}'",
)


@pytest.fixture
def lose(users_server: UsersServer, mysql_server: MySQLServer) -> Callable[..., None]:
    """Carry out statements past vtgate on each shard, so that its lookups stay as they are."""

    def carry_out(*statements: str) -> None:
        for shard in SHARDS:
            name = database_of(users_server.database.name, shard)
            run_mysql(mysql_server.behind(), ["SET FOREIGN_KEY_CHECKS = 0", *statements], database=name)

    return carry_out


def create(users: Stubs, *, email: str, request_id: str) -> Call:
    """Return a call that creates a user."""
    request = users_pb.CreateUserRequest(email=email, request_id=request_id)
    return lambda: users.users.CreateUser(request)


def sign_up(users: Stubs, *, email: str, request_id: str) -> Call:
    """Return a call that signs somebody up."""
    request = sessions_pb.SignUpRequest(email=email, password=PASSWORD, request_id=request_id)
    return lambda: users.sessions.SignUp(request)


@pytest.mark.parametrize("way", [create, sign_up])
async def test_who_was_lost_is_made_by_a_repeat(users: Stubs, lose: Callable[..., None], way: Any) -> None:
    """The caller has no answer and repeats: what the key of the request stands for must be there then."""
    email = f"{uuid4().hex}@example.com"
    call = way(users, email=email, request_id=str(uuid4()))
    first = await call()
    lose(*(statement.format(first.user.id) for statement in OF_A_USER))
    again = await call()
    assert again.user.email == email
    assert await outcome(users.users.GetUser(users_pb.GetUserRequest(id=again.user.id))) == "OK"
    assert await call() == again
    if way is sign_up:
        token = sessions_pb.ValidateSessionRequest(session_token=again.session_token)
        assert await outcome(users.sessions.ValidateSession(token)) == "OK"


async def test_of_many_repeats_at_once_one_makes_it(users: Stubs, lose: Callable[..., None]) -> None:
    """All find the same key without its user, and all get one answer."""
    call = sign_up(users, email=f"{uuid4().hex}@example.com", request_id=str(uuid4()))
    first = await call()
    lose(*(statement.format(first.user.id) for statement in OF_A_USER))
    answers = await asyncio.gather(*[call() for _ in range(8)])
    assert {answer.user.id for answer in answers} == {answers[0].user.id} != {first.user.id}


async def test_a_link_that_was_lost_is_made_by_a_repeat(users: Stubs, lose: Callable[..., None]) -> None:
    """The account is listed after it, and linked once."""
    user = await new_user(users)
    request = accounts_pb.LinkAccountRequest(user_id=user.id, account=provider_account(), request_id=str(uuid4()))
    await users.accounts.LinkAccount(request)
    lose(f"DELETE FROM accounts WHERE user_id = '{user.id}'")
    again = await users.accounts.LinkAccount(request)
    assert await accounts_of(users, user.id) == [again.account]
    assert await users.accounts.LinkAccount(request) == again


async def test_a_refresh_that_was_lost_is_made_by_a_repeat(
    users: Stubs, users_server: UsersServer, lose: Callable[..., None]
) -> None:
    """The token that the caller has last is good, and no session counts as stolen."""
    signed_up = await sign_up(users, email=f"{uuid4().hex}@example.com", request_id=str(uuid4()))()
    request = sessions_pb.RefreshSessionRequest(
        session_token=signed_up.session_token, rotate_token=True, request_id=str(uuid4())
    )
    refreshed = await users.sessions.RefreshSession(request)
    old, new = (tokens.digest(each.session_token) for each in (signed_up, refreshed))
    lose(
        f"UPDATE sessions SET token_hash = X'{old.hex()}' WHERE id = '{signed_up.session.id}'",
        f"DELETE FROM rotated_session_tokens WHERE session_id = '{signed_up.session.id}'",
    )
    # The lookup of the old token would have been removed last.
    ((place,),) = users_server.rows("SELECT keyspace_id FROM token_lookup WHERE token_hash = %s", new)
    users_server.rows("INSERT INTO token_lookup (token_hash, keyspace_id) VALUES (%s, %s)", old, place)
    again = await users.sessions.RefreshSession(request)
    token = sessions_pb.ValidateSessionRequest(session_token=again.session_token)
    assert await outcome(users.sessions.ValidateSession(token)) == "OK"


@pytest.mark.parametrize("way", [create, sign_up])
async def test_who_was_deleted_stays_so(users: Stubs, way: Any) -> None:
    """A repeat that comes after the deletion gets the first answer, as on one MySQL, and makes nobody anew."""
    call = way(users, email=f"{uuid4().hex}@example.com", request_id=str(uuid4()))
    first = await call()
    await users.users.DeleteUser(users_pb.DeleteUserRequest(id=first.user.id))
    assert await call() == first
    assert await outcome(users.users.GetUser(users_pb.GetUserRequest(id=first.user.id))) == "USER_NOT_FOUND"


async def test_a_token_that_was_replaced_since_is_answered_again(users: Stubs) -> None:
    """What came after the answer does not make it lost."""
    call = sign_up(users, email=f"{uuid4().hex}@example.com", request_id=str(uuid4()))
    first = await call()
    await users.sessions.RefreshSession(
        sessions_pb.RefreshSessionRequest(session_token=first.session_token, rotate_token=True)
    )
    assert await call() == first
