"""The first proof of an address ends the ways in of whoever had signed up with it, and says which they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import bcrypt
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.users import Stubs, UsersServer
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    link,
    new_email,
    new_session,
    new_user,
    outcome,
    provider_account,
    secret_of,
    session_is_valid,
    sign_in_request,
    signs_in,
    verification,
)

NEW: Final = "another password of tests"
SIGN_IN, RESET = pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_PURPOSE_PASSWORD_RESET
VERIFY, EMAIL_CHANGE = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION, pb.VERIFICATION_PURPOSE_EMAIL_CHANGE
TOKEN: Final = pb.VERIFICATION_KIND_TOKEN

Answer = pb.ResetPasswordResponse | pb.SignInWithVerificationResponse
Proof = Callable[[Stubs, str], Awaitable[Any]]


async def reset(users: Stubs, email: str) -> Any:
    """Prove the address by a reset of the password."""
    created = await verification(users, RESET, email, TOKEN)
    request = pb.ResetPasswordRequest(secret=secret_of(created), new_password=NEW)
    return await users.verifications.ResetPassword(request)


async def sign_in(users: Stubs, email: str) -> Any:
    """Prove the address by a sign-in."""
    created = await verification(users, SIGN_IN, email, TOKEN)
    return await users.verifications.SignInWithVerification(pb.SignInWithVerificationRequest(secret=secret_of(created)))


async def verify(users: Stubs, email: str) -> Any:
    """Prove the address by a link that signs nobody in."""
    created = await verification(users, VERIFY, email, TOKEN)
    return await users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret_of(created)))


PROOFS: Final = [reset, sign_in]


async def by_provider(users: Stubs, account: accounts_pb.ProviderAccount, email: str, **word: Any) -> str:
    """Sign in with a provider account, as its provider tells of it; return the user's id."""
    response = await users.accounts.SignInWithAccount(sign_in_request(account, email, **word))
    return str(response.user.id)


def named(answer: Answer) -> list[tuple[str, str]]:
    """Return the accounts that an answer lists."""
    return [(item.provider, item.account_id) for item in answer.ended_access.accounts]


@pytest.mark.parametrize("prove", PROOFS)
async def test_the_ways_in_from_before_end_and_are_told(users: Stubs, users_server: UsersServer, prove: Proof) -> None:
    """Somebody signed up with another one's address: sessions, password and accounts are of no use after the proof."""
    user = await new_user(users, password=PASSWORD)
    sessions = [await new_session(users, user.id) for _ in range(3)]
    linked = [await link(users, user.id, provider_account(provider=name)) for name in ("google", "github")]
    answer = await prove(users, user.email)
    ended = answer.ended_access
    assert (ended.session_count, ended.password) == (3, True)
    assert named(answer) == [(item.provider, item.account_id) for item in linked]
    assert not any([await session_is_valid(users, token) for token in sessions])
    reasons = "SELECT revoked_reason FROM sessions WHERE user_id = %s AND revoked_at IS NOT NULL"
    assert users_server.rows(reasons, user.id) == [("address_proved",)] * 3
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
    left = {item.provider for item in await accounts_of(users, user.id)}
    assert left == ({"credential"} if prove is reset else set())
    for item in linked:
        assert await by_provider(users, provider_account(item.account_id, item.provider), new_email()) != user.id


@pytest.mark.parametrize("prove", PROOFS)
async def test_it_happens_once(users: Stubs, prove: Proof) -> None:
    """The address is verified by the first proof; later ones end nothing but what they would anyway."""
    user = await new_user(users, password=PASSWORD)
    first = await prove(users, user.email)
    read = (await users.users.GetUser(users_pb.GetUserRequest(id=user.id))).user
    assert first.HasField("ended_access")
    assert read.email_verified
    assert read.etag != user.etag
    if prove is sign_in:
        assert first.user == read
    account = await link(users, user.id)
    second = await prove(users, user.email)
    assert not second.HasField("ended_access")
    assert account.account_id in {item.account_id for item in await accounts_of(users, user.id)}


@pytest.mark.parametrize("prove", PROOFS)
async def test_a_user_with_nothing_to_lose_is_told_so(users: Stubs, prove: Proof) -> None:
    """`ended_access` is set and empty: the address was not verified until then, and nothing was there."""
    user = await new_user(users)
    answer = await prove(users, user.email)
    assert answer.HasField("ended_access")
    assert answer.ended_access == user_pb2.EndedAccess()


async def test_a_reset_counts_the_sessions_that_the_proof_ended(users: Stubs) -> None:
    """`revoked_sessions` says how many ended by the call, whatever for."""
    user = await new_user(users, password=PASSWORD)
    for _ in range(2):
        await new_session(users, user.id)
    answer = await reset(users, user.email)
    assert (answer.revoked_sessions, answer.ended_access.session_count) == (2, 2)
    assert await signs_in(users, user.email, NEW) == "OK"


@pytest.mark.parametrize("prove", PROOFS)
async def test_a_hash_of_the_sources_system_is_a_password_too(
    users: Stubs, users_server: UsersServer, prove: Proof
) -> None:
    """What stands in `users.password_hash` ends like a password among the accounts."""
    user = await new_user(users)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", hashed, user.id)
    assert (await prove(users, user.email)).ended_access.password
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("prove", PROOFS)
async def test_an_account_whose_provider_verified_this_very_address_survives(users: Stubs, prove: Proof) -> None:
    """Its provider has had the same proof. One of another address, or of the same unverified, has not."""
    email, own, strange, unproved = new_email(), *(provider_account(uuid4().hex) for _ in range(3))
    user_id = await by_provider(users, unproved, email, verified=False)
    for account in (own, strange):
        await link(users, user_id, account)
    assert await by_provider(users, own, email.upper(), verified=True) == user_id
    assert await by_provider(users, strange, new_email(), verified=True) == user_id
    answer = await prove(users, email)
    assert named(answer) == [("google", unproved.account_id), ("google", strange.account_id)]
    left = [item.account_id for item in await accounts_of(users, user_id) if item.provider != "credential"]
    assert left == [own.account_id]
    assert await by_provider(users, own, "", verified=False) == user_id


async def test_a_providers_last_word_counts(users: Stubs, users_server: UsersServer) -> None:
    """It is kept at each sign-in, and where it tells no address, as some do after the first time, it stays."""
    email, account = new_email(), provider_account()
    user_id = await by_provider(users, account, email, verified=True)
    kept = "SELECT verified_email, revision FROM accounts WHERE user_id = %s"
    assert users_server.rows(kept, user_id) == [(email, 1)]
    for address, verified, expected in (
        ("", True, email),
        ("other@example.com", True, "other@example.com"),
        (email, False, None),
        ("no address", True, "no address"),
        ("x" * 300 + "@example.com", True, None),
        (email.upper(), True, email),
    ):
        await by_provider(users, account, address, verified=verified)
        # For callers the account is the same.
        assert users_server.rows(kept, user_id) == [(expected, 1)]


async def test_an_account_linked_by_its_address_is_one_of_this_address(users: Stubs, users_server: UsersServer) -> None:
    """A link by email has the provider's word from the beginning; one by LinkAccount has none."""
    user = await new_user(users, email_verified=True)
    await by_provider(users, provider_account(provider="google"), user.email)
    await link(users, user.id, provider_account(provider="github"))
    kept = "SELECT provider, verified_email FROM accounts WHERE user_id = %s ORDER BY provider"
    assert users_server.rows(kept, user.id) == [("github", None), ("google", user.email)]


async def test_verifying_an_address_ends_nothing(users: Stubs) -> None:
    """VerifyEmail signs nobody in: whoever has signed up goes on, and later proofs are not the first."""
    user = await new_user(users, password=PASSWORD)
    session = await new_session(users, user.id)
    account = await link(users, user.id)
    await verify(users, user.email)
    assert await session_is_valid(users, session)
    assert await signs_in(users, user.email, PASSWORD) == "OK"
    answer = await sign_in(users, user.email)
    assert not answer.HasField("ended_access")
    assert account.id in {item.id for item in await accounts_of(users, user.id)}


async def test_a_caller_who_vouches_for_an_address_ends_nothing(users: Stubs) -> None:
    """UpdateUser with `email_verified` is the caller's word, and what came with it stays."""
    user = await new_user(users, password=PASSWORD)
    update = users_pb.UpdateUserRequest(
        user=user_pb2.User(id=user.id, email_verified=True), update_mask=FieldMask(paths=["email_verified"])
    )
    await users.users.UpdateUser(update)
    assert not (await sign_in(users, user.email)).HasField("ended_access")
    assert await signs_in(users, user.email, PASSWORD) == "OK"


@pytest.mark.parametrize("prove", PROOFS)
async def test_what_others_asked_for_is_void_after_the_proof(users: Stubs, prove: Proof) -> None:
    """A change of the address that the one before had asked for would take the account away again."""
    user, elsewhere = await new_user(users, password=PASSWORD), new_email()
    change = await verification(users, EMAIL_CHANGE, elsewhere, TOKEN, user_id=user.id)
    await prove(users, user.email)
    request = pb.ChangeEmailRequest(secret=secret_of(change), user_id=user.id)
    assert await outcome(users.verifications.ChangeEmail(request)) == "VERIFICATION_INVALID"


@pytest.mark.parametrize("prove", PROOFS)
async def test_events_say_what_changed(users: Stubs, users_server: UsersServer, prove: Proof) -> None:
    """The address became verified, and the password was set or removed: both at the revision of the answer."""
    user = await new_user(users, password=PASSWORD)
    await prove(users, user.email)
    read = (await users.users.GetUser(users_pb.GetUserRequest(id=user.id))).user
    recorded = users_server.rows("SELECT kind, revision FROM user_events WHERE user_id = %s ORDER BY id", user.id)
    revision = int(read.etag.strip('"'))
    assert recorded == [("created", 1), ("changed", revision), ("password_changed", revision)]


async def test_an_answer_names_so_many_accounts_as_it_can_carry(users: Stubs, users_server: UsersServer) -> None:
    """However many accounts somebody has linked, all end, the first 1,000 are named, and the owner is let in."""
    user = await new_user(users)
    rows = ", ".join(f"('acct_{uuid4().hex}', '{user.id}', '{'x' * 240}{n}', 'google', {n})" for n in range(1, 1_202))
    users_server.rows(f"INSERT INTO accounts (id, user_id, account_id, provider, revision) VALUES {rows}")
    answer = await sign_in(users, user.email)
    assert len(named(answer)) == 1_000
    assert await accounts_of(users, user.id) == []
    assert await session_is_valid(users, answer.session_token)


async def test_the_session_of_the_proof_is_the_only_one(users: Stubs) -> None:
    """What ends is what was there before; who proves the address is signed in."""
    user = await new_user(users)
    await new_session(users, user.id)
    answer = await sign_in(users, user.email)
    listed = await users.sessions.ListSessions(sessions_pb.ListSessionsRequest(user_id=user.id))
    assert [item.id for item in listed.sessions] == [answer.session.id]
