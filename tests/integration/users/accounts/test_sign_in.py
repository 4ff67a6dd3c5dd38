"""Signing in with a provider account: finding, linking and creating users, also at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, users_service, violations
from tests.integration.users.ways_to_sign_in import (
    accounts_of,
    link,
    new_email,
    new_user,
    outcome,
    provider_account,
    session_is_valid,
    sign_in_request,
    tokens_of,
    unlink_request,
)


async def test_an_unknown_account_creates_its_user(users: Stubs) -> None:
    """User, account and session come into being together; the address is as verified as the provider says."""
    for verified in (True, False):
        email = new_email()
        request = sign_in_request(provider_account(), email.upper(), verified=verified)
        done = await users.accounts.SignInWithAccount(request)
        assert (done.user_created, done.account_linked) == (True, True)
        assert (done.user.email, done.user.email_verified, done.user.name) == (email.upper(), verified, "Ann")
        assert await accounts_of(users, done.user.id) == [done.account]
        assert await session_is_valid(users, done.session_token)


async def test_a_linked_account_finds_its_user_whatever_email_the_provider_says(users: Stubs) -> None:
    """The account decides, never the address: a provider's address may change and be somebody else's."""
    owner, somebody = await new_user(users), await new_user(users, email_verified=True)
    account = provider_account()
    await link(users, owner.id, account)
    done = await users.accounts.SignInWithAccount(sign_in_request(account, somebody.email))
    assert done.user == owner
    assert (done.user_created, done.account_linked) == (False, False)


# What providers say of people's profiles: nothing, or more than can be kept.
PROFILES: list[dict[str, str]] = [
    {},
    {"email": "not an address"},
    {"email": "a" * 300 + "@example.com"},
    {"name": "\U0001f389" * 5_000},
    {"image": f"https://example.com/{'a' * 300}"},
    {"image": f"data:image/jpeg;base64,{'A' * 40_000}"},
    {"image": "no url"},
]


def profile_request(account: pb.ProviderAccount, **profile: Any) -> pb.SignInWithAccountRequest:
    """Make a sign-in with a profile, verified as far as the provider is concerned."""
    return pb.SignInWithAccountRequest(account=account, email_verified=True, **profile)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: "".join(profile) or "nothing")
async def test_no_profile_keeps_anybody_from_a_linked_account(users: Stubs, profile: dict[str, str]) -> None:
    """Who signed in yesterday signs in today, whatever became of the picture, the name or the address meanwhile."""
    user, account = await new_user(users), provider_account()
    await link(users, user.id, account)
    done = await users.accounts.SignInWithAccount(profile_request(account, **profile))
    assert done.user == user
    assert await session_is_valid(users, done.session_token)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: "".join(profile) or "nothing")
async def test_a_new_user_needs_an_address_and_nothing_else(users: Stubs, profile: dict[str, str]) -> None:
    """What cannot be kept is cut or left out; only what is no address is refused, by its name, and creates nobody."""
    request = profile_request(provider_account(), **{"email": new_email(), **profile})
    if "email" in profile or not profile:
        request.email = profile.get("email", "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.accounts.SignInWithAccount(request)
        assert reason(caught.value) == "INVALID_FIELDS"
        assert set(violations(caught.value)) == {"email"}
    else:
        done = await users.accounts.SignInWithAccount(request)
        assert (done.user.email, done.user.image) == (request.email, "")
        assert done.user.name == request.name[:255]


async def test_an_account_is_linked_by_email_only_where_both_sides_verified_it(users: Stubs) -> None:
    """Of the four cases one links; the others say why not and change nothing."""
    for local in (True, False):
        for provider in (True, False):
            user = await new_user(users, email_verified=local)
            request = sign_in_request(provider_account(), user.email.upper(), verified=provider)
            end = await outcome(users.accounts.SignInWithAccount(request))
            assert end == ("OK" if local and provider else "LINKING_NOT_ALLOWED")
            assert len(await accounts_of(users, user.id)) == (1 if local and provider else 0)
            read = await users.users.GetUser(user_service_pb2.GetUserRequest(id=user.id))
            assert read.user == user


async def test_tokens_that_come_with_a_sign_in_replace_the_stored_ones(users: Stubs) -> None:
    """The newest tokens are kept; one that the provider left out stays."""
    account, email = provider_account("", access_token="a1", refresh_token="r1"), new_email()
    first = await users.accounts.SignInWithAccount(sign_in_request(account, email))
    account.tokens.CopyFrom(provider_account("", access_token="a2").tokens)
    second = await users.accounts.SignInWithAccount(sign_in_request(account, email))
    assert second.account.etag != first.account.etag
    read = await tokens_of(users, second.account)
    assert (read.tokens.access_token, read.tokens.refresh_token) == ("a2", "r1")
    assert read.account == second.account


@pytest.mark.parametrize("verified", [True, False])
async def test_16_first_sign_ins_at_once_make_one_user_with_one_account(users: Stubs, verified: bool) -> None:
    """All sixteen are signed in, one of them created the user: also where linking by email is not allowed."""
    account, email = provider_account("", access_token="token"), new_email()
    request = sign_in_request(account, email, verified=verified)
    done = await asyncio.gather(*[users.accounts.SignInWithAccount(request) for _ in range(16)])
    assert len({item.user.id for item in done}) == len({item.account.id for item in done}) == 1
    assert sum(item.user_created for item in done) == 1
    assert len({item.session_token for item in done}) == 16
    assert len(await accounts_of(users, done[0].user.id)) == 1


async def test_16_accounts_linked_by_email_at_once_are_all_linked(users: Stubs) -> None:
    """Different provider accounts of one verified address come to the one user."""
    user = await new_user(users, email_verified=True)
    requests = [sign_in_request(provider_account(), user.email) for _ in range(16)]
    done = await asyncio.gather(*[users.accounts.SignInWithAccount(request) for request in requests])
    assert {item.user.id for item in done} == {user.id}
    assert len(await accounts_of(users, user.id)) == 16


async def test_sign_ins_and_unlinks_at_once_leave_no_second_user(users: Stubs, users_server: UsersServer) -> None:
    """An account that is unlinked while it signs in is linked again or refused, never given to a new user."""
    for _ in range(3):
        user = await new_user(users, email_verified=True)
        account = provider_account()
        linked, _ = await link(users, user.id, account), await link(users, user.id)
        request = sign_in_request(account, user.email)
        calls = [outcome(users.accounts.SignInWithAccount(request)) for _ in range(8)]
        ends = await asyncio.gather(*calls, outcome(users.accounts.UnlinkAccount(unlink_request(linked))))
        assert set(ends) == {"OK"}
        emails = users_server.rows("SELECT id FROM users WHERE email_normalized = %s", user.email)
        assert emails == [(user.id,)]


@pytest.fixture(scope="module")
def limited_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A second process, as it were, on the same database, that allows 3 attempts per address."""
    with users_service(users_server.database, attempts_per_address=3) as served:
        yield served


async def test_one_address_creates_so_many_users_only(limited_server: UsersServer) -> None:
    """New users are limited per address, whichever way they come; who has an account already signs in."""
    async with limited_server.aio_channel() as channel:
        users = Stubs.on(channel)
        requests = [sign_in_request(provider_account(), new_email(), address="192.0.2.9") for _ in range(4)]
        for request in requests[:3]:
            await users.accounts.SignInWithAccount(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.accounts.SignInWithAccount(requests[3])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "RATE_LIMITED"
        assert retry_seconds(caught.value) is not None
        assert await outcome(users.accounts.SignInWithAccount(requests[0])) == "OK"
