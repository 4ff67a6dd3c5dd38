"""ImportUsers over the wire: each user is judged alone, and whoever is refused holds up no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import imported_user_pb2 as pb
from vibework.users.v1 import user_service_pb2
from vibework.users.v1.user_pb2 import User

from chassis.contract.timestamps import to_proto
from tests.harness.users import Stubs, UsersServer, reason, violations
from tests.integration.users.imports.coming_in import (
    ALREADY_THERE,
    HASH,
    IMPORTED,
    LONG_AGO,
    account,
    imported,
    incoming,
    refused,
    results,
    seconds,
    session,
)
from tests.integration.users.ways_to_sign_in import link, new_email, new_session, new_user, provider_account


def hour_ahead() -> Timestamp:
    """Return a time that is an hour from now."""
    return to_proto(datetime.now(UTC) + timedelta(hours=1))


FIRST, LAST = seconds(1), seconds(2**31 - 1, 999_999_999)
BAD: dict[str, tuple[Callable[[], pb.ImportedUser], str]] = {
    "no id": (lambda: incoming(id=""), "id"),
    "a long id": (lambda: incoming(id="x" * 300), "id"),
    "an id with a space at its end": (lambda: incoming(id="x "), "id"),
    "no address": (lambda: incoming(email="nobody"), "email"),
    "a long name": (lambda: incoming(name="x" * 256), "name"),
    "no URL": (lambda: incoming(image="a picture"), "image"),
    "a short hash": (lambda: incoming(password_hash="x"), "password_hash"),
    "created before 1970": (lambda: incoming(created_at=seconds(-1)), "created_at"),
    "created as 1970 began": (lambda: incoming(created_at=seconds(0)), "created_at"),
    "changed after 2038": (lambda: incoming(updated_at=seconds(2**31)), "updated_at"),
    "created in an hour": (lambda: incoming(created_at=hour_ahead()), "created_at"),
    "no time": (lambda: incoming(created_at=seconds(5, -1)), "created_at"),
    "before the year 1": (lambda: incoming(accounts=[account(created_at=seconds(-(2**62)))]), "accounts[0].created_at"),
    "no account": (lambda: incoming(accounts=[pb.ImportedAccount()]), "accounts[0].account"),
    "the password's provider": (
        lambda: incoming(accounts=[account(), account("x", "credential")]),
        "accounts[1].account.provider",
    ),
    "an account with a space at its end": (
        lambda: incoming(accounts=[account("x ")]),
        "accounts[0].account.account_id",
    ),
    "linked in an hour": (lambda: incoming(accounts=[account(updated_at=hour_ahead())]), "accounts[0].updated_at"),
    "many accounts": (lambda: incoming(accounts=[account() for _ in range(51)]), "accounts"),
    "no secret": (
        lambda: incoming(sessions=[pb.ImportedSession(expires_at=hour_ahead())]),
        "sessions[0].secret",
    ),
    "a short SHA-256": (lambda: incoming(sessions=[session(token_sha256=b"x")]), "sessions[0].token_sha256"),
    "no end": (lambda: incoming(sessions=[pb.ImportedSession(session_token="x")]), "sessions[0].expires_at"),
    "no IP address": (lambda: incoming(sessions=[session(ip_address="x")]), "sessions[0].ip_address"),
    "31 days": (lambda: incoming(sessions=[session(ends_in=timedelta(days=31))]), "sessions[0].expires_at"),
    "31 days, over": (
        lambda: incoming(sessions=[session(created_at=to_proto(LONG_AGO), ends_in=-timedelta(days=1))]),
        "sessions[0].expires_at",
    ),
    "begun in an hour": (
        lambda: incoming(sessions=[session(), session(created_at=hour_ahead())]),
        "sessions[1].created_at",
    ),
    "disabled in an hour": (lambda: incoming(disabled={"at": hour_ahead()}), "disabled.at"),
    "disabled for a long reason": (lambda: incoming(disabled={"reason": "x" * 256}), "disabled.reason"),
    "disabled until no time": (lambda: incoming(disabled={"until": Timestamp(nanos=-1)}), "disabled.until"),
}


@pytest.mark.parametrize("case", BAD)
async def test_whoever_breaks_a_rule_is_refused_alone_by_the_field(users: Stubs, case: str) -> None:
    """The path names the field within the user, and the others of the request come in."""
    make, field = BAD[case]
    assert await imported(users, incoming(), make(), incoming()) == [
        IMPORTED,
        refused("INVALID_FIELDS", field),
        IMPORTED,
    ]


async def test_the_rules_of_a_request_are_its_own(users: Stubs) -> None:
    """How many users there are is no user's matter."""
    for count in (0, 1001):
        request = user_service_pb2.ImportUsersRequest(users=[incoming() for _ in range(count)])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.users.ImportUsers(request)
        assert (reason(caught.value), violations(caught.value)) == ("INVALID_FIELDS", ["users"])


async def test_the_ends_of_what_the_database_can_hold_are_kept(users: Stubs, users_server: UsersServer) -> None:
    """The first second and the last of TIMESTAMP come in, whatever the zone of the server."""
    oldest = incoming(created_at=FIRST, updated_at=FIRST, accounts=[account(created_at=FIRST)])
    endless = incoming(disabled={"at": FIRST, "until": Timestamp(seconds=253_402_300_799, nanos=999_999_999)})
    assert await imported(users, oldest, endless) == [IMPORTED, IMPORTED]
    read = (await users.users.GetUser(user_service_pb2.GetUserRequest(id=oldest.id))).user
    assert (read.created_at, read.updated_at) == (FIRST, FIRST)
    assert users_server.rows("SELECT YEAR(disabled_until) FROM users WHERE id = %s", endless.id) == [(9999,)]
    # In the future, but no time that could not be stored: it is refused as one that has not come yet.
    assert await imported(users, incoming(created_at=LAST)) == [refused("INVALID_FIELDS", "created_at")]


@pytest.mark.parametrize(
    "stored", ["not a hash, but long enough", "$argon2id$v=19$m=4000000000,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"]
)
async def test_a_hash_that_could_never_be_verified_is_refused(users: Stubs, stored: str) -> None:
    """Its user would never get in by it, and hears so now."""
    assert await imported(users, incoming(password_hash=stored), incoming(password_hash=HASH)) == [
        refused("PASSWORD_HASH_UNSUPPORTED", "password_hash"),
        IMPORTED,
    ]


async def test_what_somebody_else_has_is_taken(users: Stubs) -> None:
    """An address in any case, an account at a provider, the token of a session."""
    there = await new_user(users, email=new_email())
    await link(users, there.id, provider_account("taken"))
    token = await new_session(users, there.id)
    assert await imported(
        users,
        incoming(email=there.email.upper()),
        incoming(accounts=[account(), account("taken")]),
        incoming(accounts=[account("taken", "github")]),
        incoming(sessions=[session(), session(token)]),
    ) == [
        refused("EMAIL_TAKEN", "email"),
        refused("ACCOUNT_ALREADY_LINKED", "accounts[1]"),
        IMPORTED,
        refused("SESSION_TOKEN_TAKEN", "sessions[1]"),
    ]


async def test_of_two_in_one_request_the_first_has_it(users: Stubs) -> None:
    """And one who was refused takes nothing from those behind."""
    twice = incoming()
    email, shared, token = new_email(), account("shared"), session("shared")
    bad = incoming(email=email, name="x" * 256, accounts=[shared], sessions=[token])
    assert await imported(
        users,
        bad,
        incoming(email=email),
        incoming(email=email.upper()),
        incoming(accounts=[shared]),
        incoming(accounts=[shared]),
        incoming(sessions=[token]),
        incoming(sessions=[token]),
        incoming(accounts=[account("own"), account("own")]),
        incoming(sessions=[session("own"), session("own")]),
        twice,
        twice,
    ) == [
        refused("INVALID_FIELDS", "name"),
        IMPORTED,
        refused("EMAIL_TAKEN", "email"),
        IMPORTED,
        refused("ACCOUNT_ALREADY_LINKED", "accounts[0]"),
        IMPORTED,
        refused("SESSION_TOKEN_TAKEN", "sessions[0]"),
        refused("ACCOUNT_ALREADY_LINKED", "accounts[1]"),
        refused("SESSION_TOKEN_TAKEN", "sessions[1]"),
        IMPORTED,
        ALREADY_THERE,
    ]


async def test_whoever_is_there_already_stays_as_is(users: Stubs) -> None:
    """A repeat after a lost answer changes nothing, also what was changed here since."""
    message = incoming(name="before", accounts=[account()], sessions=[session()], password_hash=HASH)
    assert await imported(users, message) == [IMPORTED]
    changed = user_service_pb2.UpdateUserRequest(
        user=User(id=message.id, name="now"), update_mask=FieldMask(paths=["name"])
    )
    after = (await users.users.UpdateUser(changed)).user
    message.email = new_email()
    assert await imported(users, message) == [ALREADY_THERE]
    assert (await users.users.GetUser(user_service_pb2.GetUserRequest(id=message.id))).user == after


async def test_validate_only_says_the_same_and_stores_nothing(users: Stubs, users_server: UsersServer) -> None:
    """Whoever tries first hears what would become of each, also of those who are in each other's way."""
    there = await new_user(users)
    same = new_email()
    many = [incoming(sessions=[session() for _ in range(3)]) for _ in range(450)]
    messages = [
        incoming(email=same),
        *many,
        incoming(email=same),
        incoming(id=there.id),
        incoming(email=there.email),
        incoming(name="x" * 256),
        incoming(password_hash="not a hash, but long enough"),
    ]
    before = users_server.rows("SELECT COUNT(*) FROM users")
    tried = await imported(users, *messages, validate_only=True)
    assert users_server.rows("SELECT COUNT(*) FROM users") == before
    assert await imported(users, *messages) == tried
    assert results(tried).count("IMPORTED") == 451


async def test_each_user_is_stored_whole_or_not_at_all(users: Stubs, users_server: UsersServer) -> None:
    """Of whoever is refused for the last thing that comes with the user, nothing is there."""
    await new_user(users)
    message = incoming(password_hash=HASH, accounts=[account()], sessions=[session("x1"), session("x1")])
    assert await imported(users, message) == [refused("SESSION_TOKEN_TAKEN", "sessions[1]")]
    for table, column in (
        ("users", "id"),
        ("accounts", "user_id"),
        ("sessions", "user_id"),
        ("user_events", "user_id"),
    ):
        assert users_server.rows(f"SELECT COUNT(*) FROM {table} WHERE {column} = %s", message.id) == [(0,)]


async def test_an_answer_fits_whatever_the_ids(users: Stubs) -> None:
    """Ids that are far too long are cut in the answer, which is thus never larger than the request."""
    request = user_service_pb2.ImportUsersRequest(users=[incoming(id="ü" * 1_000) for _ in range(1_000)])
    outcomes = (await users.users.ImportUsers(request)).outcomes
    assert {outcome.id for outcome in outcomes} == {"ü" * 255}


async def test_a_call_whose_time_is_over_may_be_repeated(users: Stubs) -> None:
    """It has stored some or none of its users; the repeat stores the rest, and refuses nobody."""
    request = user_service_pb2.ImportUsersRequest(users=[incoming() for _ in range(500)])
    at_once: dict[str, Any] = {"timeout": 0.03}
    with suppress(grpc.aio.AioRpcError):
        await users.users.ImportUsers(request, **at_once)
    assert set(results(await imported(users, *request.users))) <= {"IMPORTED", "ALREADY_THERE"}
