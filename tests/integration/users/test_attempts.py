"""Limits on attempts: counted before they are made, for all processes together, telling nothing of passwords."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from vibework.users.v1 import account_service_pb2, user_pb2, user_service_pb2, verification_service_pb2
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, metadata, reason, retry_seconds, told, users_service
from tests.integration.users.lock_waits import patient_locks
from tests.integration.users.ways_to_sign_in import outcome, secret_of, verification

PASSWORD = "correct horse battery"
WINDOW = 60
PER_ACCOUNT = 5
PER_ADDRESS = 12
PASSWORD_RESET = verification_service_pb2.VERIFICATION_PURPOSE_PASSWORD_RESET
LIMITS: dict[str, Any] = {
    "attempts_window_ms": WINDOW * 1_000,
    "attempts_per_account": PER_ACCOUNT,
    "attempts_per_address": PER_ADDRESS,
    "log_level": "error",
}


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server with low limits, under a clock that stands still until a test moves it."""
    with (
        patient_locks(),
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, FrozenClock(), **LIMITS) as served,
    ):
        yield served


@pytest.fixture
async def second(users_server: UsersServer) -> AsyncIterator[Stubs]:
    """The stubs of another server on the same database."""
    with users_service(users_server.database, users_server.clock, **LIMITS) as served:
        async with served.aio_channel() as channel:
            yield Stubs.on(channel)


async def new_user(users: Stubs) -> str:
    """Create a user with a password; return the address."""
    email = f"{uuid.uuid4().hex}@example.com"
    await users.users.CreateUser(user_service_pb2.CreateUserRequest(email=email, password=PASSWORD))
    return email


async def attempt(users: Stubs, email: str, password: str, ip_address: str = "") -> str:
    """Try to sign in; return what came of it."""
    request = pb.SignInRequest(email=email, password=password, client=user_pb2.ClientContext(ip_address=ip_address))
    try:
        await users.sessions.SignIn(request)
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "signed in"


async def lock(users: Stubs, email: str) -> None:
    """Use up the attempts of an account."""
    await asyncio.gather(*(attempt(users, email, "wrong guess") for _ in range(PER_ACCOUNT + 1)))


def fresh_address() -> str:
    """Return an IPv6 network's first address, of which no attempt was made."""
    digits = uuid.uuid4().hex
    return f"2001:db8:{digits[:4]}:{digits[4:8]}::1"


async def test_no_number_of_guesses_at_once_exceeds_the_limit(
    users: Stubs, second: Stubs, users_server: UsersServer
) -> None:
    """Of 64 guesses at once, on two servers, as many are verified as one after another would be."""
    email = await new_user(users)
    done = await asyncio.gather(*(attempt((users, second)[i % 2], email, f"guess {i}") for i in range(64)))
    assert Counter(done) == {"CREDENTIALS_INVALID": PER_ACCOUNT, "RATE_LIMITED": 64 - PER_ACCOUNT}


async def test_a_locked_account_does_not_tell_whether_the_password_is_right(
    users: Stubs, users_server: UsersServer
) -> None:
    """Right, wrong and unknown are refused alike, with the time until the window ends; then the password works."""
    email, unknown = await new_user(users), f"{uuid.uuid4().hex}@example.com"
    await lock(users, email)
    await lock(users, unknown)
    users_server.clock.advance(timedelta(seconds=20))
    answers = set()
    for address, password in (
        (email, PASSWORD),
        (email, "wrong guess"),
        (unknown, PASSWORD),
        (email.upper(), PASSWORD),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await users.sessions.SignIn(pb.SignInRequest(email=address, password=password))
        answers.add((refused.value.code(), reason(refused.value), retry_seconds(refused.value), told(refused.value)))
    assert len(answers) == 1
    assert answers.pop()[:3] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", WINDOW - 20)
    limit = {"limited_by": "account", "limit": str(PER_ACCOUNT), "window_seconds": str(WINDOW)}
    assert metadata(refused.value) == limit
    users_server.clock.advance(timedelta(seconds=WINDOW - 20))
    assert await attempt(users, email, PASSWORD) == "signed in"


async def test_refused_attempts_do_not_prolong_the_window(users: Stubs, users_server: UsersServer) -> None:
    """Whoever goes on guessing keeps nobody locked out for longer than the window."""
    email = await new_user(users)
    await lock(users, email)
    for _ in range(6):
        users_server.clock.advance(timedelta(seconds=WINDOW / 6))
        last = await attempt(users, email, "wrong guess")
    assert last == "CREDENTIALS_INVALID"


async def test_a_success_clears_the_account(users: Stubs) -> None:
    """A user who mistypes and then gets it right has all attempts again."""
    email = await new_user(users)
    for _ in range(3):
        for _ in range(PER_ACCOUNT - 1):
            assert await attempt(users, email, "wrong guess") == "CREDENTIALS_INVALID"
        assert await attempt(users, email, PASSWORD) == "signed in"


async def test_an_address_is_limited_over_all_accounts(users: Stubs, users_server: UsersServer) -> None:
    """One address that tries many accounts is refused; the same accounts from elsewhere are not."""
    emails = [await new_user(users) for _ in range(PER_ADDRESS + 6)]
    address = fresh_address()
    done = await asyncio.gather(*(attempt(users, email, "wrong guess", address) for email in emails))
    assert Counter(done) == {"CREDENTIALS_INVALID": PER_ADDRESS, "RATE_LIMITED": 6}
    refused = [email for email, outcome in zip(emails, done, strict=True) if outcome == "RATE_LIMITED"]
    client = user_pb2.ClientContext(ip_address=address)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.sessions.SignIn(pb.SignInRequest(email=refused[0], password=PASSWORD, client=client))
    limit = {"limited_by": "address", "limit": str(PER_ADDRESS), "window_seconds": str(WINDOW)}
    assert (reason(caught.value), metadata(caught.value)) == ("RATE_LIMITED", limit)
    assert await attempt(users, refused[0], PASSWORD, fresh_address()) == "signed in"


async def test_an_address_at_its_limit_uses_up_no_account(users: Stubs) -> None:
    """Refused for its address, a caller cannot go on to lock accounts: their attempts are not counted."""
    address, email = fresh_address(), await new_user(users)
    for _ in range(PER_ADDRESS):
        await attempt(users, f"{uuid.uuid4().hex}@example.com", "wrong guess", address)
    for _ in range(PER_ACCOUNT + 1):
        assert await attempt(users, email, "wrong guess", address) == "RATE_LIMITED"
    assert await attempt(users, email, PASSWORD) == "signed in"


async def test_the_addresses_of_one_network_are_one(users: Stubs) -> None:
    """Whoever has an IPv6 address has its /64: moving within it gives no new attempts. IPv4 counts each address."""
    network = fresh_address().removesuffix("1")
    for i in range(PER_ADDRESS):
        await attempt(users, f"{uuid.uuid4().hex}@example.com", "wrong guess", f"{network}{i + 1:x}")
    email = await new_user(users)
    assert await attempt(users, email, PASSWORD, f"{network}ffff") == "RATE_LIMITED"
    for i in range(PER_ADDRESS):
        written = "198.51.100.1" if i % 2 else "::ffff:c633:6401"
        await attempt(users, f"{uuid.uuid4().hex}@example.com", "wrong guess", written)
    assert await attempt(users, email, PASSWORD, "198.51.100.1") == "RATE_LIMITED"
    assert await attempt(users, email, PASSWORD, "198.51.100.2") == "signed in"


async def test_successes_do_not_use_up_an_address(users: Stubs) -> None:
    """An office behind one address may sign in all morning; what failed before stays counted."""
    address, email = fresh_address(), await new_user(users)
    for _ in range(PER_ADDRESS - 1):
        await attempt(users, f"{uuid.uuid4().hex}@example.com", "wrong guess", address)
    for _ in range(PER_ADDRESS):
        assert await attempt(users, email, PASSWORD, address) == "signed in"
    assert await attempt(users, email, "wrong guess", address) == "CREDENTIALS_INVALID"
    assert await attempt(users, email, PASSWORD, address) == "RATE_LIMITED"


async def test_an_attempt_that_could_not_be_made_does_not_count(
    users: Stubs, second: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no password can be hashed, nobody's account is locked by coming back as told."""
    email, ip_address = await new_user(users), fresh_address()
    user = (await users.users.GetUser(user_service_pb2.GetUserRequest(email=email))).user
    change = account_service_pb2.ChangePasswordRequest(
        user_id=user.id,
        current_password=PASSWORD,
        new_password=PASSWORD,
        client=user_pb2.ClientContext(ip_address=ip_address),
    )
    sign_up = pb.SignUpRequest(email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD, client=change.client)
    created = await verification(users, PASSWORD_RESET, email)
    reset = verification_service_pb2.ResetPasswordRequest(
        secret=secret_of(created), new_password=PASSWORD, client=change.client
    )
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nonexistent/python")
        told = {await attempt(second, email, PASSWORD, ip_address) for _ in range(PER_ACCOUNT + 1)}
        for _ in range(PER_ADDRESS):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await second.accounts.ChangePassword(change)
            told.add(reason(refused.value))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await second.sessions.SignUp(sign_up)
            told.add(reason(refused.value))
            told.add(await outcome(second.verifications.ResetPassword(reset)))
    assert told == {"PASSWORD_HASHING_UNAVAILABLE"}
    await second.sessions.SignUp(sign_up)
    assert await attempt(second, email, PASSWORD, ip_address) == "signed in"
    assert await outcome(second.verifications.ResetPassword(reset)) == "OK"


async def test_sign_ups_are_limited_per_address(users: Stubs) -> None:
    """One address cannot sign up any number of users; another can go on."""
    address = fresh_address()

    async def sign_up(ip_address: str) -> str:
        request = pb.SignUpRequest(
            email=f"{uuid.uuid4().hex}@example.com",
            password=PASSWORD,
            client=user_pb2.ClientContext(ip_address=ip_address),
        )
        try:
            await users.sessions.SignUp(request)
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return "signed up"

    done = await asyncio.gather(*(sign_up(address) for _ in range(PER_ADDRESS + 4)))
    assert Counter(done) == {"signed up": PER_ADDRESS, "RATE_LIMITED": 4}
    assert await sign_up(fresh_address()) == "signed up"


async def test_counters_name_nobody(users: Stubs, users_server: UsersServer) -> None:
    """Whoever reads the table learns neither addresses nor emails, nor can test a guess without the key."""
    email, address = await new_user(users), "203.0.113.99"
    await attempt(users, email, "wrong guess", address)
    for value in (email, address):
        statement = "SELECT COUNT(*) FROM attempt_counters WHERE subject IN (UNHEX(SHA2(%s, 256)), %s)"
        assert users_server.rows(statement, value, value) == [(0,)]
    kinds = users_server.rows("SELECT DISTINCT scope FROM attempt_counters WHERE scope LIKE 'sign_in:%'")
    assert {row[0] for row in kinds} == {"sign_in:address", "sign_in:identifier"}


async def test_many_accounts_and_addresses_at_once_do_not_deadlock(users: Stubs, second: Stubs) -> None:
    """Attempts that share accounts and addresses crosswise are counted without giving each other up."""
    emails = [await new_user(users) for _ in range(3)]
    addresses = [fresh_address() for _ in range(4)]
    calls = (attempt((users, second)[i % 2], emails[i % 3], "wrong guess", addresses[i % 4]) for i in range(60))
    done = Counter(await asyncio.gather(*calls))
    assert set(done) == {"CREDENTIALS_INVALID", "RATE_LIMITED"}
    assert done["CREDENTIALS_INVALID"] == 3 * PER_ACCOUNT
