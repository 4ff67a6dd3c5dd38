"""Linking, listing and unlinking accounts, on real rows."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import grpc
import pytest
from vibework.users.v1 import account_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from tests.harness.users import Stubs, UsersServer, reason, violations
from tests.integration.users.ways_to_sign_in import (
    PASSWORD,
    accounts_of,
    link,
    new_user,
    outcome,
    provider_account,
    signs_in,
    unlink_request,
)


async def test_a_linked_account_is_listed_as_it_was_answered(users: Stubs) -> None:
    """What LinkAccount answers is stored, and the user's email stays what it was."""
    user = await new_user(users)
    account = await link(users, user.id, provider_account("4711", "github", scope="read:user"))
    assert (account.provider, account.account_id, account.scope) == ("github", "4711", "read:user")
    assert await accounts_of(users, user.id) == [account]
    read = await users.users.GetUser(user_service_pb2.GetUserRequest(id=user.id))
    assert read.user == user


async def test_a_provider_account_belongs_to_one_user_only(users: Stubs) -> None:
    """The second link of a provider account is refused, for the same user and for another."""
    one, other = await new_user(users), await new_user(users)
    account = provider_account()
    await link(users, one.id, account)
    assert await outcome(link(users, other.id, account)) == "ACCOUNT_ALREADY_LINKED"
    assert await outcome(link(users, one.id, account)) == "ACCOUNT_ALREADY_LINKED"


async def test_of_16_who_link_one_provider_account_at_once_one_does(users: Stubs) -> None:
    """The unique key, not a look before the insert, decides whose account it is."""
    owners = await asyncio.gather(*[new_user(users) for _ in range(16)])
    account = provider_account()
    ends = await asyncio.gather(*[outcome(link(users, owner.id, account)) for owner in owners])
    assert sorted(ends) == ["ACCOUNT_ALREADY_LINKED"] * 15 + ["OK"]


async def test_a_repeated_link_gets_the_first_answer(users: Stubs) -> None:
    """The same request_id links once; with another body it is refused."""
    user, account, request_id = await new_user(users), provider_account(), str(uuid4())
    first = await link(users, user.id, account, request_id)
    assert await link(users, user.id, account, request_id) == first
    assert await outcome(link(users, user.id, provider_account(), request_id)) == "REQUEST_ID_REUSED"
    assert await accounts_of(users, user.id) == [first]


async def test_nothing_is_linked_to_an_unknown_user(users: Stubs, users_server: UsersServer) -> None:
    """An unknown user is told as such, also where the account is somebody's already."""
    account = provider_account()
    assert await outcome(link(users, "user_none", account)) == "USER_NOT_FOUND"
    await link(users, (await new_user(users)).id, account)
    assert await outcome(link(users, "user_none", account)) == "USER_NOT_FOUND"
    assert not users_server.rows("SELECT id FROM accounts WHERE user_id = 'user_none'")


async def test_an_account_id_that_ends_in_a_space_is_refused(users: Stubs) -> None:
    """The database takes `1` and `1 ` for one account, so the second must never get in."""
    user = await new_user(users)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await link(users, user.id, provider_account("1 "))
    assert reason(caught.value) == "INVALID_FIELDS"
    assert violations(caught.value) == ["account.account_id"]


async def test_the_pages_of_a_list_hold_every_account_once_oldest_first(users: Stubs) -> None:
    """Keyset pages of 3 show 7 accounts once each, in order; a token is bound to its user."""
    user, other = await new_user(users), await new_user(users)
    linked = [await link(users, user.id) for _ in range(7)]
    seen, token = list[pb.Account](), ""
    while True:
        request = pb.ListAccountsRequest(user_id=user.id, page_size=3, page_token=token)
        page = await users.accounts.ListAccounts(request)
        seen.extend(page.accounts)
        if not page.next_page_token:
            break
        token = page.next_page_token
        foreign = pb.ListAccountsRequest(user_id=other.id, page_token=token)
        assert await outcome(users.accounts.ListAccounts(foreign)) == "PAGE_TOKEN_FILTER_MISMATCH"
        altered = pb.ListAccountsRequest(user_id=user.id, page_token=token[:-2])
        assert await outcome(users.accounts.ListAccounts(altered)) == "PAGE_TOKEN_INVALID"
    assert seen == linked


async def test_the_last_way_to_sign_in_stays(users: Stubs) -> None:
    """Accounts go until one is left; the answer counts what is left."""
    user = await new_user(users, password=PASSWORD)
    account = await link(users, user.id)
    password = next(item for item in await accounts_of(users, user.id) if item.provider == "credential")
    response = await users.accounts.UnlinkAccount(unlink_request(password))
    assert response.remaining_accounts == 1
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"
    assert await outcome(users.accounts.UnlinkAccount(unlink_request(account))) == "LAST_ACCOUNT"
    assert await accounts_of(users, user.id) == [account]


async def test_only_the_owner_unlinks_an_account(users: Stubs) -> None:
    """An account of another user, or one that is gone, is not found."""
    user, other = await new_user(users), await new_user(users)
    account, _ = await link(users, user.id), await link(users, user.id)
    foreign = pb.UnlinkAccountRequest(user_id=other.id, id=account.id)
    assert await outcome(users.accounts.UnlinkAccount(foreign)) == "ACCOUNT_NOT_FOUND"
    assert await outcome(users.accounts.UnlinkAccount(unlink_request(account))) == "OK"
    assert await outcome(users.accounts.UnlinkAccount(unlink_request(account))) == "ACCOUNT_NOT_FOUND"


async def test_a_password_of_the_source_system_counts_as_a_way_to_sign_in(
    users: Stubs, users_server: UsersServer
) -> None:
    """With users.password_hash set, the only provider account may go; afterwards nothing else may."""
    user = await new_user(users)
    account = await link(users, user.id)
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", "$2b$10$" + "a" * 53, user.id)
    response = await users.accounts.UnlinkAccount(unlink_request(account))
    assert response.remaining_accounts == 1


async def test_unlinking_the_password_removes_its_older_copy_too(users: Stubs, users_server: UsersServer) -> None:
    """A hash that the source's system left in users must not open the door that was just closed."""
    user = await new_user(users, password=PASSWORD)
    await link(users, user.id)
    stored = "SELECT password FROM accounts WHERE user_id = %s AND provider = 'credential'"
    ((hashed,),) = users_server.rows(stored, user.id)
    users_server.rows("UPDATE users SET password_hash = %s WHERE id = %s", hashed, user.id)
    password = next(item for item in await accounts_of(users, user.id) if item.provider == "credential")
    assert await outcome(users.accounts.UnlinkAccount(unlink_request(password))) == "OK"
    assert await signs_in(users, user.email, PASSWORD) == "CREDENTIALS_INVALID"


async def test_16_who_unlink_two_accounts_at_once_leave_one(users: Stubs) -> None:
    """Two unlinks never both see the other's account as the one that is left."""
    for _ in range(3):
        user = await new_user(users)
        both = [await link(users, user.id), await link(users, user.id)]
        calls = [users.accounts.UnlinkAccount(unlink_request(both[number % 2])) for number in range(16)]
        ends = await asyncio.gather(*map(outcome, calls))
        assert ends.count("OK") == 1
        assert set(ends) == {"OK", "LAST_ACCOUNT", "ACCOUNT_NOT_FOUND"}
        assert len(await accounts_of(users, user.id)) == 1
