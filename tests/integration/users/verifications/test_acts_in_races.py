"""Changes of address and sign-ins by secret, 64 at once: each secret works once, each address has one user."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import Stubs, UsersServer, reason, users_service
from tests.integration.users.lock_waits import patient_locks
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    link,
    new_email,
    new_session,
    new_user,
    outcome,
    secret_of,
    session_is_valid,
    verification,
)

CALLS: Final = 64
EMAIL_CHANGE, SIGN_IN = pb.VERIFICATION_PURPOSE_EMAIL_CHANGE, pb.VERIFICATION_PURPOSE_SIGN_IN
CODE, TOKEN = pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN
ANN: Final = pb.SignInWithVerificationRequest.NewUser(name="Ann")


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server that limits nobody, and waits for its turn on a busy machine."""
    unlimited: dict[str, Any] = {
        "attempts_per_account": 1_000_000,
        "attempts_per_address": 1_000_000,
        "mysql_pool_acquire_timeout_ms": 30_000,
        "log_level": "error",
    }
    with (
        patient_locks(),
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, **unlimited) as served,
    ):
        yield served


async def ask(users: Stubs, user_id: str, email: str, kind: Any = TOKEN) -> pb.VerificationSecret:
    """Have a secret made for a user's change to an address."""
    return secret_of(await verification(users, EMAIL_CHANGE, email, kind, user_id=user_id))


def change(users: Stubs, secret: pb.VerificationSecret, user_id: str) -> Awaitable[str]:
    """Change the address; end as ``outcome`` says."""
    return outcome(users.verifications.ChangeEmail(pb.ChangeEmailRequest(secret=secret, user_id=user_id)))


async def signed_in(users: Stubs, secret: pb.VerificationSecret, **fields: Any) -> Any:
    """Sign in; return the answer, or the reason of the refusal."""
    try:
        request = pb.SignInWithVerificationRequest(secret=secret, **fields)
        return await users.verifications.SignInWithVerification(request)
    except grpc.aio.AioRpcError as error:
        return reason(error)


def answers(ends: list[Any]) -> list[pb.SignInWithVerificationResponse]:
    """Return the answers among the ends."""
    return [end for end in ends if not isinstance(end, str)]


def update(users: Stubs, user_id: str, email: str) -> Awaitable[str]:
    """Change the address past any secret."""
    request = users_pb.UpdateUserRequest(
        user=user_pb2.User(id=user_id, email=email), update_mask=FieldMask(paths=["email"])
    )
    return outcome(users.users.UpdateUser(request))


def delete(users: Stubs, user_id: str) -> Awaitable[str]:
    """Delete the user."""
    return outcome(users.users.DeleteUser(users_pb.DeleteUserRequest(id=user_id)))


async def read(users: Stubs, user_id: str) -> user_pb2.User:
    """Read a user."""
    return (await users.users.GetUser(users_pb.GetUserRequest(id=user_id))).user


async def test_of_two_users_who_change_to_one_address_one_has_it(many: list[Stubs]) -> None:
    """64 calls with the secrets of both: the winner has the address; the other's secret works once it is free again."""
    pair, email = [await new_user(many[0]) for _ in range(2)], new_email()
    secrets = [await ask(many[0], user.id, email) for user in pair]
    calls = [change(many[n % 4], secrets[n % 2], pair[n % 2].id) for n in range(CALLS)]
    ends = await asyncio.gather(*calls)
    of_each = [Counter(ends[which::2]) for which in (0, 1)]
    winner = next(which for which in (0, 1) if of_each[which]["OK"])
    loser = 1 - winner
    assert of_each[winner] == {"OK": 1, "VERIFICATION_INVALID": CALLS // 2 - 1}
    assert of_each[loser] == {"EMAIL_TAKEN": CALLS // 2}
    assert (await read(many[0], pair[winner].id)).email == email
    assert await read(many[0], pair[loser].id) == pair[loser]
    assert await delete(many[0], pair[winner].id) == "OK"
    assert await change(many[0], secrets[loser], pair[loser].id) == "OK"


async def test_users_who_swap_their_addresses_do_not_block_each_other(many: list[Stubs]) -> None:
    """Each wants what the other has: both are told so, and nobody is told to try again."""
    pair = [await new_user(many[0]) for _ in range(2)]
    secrets = [await ask(many[0], pair[n].id, pair[1 - n].email) for n in (0, 1)]
    ends = await asyncio.gather(*(change(many[n % 4], secrets[n % 2], pair[n % 2].id) for n in range(CALLS)))
    assert set(ends) == {"EMAIL_TAKEN"}


async def test_a_code_and_a_link_of_one_user_change_the_address_once(many: list[Stubs]) -> None:
    """Whichever comes first ends the other: 64 calls with both, one change."""
    user, email = await new_user(many[0]), new_email()
    secrets = [await ask(many[0], user.id, email, kind) for kind in (CODE, TOKEN)]
    ends = await asyncio.gather(*(change(many[n % 4], secrets[n % 2], user.id) for n in range(CALLS)))
    assert Counter(ends) == {"OK": 1, "VERIFICATION_INVALID": CALLS - 1}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [CODE, TOKEN])
@pytest.mark.parametrize("is_new", [False, True])
async def test_of_64_sign_ins_with_one_secret_one_has_a_session(
    many: list[Stubs], users_server: UsersServer, kind: Any, is_new: bool
) -> None:
    """One session, and one user where there was none; the others hear that the secret is not valid."""
    email = new_email()
    if not is_new:
        await new_user(many[0], email=email, password=PASSWORD)
    secret = secret_of(await verification(many[0], SIGN_IN, email, kind))
    ends = await asyncio.gather(*(signed_in(many[n % 4], secret, new_user=ANN) for n in range(CALLS)))
    (answer,) = answers(ends)
    assert Counter(end for end in ends if isinstance(end, str)) == {"VERIFICATION_INVALID": CALLS - 1}
    assert answer.user_created is is_new
    assert await session_is_valid(many[0], answer.session_token)
    sessions = "SELECT COUNT(*) FROM sessions JOIN users ON users.id = user_id WHERE email_normalized = %s"
    assert users_server.rows(sessions, email) == [(1,)]


async def test_a_code_and_a_link_at_once_make_one_user(many: list[Stubs]) -> None:
    """Both are good, so both have a session, of the same user, whom one of them created."""
    for _ in range(4):
        email = new_email()
        secrets = [secret_of(await verification(many[0], SIGN_IN, email, kind)) for kind in (CODE, TOKEN)]
        ends = await asyncio.gather(*(signed_in(many[n % 4], secrets[n % 2], new_user=ANN) for n in range(16)))
        both = answers(ends)
        assert sorted(answer.user_created for answer in both) == [False, True]
        assert len({answer.user.id for answer in both}) == 1
        assert {end for end in ends if isinstance(end, str)} == {"VERIFICATION_INVALID"}


async def test_repeats_at_once_have_one_answer(many: list[Stubs]) -> None:
    """One `request_id`, 16 calls at once: one session; who does not get its token is told to come again, and does."""
    secret = secret_of(await verification(many[0], SIGN_IN, new_email(), TOKEN))
    fields: dict[str, Any] = {"new_user": ANN, "request_id": str(uuid4())}
    ends = await asyncio.gather(*(signed_in(many[n % 4], secret, **fields) for n in range(16)))
    told = answers(ends)
    assert {end for end in ends if isinstance(end, str)} <= {"REQUEST_IN_FLIGHT"}
    assert {answer.session_token for answer in told} == {told[0].session_token}
    assert (await signed_in(many[0], secret, **fields)) == told[0]


async def test_sign_ins_and_changes_race_with_the_deletion_of_their_user(
    many: list[Stubs], users_server: UsersServer
) -> None:
    """Whatever the order, nothing of the user is left: no session, no account, no secret, no row."""
    user = await new_user(many[0], password=PASSWORD)
    await link(many[0], user.id)
    await new_session(many[0], user.id)
    sign_in = secret_of(await verification(many[0], SIGN_IN, user.email, TOKEN))
    moving = await ask(many[0], user.id, new_email())
    calls: list[Awaitable[Any]] = [
        signed_in(many[n % 4], sign_in) if n % 2 else change(many[n % 4], moving, user.id) for n in range(CALLS - 1)
    ]
    calls.insert(CALLS // 3, delete(many[3], user.id))
    ends = await asyncio.gather(*calls)
    assert ends.pop(CALLS // 3) == "OK"
    assert {end for end in ends if isinstance(end, str)} <= {"OK", "VERIFICATION_INVALID"}
    for table in ("sessions", "accounts", "verifications"):
        assert users_server.rows(f"SELECT id FROM {table} WHERE user_id = %s", user.id) == []
    assert users_server.rows("SELECT id FROM users WHERE id = %s", user.id) == []


async def test_sign_ins_and_changes_race_with_another_change_of_the_address(many: list[Stubs]) -> None:
    """UpdateUser has the last word: what was sent before it is used before it, or not at all."""
    user, wanted = await new_user(many[0], password=PASSWORD, email_verified=True), new_email()
    sign_in = secret_of(await verification(many[0], SIGN_IN, user.email, CODE))
    moving = await ask(many[0], user.id, new_email(), CODE)
    calls: list[Awaitable[Any]] = [
        signed_in(many[n % 4], sign_in) if n % 2 else change(many[n % 4], moving, user.id) for n in range(CALLS - 1)
    ]
    calls.insert(CALLS // 3, update(many[3], user.id, wanted))
    ends = await asyncio.gather(*calls)
    assert ends.pop(CALLS // 3) == "OK"
    assert {end for end in ends if isinstance(end, str)} <= {"OK", "VERIFICATION_INVALID"}
    found = await read(many[0], user.id)
    assert (found.email, found.email_verified) == (wanted, False)
    assert all([await session_is_valid(many[0], answer.session_token) for answer in answers(ends)])


async def test_a_change_by_secret_and_one_without_to_one_address(many: list[Stubs]) -> None:
    """Two users, one address, two ways: one has it, and the secret of who has not is good once it is free."""
    for _ in range(4):
        pair, email = [await new_user(many[0]) for _ in range(2)], new_email()
        secret = await ask(many[0], pair[0].id, email)
        calls: list[Awaitable[str]] = [change(many[n % 4], secret, pair[0].id) for n in range(8)]
        calls.insert(4, update(many[3], pair[1].id, email))
        ends = await asyncio.gather(*calls)
        updated = ends.pop(4)
        if updated == "OK":
            assert set(ends) == {"EMAIL_TAKEN"}
            assert await update(many[0], pair[1].id, new_email()) == "OK"
            assert await change(many[0], secret, pair[0].id) == "OK"
        else:
            assert updated == "EMAIL_TAKEN"
            assert Counter(ends) == {"OK": 1, "VERIFICATION_INVALID": 7}
