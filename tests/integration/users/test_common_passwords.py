"""What a refusal of a common password leaves undone, and whom the list is no business of; on real rows."""

from __future__ import annotations

from io import StringIO
from typing import Any, Final
from uuid import uuid4

import bcrypt
import pytest
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb
from vibework.users.v1.user_pb2 import ClientContext

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.patience import until
from tests.harness.users import BlockingStubs, Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    code,
    new_email,
    new_session,
    new_user,
    outcome,
    secret_of,
    session_is_valid,
    signs_in,
    verification,
)

COMMON: Final = "Password1"
REFUSED: Final = "PASSWORD_COMPROMISED"
CLIENT: Final = ClientContext(ip_address="192.0.2.91")


def attempts_of(server: UsersServer) -> list[tuple[Any, ...]]:
    """Return what counts attempts."""
    return sorted(server.rows("SELECT * FROM attempt_counters"))


async def test_a_refused_sign_up_leaves_nothing_and_counts_nothing(users: Stubs, users_server: UsersServer) -> None:
    """Whoever chooses again, with the same request id, is signed up as if it were the first time."""
    before = attempts_of(users_server)
    request = sessions_pb.SignUpRequest(email=new_email(), password=COMMON, client=CLIENT, request_id=str(uuid4()))
    for _ in range(3):
        assert await outcome(users.sessions.SignUp(request)) == REFUSED
    assert attempts_of(users_server) == before
    assert users_server.rows("SELECT id FROM users WHERE email = %s", request.email) == []
    request.password = PASSWORD
    assert await outcome(users.sessions.SignUp(request)) == "OK"
    assert await signs_in(users, request.email, PASSWORD) == "OK"


async def test_a_user_is_not_created_with_one(users: Stubs, users_server: UsersServer) -> None:
    """Whoever creates users for others is told, too; without a password there is nothing to look at."""
    request = users_pb.CreateUserRequest(email=new_email(), password=COMMON)
    assert await outcome(users.users.CreateUser(request)) == REFUSED
    assert users_server.rows("SELECT id FROM users WHERE email = %s", request.email) == []
    request.ClearField("password")
    assert await outcome(users.users.CreateUser(request)) == "OK"


async def test_a_refused_change_counts_no_attempt_and_ends_no_session(users: Stubs, users_server: UsersServer) -> None:
    """The password of before stays, whether or not it was right; and a first one is not set."""
    user, bare = await new_user(users, password=PASSWORD), await new_user(users)
    token, before = await new_session(users, user.id), attempts_of(users_server)
    for current in (PASSWORD, "a wrong password"):
        change = accounts_pb.ChangePasswordRequest(
            user_id=user.id, current_password=current, new_password=COMMON, client=CLIENT
        )
        assert await outcome(users.accounts.ChangePassword(change)) == REFUSED
    first = accounts_pb.SetPasswordRequest(user_id=bare.id, password=COMMON)
    assert await outcome(users.accounts.SetPassword(first)) == REFUSED
    assert attempts_of(users_server) == before
    assert await session_is_valid(users, token)
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    assert await signs_in(users, bare.email, COMMON) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("kind", [pb.VERIFICATION_KIND_CODE, pb.VERIFICATION_KIND_TOKEN])
async def test_a_refused_reset_consumes_nothing(
    users: Stubs, users_server: UsersServer, kind: pb.VerificationKind.ValueType
) -> None:
    """The secret stays good for a better choice, and a wrong secret that came along is no guess."""
    user = await new_user(users, password=PASSWORD)
    created = await verification(users, pb.VERIFICATION_PURPOSE_PASSWORD_RESET, user.email, kind)
    before = attempts_of(users_server)
    for secret in (secret_of(created), code(user.email, "000000")):
        reset = pb.ResetPasswordRequest(secret=secret, new_password=COMMON, client=CLIENT)
        assert await outcome(users.verifications.ResetPassword(reset)) == REFUSED
    assert attempts_of(users_server) == before
    kept = users_server.rows("SELECT attempts, consumed_at FROM verifications WHERE id = %s", created.verification.id)
    assert kept == [(0, None)]
    again = pb.ResetPasswordRequest(secret=secret_of(created), new_password="a better choice")
    assert await outcome(users.verifications.ResetPassword(again)) == "OK"
    assert await signs_in(users, user.email, "a better choice") == "OK"


async def test_whoever_has_one_signs_in_and_may_change_it(users: Stubs) -> None:
    """A hash made elsewhere is imported whatever it is of, and the current password is nobody's choice any more."""
    hashed = bcrypt.hashpw(COMMON.encode(), bcrypt.gensalt(4)).decode()
    bare = await new_user(users)
    request = users_pb.CreateUserRequest(email=new_email(), password_hash=hashed)
    imported = (await users.users.CreateUser(request)).user
    await users.accounts.SetPassword(accounts_pb.SetPasswordRequest(user_id=bare.id, password_hash=hashed))
    for user in (imported, bare):
        # The second sign-in is by the hash that the first one made.
        assert [await signs_in(users, user.email, COMMON) for _ in range(2)] == ["OK", "OK"]
    change = accounts_pb.ChangePasswordRequest(user_id=imported.id, current_password=COMMON, new_password=PASSWORD)
    assert await outcome(users.accounts.ChangePassword(change)) == "OK"
    assert await signs_in(users, imported.email, PASSWORD) == "OK"


async def test_the_log_does_not_say_what_was_chosen(users: Stubs, logged: StringIO) -> None:
    """People who are refused a password often have it elsewhere."""
    email = new_email()
    assert await outcome(users.sessions.SignUp(sessions_pb.SignUpRequest(email=email, password=COMMON))) == REFUSED
    await until(lambda: REFUSED in logged.getvalue(), "the call's line in the log")
    assert COMMON.lower() not in logged.getvalue().lower()


def test_a_setting_accepts_them_and_a_repeat_outlives_the_setting(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """With `accept` nothing is refused; and what was done then is answered to a repeat when it is refused again."""
    request = sessions_pb.SignUpRequest(email=new_email(), password=COMMON, request_id=str(uuid4()))
    with migrated_mysql(test_run, mysql_server) as database:
        with users_service(database, common_passwords="accept") as accepting, accepting.channel() as channel:
            done = BlockingStubs.on(channel).sessions.SignUp(request)
        with users_service(database) as refusing, refusing.channel() as channel:
            assert BlockingStubs.on(channel).sessions.SignUp(request) == done
