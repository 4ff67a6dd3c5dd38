"""ImportUsers over the wire: what a user has in the other system is there afterwards, and works."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.users.v1 import account_service_pb2, session_service_pb2, user_pb2, user_service_pb2
from vibework.users.v1.user_pb2 import User

from chassis.contract.timestamps import from_proto, to_proto
from tests.harness.users import Stubs, UsersServer, reason
from tests.integration.users.imports.coming_in import (
    ALREADY_THERE,
    HASH,
    IMPORTED,
    LONG_AGO,
    PASSWORD,
    account,
    imported,
    incoming,
    session,
)
from tests.integration.users.ways_to_sign_in import (
    accounts_of,
    new_email,
    outcome,
    provider_account,
    session_is_valid,
    signs_in,
    tokens_of,
)

LATER = LONG_AGO + timedelta(days=100)


async def user_of(users: Stubs, id_: str) -> user_pb2.User:
    """Read a user."""
    return (await users.users.GetUser(user_service_pb2.GetUserRequest(id=id_))).user


async def sessions_of(users: Stubs, id_: str) -> list[session_service_pb2.Session]:
    """List the sessions of a user."""
    return list((await users.sessions.ListSessions(session_service_pb2.ListSessionsRequest(user_id=id_))).sessions)


async def test_ids_times_and_profiles_are_kept(users: Stubs) -> None:
    """Whoever has stored the id elsewhere finds the user by it, as old as there."""
    message = incoming(
        email="Ann.Of-Old@Example.com",
        email_verified=True,
        name="Ann",
        image="https://example.com/a.png",
        created_at=to_proto(LONG_AGO),
        updated_at=to_proto(LATER),
    )
    assert await imported(users, message) == [IMPORTED]
    found = await user_of(users, message.id)
    assert (found.email, found.email_verified, found.name, found.image) == (
        "Ann.Of-Old@Example.com",
        True,
        "Ann",
        "https://example.com/a.png",
    )
    assert (from_proto(found.created_at), from_proto(found.updated_at)) == (LONG_AGO, LATER)
    assert found.state == user_pb2.USER_STATE_ACTIVE


async def test_times_that_are_not_told_are_filled_in(users: Stubs) -> None:
    """Without a time of creation it is now; without one of a change, or of an account's linking, it is the creation."""
    fresh, old = incoming(), incoming(created_at=to_proto(LONG_AGO), accounts=[account()], password_hash=HASH)
    before = datetime.now(UTC)
    assert await imported(users, fresh, old) == [IMPORTED, IMPORTED]
    found = await user_of(users, fresh.id)
    assert before <= from_proto(found.created_at) == from_proto(found.updated_at)
    assert from_proto((await user_of(users, old.id)).updated_at) == LONG_AGO
    assert {from_proto(each.created_at) for each in await accounts_of(users, old.id)} == {LONG_AGO}
    assert {from_proto(each.updated_at) for each in await accounts_of(users, old.id)} == {LONG_AGO}


async def test_the_password_of_the_other_system_signs_in(users: Stubs, users_server: UsersServer) -> None:
    """And its hash is replaced by one of ours then, as any imported one."""
    message = incoming(password_hash=HASH)
    assert await imported(users, message) == [IMPORTED]
    assert await signs_in(users, message.email, "another password") == "CREDENTIALS_INVALID"
    assert await signs_in(users, message.email, PASSWORD) == "OK"
    [(stored,)] = users_server.rows("SELECT password FROM accounts WHERE user_id = %s", message.id)
    assert stored.startswith("$argon2id$")


async def test_accounts_sign_in_and_their_tokens_are_sealed(users: Stubs, users_server: UsersServer) -> None:
    """The provider's word opens the user, and no token can be read in the database."""
    access = account("7", access_token="an access token", scope="openid", created_at=to_proto(LATER))
    message = incoming(created_at=to_proto(LONG_AGO), accounts=[access, account("8", "github")])
    assert await imported(users, message) == [IMPORTED]
    google, github = sorted(await accounts_of(users, message.id), key=lambda each: each.account_id)
    assert (google.provider, google.account_id, github.provider, github.account_id) == ("google", "7", "github", "8")
    assert from_proto(google.created_at) == from_proto(google.updated_at) == LATER
    assert (await tokens_of(users, google)).tokens.access_token == "an access token"
    stored = users_server.rows("SELECT access_token, token_key_id, scope FROM accounts WHERE id = %s", google.id)
    assert stored[0][1:] == ("test-key", "openid")
    assert "an access token" not in stored[0][0]
    request = account_service_pb2.SignInWithAccountRequest(account=provider_account("7"))
    assert (await users.accounts.SignInWithAccount(request)).user.id == message.id


async def test_an_address_that_a_provider_verified_is_kept_with_the_account(
    users: Stubs, users_server: UsersServer
) -> None:
    """It is by this that such an account survives a proof of the address."""
    message = incoming(email="Bob@Example.COM", accounts=[account("v", email_verified=True), account("w")])
    assert await imported(users, message) == [IMPORTED]
    rows = users_server.rows("SELECT account_id, verified_email FROM accounts WHERE user_id = %s", message.id)
    assert sorted(rows) == [("v", "bob@example.com"), ("w", None)]


async def test_sessions_stay_open_by_their_tokens_or_by_hashes_of_them(users: Stubs, users_server: UsersServer) -> None:
    """Nobody has to sign in again; only hashes are stored, and the method says where the sessions came from."""
    plain, hashed = session("the first token", ip_address="2001:db8::1%eth0", user_agent="x" * 600), session("")
    hashed.token_sha256 = hashlib.sha256(b"the second token").digest()
    message = incoming(sessions=[plain, hashed])
    assert await imported(users, message) == [IMPORTED]
    for token in ("the first token", "the second token"):
        assert await session_is_valid(users, token)
    found = await sessions_of(users, message.id)
    assert {each.authentication_method for each in found} == {session_service_pb2.AUTHENTICATION_METHOD_IMPORTED}
    assert sorted((each.ip_address, len(each.user_agent)) for each in found) == [("", 0), ("2001:db8::1", 512)]
    stored = users_server.rows("SELECT token_hash FROM sessions WHERE user_id = %s", message.id)
    assert (hashlib.sha256(b"the first token").digest(),) in stored


async def test_a_session_is_extended_from_where_the_other_system_left_it(users: Stubs) -> None:
    """A refresh never moves the end to an earlier time, and not past 30 days from the creation."""
    now = datetime.now(UTC)
    begun = now - timedelta(days=10)
    far = session("far", created_at=to_proto(begun), ends_in=timedelta(days=19))
    due = session("due", created_at=to_proto(begun), ends_in=timedelta(days=2))
    brief = session("brief", created_at=to_proto(now), ends_in=timedelta(hours=3))
    assert await imported(users, incoming(sessions=[far, due, brief])) == [IMPORTED]
    ends = {}
    for token in ("far", "due", "brief"):
        request = session_service_pb2.RefreshSessionRequest(session_token=token)
        refreshed = (await users.sessions.RefreshSession(request)).session
        ends[token] = from_proto(refreshed.expires_at)
        assert from_proto(refreshed.absolute_expires_at) - from_proto(refreshed.created_at) == timedelta(days=30)
    assert ends["far"] == from_proto(far.expires_at)
    assert ends["due"] >= now + timedelta(days=7)
    assert ends["brief"] == from_proto(brief.expires_at)


async def test_sessions_that_have_ended_are_left_out(users: Stubs, users_server: UsersServer) -> None:
    """They open nothing, and keep nobody from coming in."""
    message = incoming(sessions=[session("over", ends_in=-timedelta(seconds=1)), session("open")])
    assert await imported(users, message) == [IMPORTED]
    assert len(await sessions_of(users, message.id)) == 1
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", message.id) == [(1,)]


async def test_a_disabled_user_comes_in_disabled_and_without_sessions(users: Stubs, users_server: UsersServer) -> None:
    """Nobody gets in who was shut out there; a disablement that has ended by now is none."""
    until = datetime.now(UTC) + timedelta(days=40 * 365)
    shut = incoming(
        password_hash=HASH,
        sessions=[session("of a disabled one")],
        disabled={"reason": "fraud", "at": to_proto(LONG_AGO), "until": to_proto(until)},
    )
    for_ever = incoming(disabled={})
    over = incoming(
        sessions=[session("of one who was")], disabled={"until": to_proto(datetime.now(UTC) - timedelta(seconds=1))}
    )
    assert await imported(users, shut, for_ever, over) == [IMPORTED] * 3
    columns = "disabled_at, disabled_until, disabled_reason"
    [row] = users_server.rows(f"SELECT {columns} FROM users WHERE id = %s", shut.id)
    assert row == (LONG_AGO.replace(tzinfo=None), until.replace(tzinfo=None), "fraud")
    [(at, end, why)] = users_server.rows(f"SELECT {columns} FROM users WHERE id = %s", for_ever.id)
    assert at is not None
    assert (end, why) == (None, None)
    assert users_server.rows(f"SELECT {columns} FROM users WHERE id = %s", over.id) == [(None, None, None)]
    assert users_server.rows("SELECT COUNT(*) FROM sessions WHERE user_id = %s", shut.id) == [(0,)]
    assert await session_is_valid(users, "of one who was")


async def test_an_import_is_an_event_of_each_user_and_no_welcome(users: Stubs, users_server: UsersServer) -> None:
    """Whoever follows users hears of those who came in; whoever was there already is not told so again."""
    first, second = incoming(), incoming()
    assert await imported(users, first) == [IMPORTED]
    assert await imported(users, first, second) == [ALREADY_THERE, IMPORTED]
    rows = users_server.rows(
        "SELECT user_id, kind, revision FROM user_events WHERE user_id IN (%s, %s) ORDER BY id", first.id, second.id
    )
    assert rows == [(first.id, "created", 1), (second.id, "created", 1)]


async def test_an_imported_user_can_be_changed_and_deleted_as_any_other(users: Stubs) -> None:
    """Nothing about an id of another form stands in the way."""
    message = incoming(id="an id, of another system/ü", password_hash=HASH, accounts=[account()], sessions=[session()])
    assert await imported(users, message) == [IMPORTED]
    change = user_service_pb2.UpdateUserRequest(
        user=User(id=message.id, name="n"), update_mask=FieldMask(paths=["name"])
    )
    assert (await users.users.UpdateUser(change)).user.name == "n"
    deleted = await users.users.DeleteUser(user_service_pb2.DeleteUserRequest(id=message.id))
    assert (deleted.deleted_sessions, deleted.deleted_accounts) == (1, 2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await user_of(users, message.id)
    assert reason(caught.value) == "USER_NOT_FOUND"
    assert await imported(users, message) == [IMPORTED]


async def test_an_email_that_the_other_system_verified_counts_as_proved(users: Stubs) -> None:
    """So a password reset ends sessions as always, and no way in from before: the account stays linked."""
    message = incoming(email=new_email(), email_verified=True, accounts=[account("proved")], password_hash=HASH)
    assert await imported(users, message) == [IMPORTED]
    request = account_service_pb2.SignInWithAccountRequest(
        account=provider_account("at another provider", "github"), email=message.email, email_verified=True
    )
    signed_in = await users.accounts.SignInWithAccount(request)
    assert (signed_in.user.id, signed_in.account_linked) == (message.id, True)
    by_the_old_one = account_service_pb2.SignInWithAccountRequest(account=provider_account("proved"))
    assert await outcome(users.accounts.SignInWithAccount(by_the_old_one)) == "OK"
