"""Provider tokens: replaced in part, encrypted at rest, under keys that rotate while the service runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import account_service_pb2 as pb

from tests.harness.users import SECRET_KEYS, Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import (
    NEW_KEY,
    PASSWORD,
    accounts_of,
    link,
    new_email,
    new_user,
    outcome,
    provider_account,
    sign_in_request,
    tokens_of,
)

STORED = "SELECT access_token, refresh_token, id_token, token_key_id, revision, updated_at FROM accounts WHERE id = %s"


def update_request(account: pb.Account, etag: str = "", **tokens: Any) -> pb.UpdateAccountTokensRequest:
    """Make a request that replaces tokens."""
    return pb.UpdateAccountTokensRequest(
        user_id=account.user_id, id=account.id, tokens=pb.AccountTokens(**tokens), etag=etag
    )


@pytest.fixture(scope="module")
def rotated_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A server on the same database whose newest key is another one; it still has the old one."""
    with users_service(users_server.database, secret_keys=f"{NEW_KEY},{SECRET_KEYS}") as served:
        yield served


@pytest.fixture(scope="module")
def keyless_server(users_server: UsersServer) -> Iterator[UsersServer]:
    """A server on the same database that has the new key only."""
    with users_service(users_server.database, secret_keys=NEW_KEY) as served:
        yield served


async def test_an_update_replaces_what_it_gives_and_leaves_the_rest(users: Stubs) -> None:
    """A token, time or scope that is empty or unset stays as it was."""
    user = await new_user(users)
    ends = Timestamp(seconds=2_000_000_000)
    account = await link(
        users,
        user.id,
        provider_account(
            "", access_token="a1", refresh_token="r1", scope="mail", access_token_expires_at=ends, id_token="i1"
        ),
    )
    changed = (
        await users.accounts.UpdateAccountTokens(update_request(account, account.etag, access_token="a2"))
    ).account
    assert changed.etag != account.etag
    read = await tokens_of(users, changed)
    assert read.account == changed
    expected = pb.AccountTokens(
        access_token="a2", refresh_token="r1", id_token="i1", scope="mail", access_token_expires_at=ends
    )
    assert read.tokens == expected


async def test_an_update_of_an_outdated_etag_changes_nothing(users: Stubs) -> None:
    """Who refreshed with what another process has replaced meanwhile is told so."""
    account = await link(users, (await new_user(users)).id, provider_account("", access_token="a1"))
    await users.accounts.UpdateAccountTokens(update_request(account, access_token="a2"))
    assert await outcome(users.accounts.UpdateAccountTokens(update_request(account, account.etag))) == "ETAG_MISMATCH"
    assert (await tokens_of(users, account)).tokens.access_token == "a2"


async def test_tokens_of_a_missing_or_empty_account_are_told_apart(users: Stubs) -> None:
    """An account of nobody is not found; one without tokens says that it has none."""
    user = await new_user(users, password=PASSWORD)
    account = await link(users, user.id)
    assert await outcome(tokens_of(users, account)) == "TOKENS_NOT_FOUND"
    missing = pb.Account(user_id=user.id, id="acct_none")
    assert await outcome(tokens_of(users, missing)) == "ACCOUNT_NOT_FOUND"
    update = users.accounts.UpdateAccountTokens(update_request(missing, access_token="a"))
    assert await outcome(update) == "ACCOUNT_NOT_FOUND"
    password = next(item for item in await accounts_of(users, user.id) if item.provider == "credential")
    update = users.accounts.UpdateAccountTokens(update_request(password, access_token="a"))
    assert await outcome(update) == "INVALID_FIELDS"


async def test_times_that_others_stored_are_answered_as_times(users: Stubs, users_server: UsersServer) -> None:
    """Milliseconds of JavaScript are the time that was meant, and no number makes an answer that JSON cannot say."""
    ends = Timestamp(seconds=1_800_000_000)
    provider = provider_account("", access_token="a", refresh_token="r")
    account = await link(users, (await new_user(users)).id, provider)
    meant = {ends.seconds * unit: ends.seconds for unit in (1, 1_000, 1_000_000, 1_000_000_000)}
    for stored in (*meant, 0, -(2**63), 2**63 - 1, 253_402_300_799, 253_402_300_800, -62_135_596_801):
        users_server.rows(
            "UPDATE accounts SET expires_at = %s, refresh_token_expires_at = %s WHERE id = %s",
            stored,
            stored,
            account.id,
        )
        read = await tokens_of(users, account)
        listed = await accounts_of(users, account.user_id)
        signed_in = await users.accounts.SignInWithAccount(sign_in_request(provider, new_email()))
        for answer in (read, read.tokens, *listed, signed_in):
            assert json_format.MessageToJson(answer)
        found = {read.tokens.access_token_expires_at.seconds, read.account.refresh_token_expires_at.seconds}
        assert found <= {meant.get(stored, read.tokens.access_token_expires_at.seconds)}, stored


async def test_a_time_that_no_calendar_has_is_refused(users: Stubs) -> None:
    """What is stored can always be told again."""
    account = provider_account("", access_token_expires_at=Timestamp(seconds=1 << 40))
    assert await outcome(link(users, (await new_user(users)).id, account)) == "INVALID_FIELDS"


async def test_the_longest_tokens_fit(users: Stubs) -> None:
    """Three tokens of 16 KiB come back as they were given."""
    longest: dict[str, Any] = {name: name[0] * 16_384 for name in ("access_token", "refresh_token", "id_token")}
    account = await link(users, (await new_user(users)).id, provider_account("", **longest))
    assert (await tokens_of(users, account)).tokens == pb.AccountTokens(**longest)


async def test_a_ciphertext_in_another_place_does_not_open(users: Stubs, users_server: UsersServer) -> None:
    """Whoever can write rows cannot show one account's token as another's, or as another kind of token."""
    account = await link(users, (await new_user(users)).id, provider_account("", access_token="a", refresh_token="r"))
    users_server.rows("UPDATE accounts SET refresh_token = access_token WHERE id = %s", account.id)
    assert await outcome(tokens_of(users, account)) == "RECORD_UNREADABLE"


DAMAGES = {"no ciphertext": "'plain'", "cut": "LEFT(access_token, 20)", "no base64": "'???'", "empty": "''"}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_token_keeps_nobody_from_new_ones(users: Stubs, users_server: UsersServer, damage: str) -> None:
    """What another writer left of a token is told as unreadable; sign-in and update go on, and replace it."""
    new = provider_account(uuid4().hex, access_token="a", refresh_token="r")
    account = await link(users, (await new_user(users)).id, new)
    users_server.rows(f"UPDATE accounts SET access_token = {damage} WHERE id = %s", account.id)
    assert await outcome(tokens_of(users, account)) == "RECORD_UNREADABLE"
    again = provider_account(new.account_id, refresh_token="r2")
    assert await outcome(users.accounts.SignInWithAccount(sign_in_request(again, new_email()))) == "OK"
    assert await outcome(users.accounts.UpdateAccountTokens(update_request(account, refresh_token="r3"))) == "OK"
    assert await outcome(users.accounts.UpdateAccountTokens(update_request(account, access_token="a2"))) == "OK"
    tokens = (await tokens_of(users, account)).tokens
    assert (tokens.access_token, tokens.refresh_token) == ("a2", "r3")


async def test_a_plain_token_too_long_to_be_encrypted_keeps_nobody_out(users: Stubs, users_server: UsersServer) -> None:
    """Another system's token of 60,000 characters is read as it is, and its user signs in with the account."""
    new = provider_account(uuid4().hex)
    account = await link(users, (await new_user(users)).id, new)
    plain = "UPDATE accounts SET access_token = REPEAT('a', 60000), refresh_token = 'r' WHERE id = %s"
    users_server.rows(plain, account.id)
    assert len((await tokens_of(users, account)).tokens.access_token) == 60_000
    again = provider_account(new.account_id, refresh_token="r2")
    assert await outcome(users.accounts.SignInWithAccount(sign_in_request(again, new_email()))) == "OK"
    update = users.accounts.UpdateAccountTokens(update_request(account, refresh_token="r3"))
    assert await outcome(update) == "RECORD_UNREADABLE"
    tokens = (await tokens_of(users, account)).tokens
    assert (len(tokens.access_token), tokens.refresh_token) == (60_000, "r")
    update = users.accounts.UpdateAccountTokens(update_request(account, access_token="a2"))
    assert await outcome(update) == "OK"
    tokens = (await tokens_of(users, account)).tokens
    assert (tokens.access_token, tokens.refresh_token) == ("a2", "r")


async def test_reading_brings_tokens_under_the_newest_key_and_changes_nothing_else(
    users: Stubs, users_server: UsersServer, rotated_server: UsersServer, keyless_server: UsersServer
) -> None:
    """After one read with the new key the old one is not needed any more; etag and time stay."""
    account = await link(users, (await new_user(users)).id, provider_account("", access_token="a", refresh_token="r"))
    before = users_server.rows(STORED, account.id)[0]
    async with keyless_server.aio_channel() as keyless, rotated_server.aio_channel() as rotated:
        assert await outcome(tokens_of(Stubs.on(keyless), account)) == "ENCRYPTION_KEY_MISSING"
        read = await tokens_of(Stubs.on(rotated), account)
        assert read.account == account
        after = users_server.rows(STORED, account.id)[0]
        assert (before[3], after[3]) == ("test-key", "new-key")
        assert before[4:] == after[4:]
        assert await tokens_of(Stubs.on(keyless), account) == read


async def test_an_update_without_the_old_key_keeps_what_it_cannot_read(
    users: Stubs, users_server: UsersServer, keyless_server: UsersServer
) -> None:
    """The new token is stored, the unreadable one stays for when its key is back, and the row is still found by it."""
    account = await link(users, (await new_user(users)).id, provider_account("", access_token="a1", refresh_token="r1"))
    async with keyless_server.aio_channel() as keyless:
        update = Stubs.on(keyless).accounts.UpdateAccountTokens(update_request(account, access_token="a2"))
        assert await outcome(update) == "OK"
    assert users_server.rows(STORED, account.id)[0][3] == "test-key"
    with users_service(users_server.database, secret_keys=f"{NEW_KEY},{SECRET_KEYS}") as both:
        async with both.aio_channel() as channel:
            read = await tokens_of(Stubs.on(channel), account)
    assert (read.tokens.access_token, read.tokens.refresh_token) == ("a2", "r1")


async def test_plain_tokens_of_the_source_system_are_read_and_then_encrypted(
    users: Stubs, users_server: UsersServer
) -> None:
    """Rows that the source's own system wrote work as they are, and are in plain text until the first read only."""
    account = await link(users, (await new_user(users)).id)
    users_server.rows("UPDATE accounts SET access_token = 'plain' WHERE id = %s", account.id)
    assert (await tokens_of(users, account)).tokens.access_token == "plain"
    stored = users_server.rows(STORED, account.id)[0]
    assert stored[3] == "test-key"
    assert "plain" not in stored[0]
    assert (await tokens_of(users, account)).tokens.access_token == "plain"
