"""What follows when a secret is given back: an address verified, a password reset; all of it or nothing."""

from __future__ import annotations

import asyncio

import bcrypt
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.databases import MySQLDatabase
from tests.harness.statements import connections, end_connection
from tests.harness.users import Stubs, UsersServer
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    link,
    new_email,
    new_session,
    new_user,
    outcome,
    secret_of,
    session_is_valid,
    signs_in,
    verification,
    wrong,
)

NEW = "another password of tests"
EMAIL_VERIFICATION = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION
PASSWORD_RESET = pb.VERIFICATION_PURPOSE_PASSWORD_RESET
TOKEN = pb.VERIFICATION_KIND_TOKEN


def reset_request(secret: pb.VerificationSecret, password: str = NEW) -> pb.ResetPasswordRequest:
    """Make a request that resets a password."""
    return pb.ResetPasswordRequest(secret=secret, new_password=password)


async def test_a_verified_address_is_stored_and_answered(users: Stubs) -> None:
    """VerifyEmail marks the user, changes the etag, and consumes the secret."""
    user = await new_user(users)
    created = await verification(users, EMAIL_VERIFICATION, user.email, TOKEN)
    request = pb.VerifyEmailRequest(secret=secret_of(created))
    verified = (await users.verifications.VerifyEmail(request)).user
    assert verified.email_verified
    assert verified.etag != user.etag
    read = await users.users.GetUser(user_service_pb2.GetUserRequest(id=user.id))
    assert read.user == verified
    assert await outcome(users.verifications.VerifyEmail(request)) == "VERIFICATION_INVALID"


async def test_an_address_that_is_verified_already_keeps_its_etag(users: Stubs) -> None:
    """A second link for the same address changes nothing that callers would have to read again."""
    user = await new_user(users, email_verified=True)
    created = await verification(users, EMAIL_VERIFICATION, user.email)
    verified = (await users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret_of(created)))).user
    assert verified == user


async def test_a_secret_of_nobody_is_not_consumed(users: Stubs) -> None:
    """An address that no user has: USER_NOT_FOUND; the secret works once the user exists."""
    email = new_email()
    to_verify = await verification(users, EMAIL_VERIFICATION, email)
    to_reset = await verification(users, PASSWORD_RESET, email)
    verify = pb.VerifyEmailRequest(secret=secret_of(to_verify))
    reset = reset_request(secret_of(to_reset))
    for _ in range(2):
        assert await outcome(users.verifications.VerifyEmail(verify)) == "USER_NOT_FOUND"
        assert await outcome(users.verifications.ResetPassword(reset)) == "USER_NOT_FOUND"
    await new_user(users, email=email)
    assert await outcome(users.verifications.VerifyEmail(verify)) == "OK"
    assert await outcome(users.verifications.ResetPassword(reset)) == "OK"
    assert await signs_in(users, email, NEW) == "OK"


async def test_a_reset_sets_the_password_and_ends_all_sessions(users: Stubs) -> None:
    """The old password and every session are of no use any more; the address is proved, if it was not before."""
    for verified in (True, False):
        user = await new_user(users, password=PASSWORD, email_verified=verified)
        sessions = [await new_session(users, user.id) for _ in range(3)]
        created = await verification(users, PASSWORD_RESET, user.email, TOKEN)
        done = await users.verifications.ResetPassword(reset_request(secret_of(created)))
        assert (done.user_id, done.revoked_sessions) == (user.id, 3)
        assert not any([await session_is_valid(users, token) for token in sessions])
        assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
        assert await signs_in(users, user.email, NEW) == "OK"
        assert done.HasField("ended_access") is not verified
        read = await users.users.GetUser(user_service_pb2.GetUserRequest(id=user.id))
        assert read.user.email_verified
        assert (read.user == user) is verified


async def test_a_reset_gives_a_password_to_who_had_none(users: Stubs, users_server: UsersServer) -> None:
    """Users of a provider account only, or with a hash of the source's system, have one password afterwards."""
    bare, older = await new_user(users), await new_user(users)
    await link(users, bare.id)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", hashed, older.id)
    for user in (bare, older):
        created = await verification(users, PASSWORD_RESET, user.email)
        await users.verifications.ResetPassword(reset_request(secret_of(created)))
        assert await signs_in(users, user.email, NEW) == "OK"
        assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
        credentials = [item for item in await accounts_of(users, user.id) if item.provider == "credential"]
        assert len(credentials) == 1
    assert users_server.rows("SELECT password_hash FROM users WHERE id = %s", older.id) == [(None,)]


async def test_a_wrong_attempt_counts_though_the_call_fails(users: Stubs, users_server: UsersServer) -> None:
    """Five wrong secrets end the verification also where it is given to VerifyEmail or ResetPassword."""
    user = await new_user(users, password=PASSWORD)
    created = await verification(users, PASSWORD_RESET, user.email)
    for expected in ["VERIFICATION_INVALID"] * 5 + ["VERIFICATION_ATTEMPTS_EXCEEDED"]:
        assert await outcome(users.verifications.ResetPassword(reset_request(wrong(created)))) == expected
    attempts = users_server.rows("SELECT attempts FROM verifications WHERE id = %s", created.verification.id)
    assert attempts == [(5,)]
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_a_reset_lets_a_locked_user_in(users: Stubs) -> None:
    """Whoever was locked out by somebody's guesses proves control of the address and may sign in at once."""
    user = await new_user(users, password=PASSWORD)
    for number in range(10):
        await signs_in(users, user.email, f"wrong {number}")
    assert await signs_in(users, user.email, PASSWORD) == "RATE_LIMITED"
    created = await verification(users, PASSWORD_RESET, user.email)
    await users.verifications.ResetPassword(reset_request(secret_of(created)))
    assert await signs_in(users, user.email, NEW) == "OK"


async def test_of_16_resets_with_one_secret_one_sets_the_password(users: Stubs) -> None:
    """The password is the winner's, and the others were told that the secret is not valid."""
    user = await new_user(users, password=PASSWORD)
    created = await verification(users, PASSWORD_RESET, user.email, TOKEN)
    passwords = [f"password number {number}" for number in range(16)]
    calls = [users.verifications.ResetPassword(reset_request(secret_of(created), password)) for password in passwords]
    ends = await asyncio.gather(*map(outcome, calls))
    assert sorted(ends) == ["OK"] + ["VERIFICATION_INVALID"] * 15
    assert await signs_in(users, user.email, passwords[ends.index("OK")]) == "OK"


async def test_sign_ins_at_once_with_a_reset_leave_no_session_of_the_old_password(users: Stubs) -> None:
    """Whatever the order, nobody is told to repeat, and a session that the old password made does not outlive it."""
    for _ in range(3):
        user = await new_user(users, password=PASSWORD)
        created = await verification(users, PASSWORD_RESET, user.email)
        sign_ins = [signs_in(users, user.email, PASSWORD) for _ in range(6)]
        reset = outcome(users.verifications.ResetPassword(reset_request(secret_of(created))))
        done, *ends = await asyncio.gather(reset, *sign_ins)
        assert done == "OK"
        assert set(ends) <= {"OK", "CREDENTIALS_INVALID"}
        request = sessions_pb.RevokeAllSessionsRequest(user_id=user.id)
        assert (await users.sessions.RevokeAllSessions(request)).revoked_count == 0


async def test_a_crash_between_consuming_and_setting_leaves_the_secret_good(
    users: Stubs, users_server: UsersServer
) -> None:
    """The connection dies after the secret was consumed: old password, secret unconsumed, sessions alive."""
    user = await new_user(users, password=PASSWORD, email_verified=True)
    token = await new_session(users, user.id)
    created = await verification(users, PASSWORD_RESET, user.email, TOKEN)
    request = reset_request(secret_of(created))
    # Whoever wants to change the password waits.
    with users_server.holding("SELECT id FROM accounts WHERE user_id = %s FOR UPDATE", user.id):
        call = asyncio.create_task(outcome(users.verifications.ResetPassword(request)))
        # The service repeats a transaction whose connection died; every one of its attempts dies here.
        killed = 0
        while not call.done():
            killed += await kill_waiting(users_server.database)
            await asyncio.sleep(0.01)
        assert await call == "DATABASE_UNAVAILABLE"
        assert killed
    assert await session_is_valid(users, token)
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    assert await outcome(users.verifications.ResetPassword(request)) == "OK"
    assert await signs_in(users, user.email, NEW) == "OK"


async def kill_waiting(database: MySQLDatabase) -> int:
    """Kill the connections to the database that wait to store a password; return how many."""
    waiting = [each.id for each in await connections(database) if "INSERT INTO accounts" in each.statement]
    return sum([await end_connection(database, each) for each in waiting])
