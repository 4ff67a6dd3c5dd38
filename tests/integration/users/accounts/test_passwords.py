"""Setting and changing passwords, on real rows."""

from __future__ import annotations

import asyncio

import bcrypt
import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as pb
from vibework.users.v1 import user_pb2

from tests.harness.users import Stubs, UsersServer, reason, retry_seconds
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    link,
    new_session,
    new_user,
    outcome,
    session_is_valid,
    signs_in,
    unlink_request,
)

NEW = "another password of tests"


def set_request(user_id: str, password: str = PASSWORD) -> pb.SetPasswordRequest:
    """Make a request that sets a first password."""
    return pb.SetPasswordRequest(user_id=user_id, password=password)


def change_request(
    user_id: str, current: str = PASSWORD, new: str = NEW, session: str = "", address: str = ""
) -> pb.ChangePasswordRequest:
    """Make a request that changes a password."""
    return pb.ChangePasswordRequest(
        user_id=user_id,
        current_password=current,
        new_password=new,
        session_token=session,
        client=user_pb2.ClientContext(ip_address=address),
    )


async def test_a_first_password_opens_the_door(users: Stubs) -> None:
    """After SetPassword the user signs in with it, and it is listed as an account."""
    user = await new_user(users)
    account = (await users.accounts.SetPassword(set_request(user.id))).account
    assert (account.provider, account.account_id) == ("credential", user.id)
    assert await accounts_of(users, user.id) == [account]
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_a_password_is_set_once(users: Stubs, users_server: UsersServer) -> None:
    """Who has a password, also one of the source's system, changes it instead; an unknown user has none to set."""
    user, older = await new_user(users, password=PASSWORD), await new_user(users)
    assert await outcome(users.accounts.SetPassword(set_request(user.id, NEW))) == "PASSWORD_ALREADY_SET"
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", "$2b$10$" + "a" * 53, older.id)
    assert await outcome(users.accounts.SetPassword(set_request(older.id))) == "PASSWORD_ALREADY_SET"
    assert await outcome(users.accounts.SetPassword(set_request("user_none"))) == "USER_NOT_FOUND"
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_of_16_first_passwords_at_once_one_is_set(users: Stubs) -> None:
    """One of the passwords opens the door, the others were refused."""
    user = await new_user(users)
    passwords = [f"password number {number}" for number in range(16)]
    ends = await asyncio.gather(
        *[outcome(users.accounts.SetPassword(set_request(user.id, password))) for password in passwords]
    )
    assert sorted(ends) == ["OK"] + ["PASSWORD_ALREADY_SET"] * 15
    assert await signs_in(users, user.email, passwords[ends.index("OK")]) == "OK"


async def test_a_hash_made_elsewhere_is_imported(users: Stubs, users_server: UsersServer) -> None:
    """A bcrypt hash works as it is and becomes Argon2id at the next sign-in; an unknown format is refused."""
    user, other = await new_user(users), await new_user(users)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await users.accounts.SetPassword(pb.SetPasswordRequest(user_id=user.id, password_hash=hashed))
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    stored = users_server.rows("SELECT password FROM accounts WHERE user_id = %s", user.id)[0][0]
    assert stored.startswith("$argon2id$")
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    unknown = pb.SetPasswordRequest(user_id=other.id, password_hash="$unknown$" + "a" * 40)
    assert await outcome(users.accounts.SetPassword(unknown)) == "PASSWORD_HASH_UNSUPPORTED"


async def test_a_password_that_was_unlinked_can_be_set_again(users: Stubs) -> None:
    """Set, unlinked, set: the newest one counts."""
    user = await new_user(users, password=PASSWORD)
    await link(users, user.id)
    password = next(item for item in await accounts_of(users, user.id) if item.provider == "credential")
    await users.accounts.UnlinkAccount(unlink_request(password))
    await users.accounts.SetPassword(set_request(user.id, NEW))
    assert await signs_in(users, user.email, NEW) == "OK"
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"


async def test_a_change_ends_every_session_but_the_one_that_asked(users: Stubs) -> None:
    """The old password and the other sessions are of no use any more; the answer says how many ended."""
    user = await new_user(users, password=PASSWORD)
    kept, *others = [await new_session(users, user.id) for _ in range(3)]
    response = await users.accounts.ChangePassword(change_request(user.id, session=kept))
    assert response.revoked_sessions == 2
    assert await session_is_valid(users, kept)
    assert [await session_is_valid(users, token) for token in others] == [False, False]
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
    assert await signs_in(users, user.email, NEW) == "OK"
    # That sign-in and the session kept.
    assert (await users.accounts.ChangePassword(change_request(user.id, NEW, PASSWORD))).revoked_sessions == 2
    assert not await session_is_valid(users, kept)


async def test_a_change_that_is_refused_changes_nothing(users: Stubs) -> None:
    """Wrong password, foreign or dead session, no password, no user: each is told, and the sessions live on."""
    user, other, bare = [await new_user(users, password=password) for password in (PASSWORD, PASSWORD, "")]
    token, foreign = await new_session(users, user.id), await new_session(users, other.id)
    refused = {
        "CREDENTIALS_INVALID": change_request(user.id, current="a wrong password"),
        "SESSION_INVALID": change_request(user.id, session=foreign),
        "PASSWORD_NOT_SET": change_request(bare.id),
        "USER_NOT_FOUND": change_request("user_none"),
    }
    for expected, request in refused.items():
        assert await outcome(users.accounts.ChangePassword(request)) == expected
    unknown = change_request(user.id, session="nonsense")
    assert await outcome(users.accounts.ChangePassword(unknown)) == "SESSION_INVALID"
    assert await session_is_valid(users, token)
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_guesses_are_limited(users: Stubs) -> None:
    """Ten wrong guesses shut the door: also for the right password, and for it alone."""
    user = await new_user(users, password=PASSWORD)
    for number in range(10):
        request = change_request(user.id, current=f"wrong {number}")
        assert await outcome(users.accounts.ChangePassword(request)) == "CREDENTIALS_INVALID"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await users.accounts.ChangePassword(change_request(user.id))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(caught.value) == "RATE_LIMITED"
    assert 0 < (retry_seconds(caught.value) or 0) <= 900
    assert await signs_in(users, user.email, PASSWORD) == "OK"


async def test_spaces_after_an_address_give_no_further_guesses(users: Stubs) -> None:
    """The database takes `a@b.cc` and `a@b.cc ` for one address, so the limit has to take them for one too."""
    user = await new_user(users, password=PASSWORD)
    for spaces in range(10):
        assert await signs_in(users, user.email + " " * spaces, "wrong password") == "CREDENTIALS_INVALID"
    assert await signs_in(users, user.email + " " * 10, PASSWORD) == "RATE_LIMITED"


async def test_a_change_that_succeeds_forgets_the_wrong_guesses(users: Stubs) -> None:
    """Nine wrong guesses and a right one leave ten attempts for the next time."""
    user = await new_user(users, password=PASSWORD)
    for number in range(9):
        assert await signs_in(users, user.email, f"wrong {number}") == "CREDENTIALS_INVALID"
    assert await outcome(users.accounts.ChangePassword(change_request(user.id))) == "OK"
    for number in range(9):
        assert await signs_in(users, user.email, f"wrong {number}") == "CREDENTIALS_INVALID"
    assert await signs_in(users, user.email, NEW) == "OK"


async def test_of_8_changes_at_once_one_wins(users: Stubs) -> None:
    """Each was made with the password as it was before, so after the first none of them is right."""
    user = await new_user(users, password=PASSWORD)
    passwords = [f"password number {number}" for number in range(8)]
    calls = [users.accounts.ChangePassword(change_request(user.id, new=password)) for password in passwords]
    ends = await asyncio.gather(*map(outcome, calls))
    assert sorted(ends) == ["CREDENTIALS_INVALID"] * 7 + ["OK"]
    assert await signs_in(users, user.email, passwords[ends.index("OK")]) == "OK"


async def test_a_password_of_the_source_system_is_changed_where_it_is(users: Stubs, users_server: UsersServer) -> None:
    """The hash in users gives way to one in accounts, and the old one is gone from everywhere."""
    user = await new_user(users)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", hashed, user.id)
    assert await outcome(users.accounts.ChangePassword(change_request(user.id))) == "OK"
    assert users_server.rows("SELECT password_hash FROM users WHERE id = %s", user.id) == [(None,)]
    assert await signs_in(users, user.email, NEW) == "OK"
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"


async def test_a_sign_in_beside_a_change_leaves_no_session_of_the_old_password(users: Stubs) -> None:
    """Whatever the order, a session that the old password made does not outlive the change."""
    for _ in range(3):
        user = await new_user(users, password=PASSWORD)
        request = change_request(user.id)
        sign_ins = [signs_in(users, user.email, PASSWORD) for _ in range(4)]
        changed, *ends = await asyncio.gather(outcome(users.accounts.ChangePassword(request)), *sign_ins)
        assert changed == "OK"
        assert set(ends) <= {"OK", "CREDENTIALS_INVALID"}
        # Whoever got in before was thrown out by the change.
        again = await users.accounts.ChangePassword(change_request(user.id, NEW, PASSWORD))
        assert again.revoked_sessions == 0
