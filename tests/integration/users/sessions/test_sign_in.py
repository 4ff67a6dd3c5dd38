"""SignIn: who may, what is told of who may not, and what becomes of old hashes on the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import argon2
import bcrypt
import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import DEFAULT_HASHES, Stubs, UsersServer, reason, told, users_service
from tests.integration.users.lock_waits import uncommitted, wait_for_lock

PASSWORD = "correct horse battery"
CURRENT = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

HASHES = {
    "argon2id with less memory": argon2.PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=2).hash(PASSWORD),
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "scrypt": "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$"
    + base64.b64encode(hashlib.scrypt(PASSWORD.encode(), salt=b"saltsalt", n=1024, r=8, p=1, dklen=32))
    .decode()
    .rstrip("="),
    "better auth": "00112233445566778899aabbccddeeff:"
    + hashlib.scrypt(
        PASSWORD.encode(), salt=b"00112233445566778899aabbccddeeff", n=16_384, r=16, p=1, dklen=64, maxmem=1 << 26
    ).hex(),
}


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server whose hashes cost what they cost by default."""
    with migrated_mysql(test_run, mysql_server) as database, users_service(database, **DEFAULT_HASHES) as served:
        yield served


def fresh_email() -> str:
    """Return an address that nobody has."""
    return f"{uuid.uuid4().hex}@example.com"


async def new_user(users: Stubs, **fields: Any) -> tuple[str, str]:
    """Create a user; return id and address."""
    email = fresh_email()
    made = await users.users.CreateUser(user_service_pb2.CreateUserRequest(email=email, **fields))
    return made.user.id, email


def sign_in(users: Stubs, email: str, password: str = PASSWORD, **fields: Any) -> Any:
    """Sign in."""
    return users.sessions.SignIn(pb.SignInRequest(email=email, password=password, **fields))


def stored_hash(server: UsersServer, user_id: str) -> tuple[str | None, list[str | None]]:
    """Return the legacy hash of a user, and those of the user's accounts."""
    legacy = server.rows("SELECT password_hash FROM users WHERE id = %s", user_id)[0][0]
    return legacy, [row[0] for row in server.rows("SELECT password FROM accounts WHERE user_id = %s", user_id)]


def make_legacy(server: UsersServer, user_id: str, stored: str) -> None:
    """Put a hash where the source's own system keeps it."""
    server.rows("UPDATE users SET password_hash = %s WHERE id = %s", stored, user_id)


async def test_a_password_opens_a_session(users: Stubs) -> None:
    """Email in any case and password give user, session and a token that works."""
    user_id, email = await new_user(users, password=PASSWORD)
    client = {"ip_address": "192.0.2.1", "user_agent": "test"}
    answer = await sign_in(users, email.upper(), do_not_remember=True, client=client)
    assert answer.user.id == answer.session.user_id == user_id
    assert answer.session.do_not_remember
    assert (answer.session.ip_address, answer.session.user_agent) == ("192.0.2.1", "test")
    request = pb.ValidateSessionRequest(session_token=answer.session_token, include_user=True)
    validated = await users.sessions.ValidateSession(request)
    assert (validated.session, validated.user) == (answer.session, answer.user)


async def test_refusals_tell_nothing(users: Stubs) -> None:
    """Unknown email, wrong password, no password and impossible password are one answer, down to the details."""
    _, email = await new_user(users, password=PASSWORD)
    _, without = await new_user(users)
    answers = set()
    for address, password in (
        (fresh_email(), PASSWORD),
        (email, PASSWORD + "x"),
        (without, PASSWORD),
        (email, "x"),
        (email, "x" * 1024),
        ("nobody", PASSWORD),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sign_in(users, address, password)
        answers.add((refused.value.code(), reason(refused.value), told(refused.value)))
    assert len(answers) == 1
    assert answers.pop()[:2] == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


@pytest.mark.parametrize("stored", HASHES.values(), ids=HASHES)
async def test_an_outdated_hash_is_upgraded(users: Stubs, users_server: UsersServer, stored: str) -> None:
    """An imported hash lets its user in and is an Argon2id hash from then on; a wrong password upgrades none."""
    user_id, email = await new_user(users, password_hash=stored)
    with pytest.raises(grpc.aio.AioRpcError):
        await sign_in(users, email, PASSWORD + "x")
    assert stored_hash(users_server, user_id) == (None, [stored])
    await sign_in(users, email)
    legacy, hashes = stored_hash(users_server, user_id)
    assert legacy is None
    assert [str(each).startswith("$argon2id$v=19$m=19456,t=2,p=1$") for each in hashes] == [True]
    await sign_in(users, email)
    assert stored_hash(users_server, user_id) == (None, hashes)


async def test_a_current_hash_stays(users: Stubs, users_server: UsersServer) -> None:
    """A hash of the configured cost is not written again."""
    user_id, email = await new_user(users, password_hash=(stored := CURRENT.hash(PASSWORD)))
    await sign_in(users, email)
    assert stored_hash(users_server, user_id) == (None, [stored])


@pytest.mark.parametrize("stored", [CURRENT.hash(PASSWORD), HASHES["bcrypt"]], ids=["current", "bcrypt"])
async def test_a_legacy_hash_moves_to_an_account(users: Stubs, users_server: UsersServer, stored: str) -> None:
    """The first sign-in moves what the source's own system wrote; for callers the user has not changed."""
    user_id, email = await new_user(users)
    make_legacy(users_server, user_id, stored)
    before = (await users.users.GetUser(user_service_pb2.GetUserRequest(id=user_id))).user
    answer = await sign_in(users, email)
    assert answer.user == before
    legacy, hashes = stored_hash(users_server, user_id)
    assert legacy is None
    assert [str(each).startswith("$argon2id$") for each in hashes] == [True]
    assert (await sign_in(users, email)).user == before


@pytest.mark.parametrize("legacy", [False, True], ids=["outdated", "legacy"])
async def test_ten_sign_ins_upgrade_one_hash(users: Stubs, users_server: UsersServer, legacy: bool) -> None:
    """All of ten at once get in, though each would upgrade the hash; one hash and one account are left."""
    stored = HASHES["bcrypt"]
    user_id, email = await new_user(users, **({} if legacy else {"password_hash": stored}))
    if legacy:
        make_legacy(users_server, user_id, stored)
    done = await asyncio.gather(*(sign_in(users, email) for _ in range(10)))
    assert len({each.session_token for each in done}) == 10
    left, hashes = stored_hash(users_server, user_id)
    assert left is None
    assert [str(each).startswith("$argon2id$") for each in hashes] == [True]


CHANGED = "UPDATE accounts SET password = %(hash)s WHERE user_id = %(user)s"
REMOVED = "DELETE FROM accounts WHERE user_id = %(user)s"
LEGACY_CHANGED = "UPDATE users SET password_hash = %(hash)s WHERE id = %(user)s"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("stored", "legacy", "change"),
    [
        (CURRENT.hash(PASSWORD), False, CHANGED),
        (CURRENT.hash(PASSWORD), False, REMOVED),
        (HASHES["bcrypt"], False, CHANGED),
        (HASHES["bcrypt"], False, REMOVED),
        (HASHES["bcrypt"], True, LEGACY_CHANGED),
    ],
    ids=["current, changed", "current, removed", "outdated, changed", "outdated, removed", "legacy, changed"],
)
async def test_a_password_that_changes_meanwhile_opens_nothing(
    users: Stubs, users_server: UsersServer, stored: str, legacy: bool, change: str
) -> None:
    """The old password, verified just before a change commits, gives no session and does not undo the change."""
    user_id, email = await new_user(users, **({} if legacy else {"password_hash": stored}))
    if legacy:
        make_legacy(users_server, user_id, stored)
    async with uncommitted(users_server, change, {"user": user_id, "hash": CURRENT.hash("another password")}):
        # It reads the hash that is committed, verifies it, and waits for the row to make the session.
        waiting = asyncio.create_task(sign_in_outcome(users, email))
        await wait_for_lock(users_server)
    assert await waiting == "CREDENTIALS_INVALID"
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", user_id) == [(0,)]
    left, hashes = stored_hash(users_server, user_id)
    assert stored not in {left, *hashes}


async def sign_in_outcome(users: Stubs, email: str) -> str:
    """Sign in; return the reason of the refusal."""
    try:
        await sign_in(users, email)
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "signed in"
