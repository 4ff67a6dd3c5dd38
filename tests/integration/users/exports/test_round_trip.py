"""`users-service export` and `import`: what is exported comes into an empty database as it was."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from vibework.users.v1 import imported_user_pb2 as pb
from vibework.users.v1 import session_service_pb2, user_service_pb2

from chassis.contract.timestamps import to_proto
from chassis.keyring import Keyring
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.users import SECRET_KEYS, Stubs, UsersServer, users_service
from tests.integration.users.imports.coming_in import HASH, LONG_AGO, PASSWORD, account, imported, incoming, session
from tests.integration.users.imports.commands import command
from tests.integration.users.ways_to_sign_in import (
    NEW_KEY,
    link,
    new_email,
    new_session,
    new_user,
    provider_account,
    session_is_valid,
    signs_in,
)
from users_service.accounts.tokens import TokenCipher

USERS = "SELECT * FROM users ORDER BY id"
ACCOUNTS = (
    "SELECT user_id, provider, account_id, scope, expires_at, refresh_token_expires_at, password, verified_email, "
    # Of the account of a password only the hash is told.
    "IF(provider = 'credential', NULL, created_at), IF(provider = 'credential', NULL, updated_at) "
    "FROM accounts ORDER BY user_id, provider, account_id"
)
SESSIONS = (
    "SELECT user_id, token_hash, created_at, expires_at, ip_address, user_agent FROM sessions "
    "WHERE revoked_at IS NULL AND expires_at > UTC_TIMESTAMP(6) ORDER BY token_hash"
)


@pytest.fixture
def empty(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A migrated database without users."""
    with migrated_mysql(test_run, mysql_server) as database:
        yield database


def files(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return list(folder.iterdir())


async def populate(users: Stubs, users_server: UsersServer) -> dict[str, str]:
    """Make users of all kinds; return sessions' tokens by what should become of them."""
    await users.sessions.SignUp(session_service_pb2.SignUpRequest(email=new_email(), password="a password of tests"))
    plain = await new_user(users)
    named = await new_user(users, email=f"Named-{new_email()}", email_verified=True)
    await link(users, named.id, provider_account("1", access_token="ä token", refresh_token="r", scope="openid"))
    await link(users, named.id, provider_account("2", "github"))
    live, revoked = await new_session(users, named.id), await new_session(users, named.id)
    await users.sessions.RevokeSession(session_service_pb2.RevokeSessionRequest(session_token=revoked))
    disabled = await new_user(users, password="a password of tests")
    until = to_proto(datetime.now(UTC) + timedelta(days=100_000))
    shut = user_service_pb2.DisableUserRequest(id=disabled.id, reason="fraud", until=until)
    await users.users.DisableUser(shut)
    old = incoming(
        created_at=to_proto(LONG_AGO),
        password_hash=HASH,
        email_verified=True,
        accounts=[account("old", id_token="i", email_verified=True)],
        sessions=[session("old token", ip_address="::1", user_agent="curl")],
    )
    assert await imported(users, old) == [("IMPORTED", "", "")]
    users_server.rows("UPDATE users SET password_hash = %s, updated_at = updated_at WHERE id = %s", HASH, plain.id)
    return {"live": live, "revoked": revoked, "old": "old token", "plain email": plain.email}


@pytest.mark.long
async def test_what_is_exported_comes_in_as_it_was(
    users: Stubs, users_server: UsersServer, empty: MySQLDatabase, tmp_path: Path
) -> None:
    """Every column that an import can know is the same, sessions and passwords work, a second export is equal."""
    made = await populate(users, users_server)
    path = tmp_path / "users.jsonl"
    done = command(users_server.database, "export", path)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files(tmp_path) == [path]
    came = command(empty, "import", path)
    assert came.returncode == 0, (came.stdout, came.stderr)
    again = command(empty, "export", "-")
    assert again.stdout == path.read_bytes()
    with users_service(empty) as other:
        await _compare(users_server, other)
        async with other.aio_channel() as channel:
            there = Stubs.on(channel)
            assert [await session_is_valid(there, made[name]) for name in ("live", "old", "revoked")] == [
                True,
                True,
                False,
            ]
            assert await signs_in(there, made["plain email"], PASSWORD) == "OK"


async def _compare(here: UsersServer, there: UsersServer) -> None:
    before, after = _users(here), _users(there)
    assert before == after
    # A hash that the source's own system keeps comes in among the accounts.
    legacy = {row["id"] for row in before if row["id"] in _legacy(here)}
    assert [row for row in there.rows(ACCOUNTS) if row[0] not in legacy] == here.rows(ACCOUNTS)
    assert there.rows(SESSIONS) == here.rows(SESSIONS)
    assert _tokens(there) == _tokens(here) != {}


def _users(server: UsersServer) -> list[dict[str, Any]]:
    names = [row[0] for row in server.rows("SHOW COLUMNS FROM users")]
    rows = [dict(zip(names, row, strict=True)) for row in server.rows(USERS)]
    # How often a user was changed is no part of a user's past, and the hash has moved.
    return [{name: value for name, value in row.items() if name not in {"revision", "password_hash"}} for row in rows]


def _legacy(server: UsersServer) -> set[str]:
    return {id_ for (id_,) in server.rows("SELECT id FROM users WHERE password_hash IS NOT NULL")}


def _tokens(server: UsersServer) -> dict[tuple[str, str], list[str | None]]:
    cipher = TokenCipher(Keyring.parse(SECRET_KEYS))
    found = {}
    sealed = "SELECT id, provider, account_id, access_token, refresh_token, id_token, token_key_id FROM accounts"
    for id_, provider, account_id, *tokens, key_id in server.rows(f"{sealed} WHERE token_key_id IS NOT NULL"):
        assert key_id == "test-key"
        opened = [
            None if stored is None else cipher._cipher.decrypt(_bytes(stored), f"{id_}/{name}".encode()).decode()
            for name, stored in zip(("access_token", "refresh_token", "id_token"), tokens, strict=True)
        ]
        found[provider, account_id] = opened
    return found


def _bytes(stored: str) -> bytes:
    return base64.b64decode(stored)


@pytest.mark.long
async def test_every_page_is_exported_and_every_line_reads_as_a_user(
    empty: MySQLDatabase,
) -> None:
    """Users of several pages come in the order of their ids, each with what is theirs; sessions, the newest hundred."""
    with users_service(empty) as served:
        async with served.aio_channel() as channel:
            there = Stubs.on(channel)
            many = [incoming(id=f"u{number:04}", sessions=[session()], accounts=[account()]) for number in range(1_001)]
            assert (
                set(await imported(there, *many[:1_000]))
                == set(await imported(there, many[1_000]))
                == {("IMPORTED", "", "")}
            )
            rows = ", ".join(
                f"('s{number}', 'u0000', UNHEX(SHA2('{number}', 256)), NOW() + INTERVAL 1 DAY, NOW() + INTERVAL 1 DAY)"
                for number in range(100)
            )
            served.rows(
                f"INSERT INTO sessions (id, user_id, token_hash, expires_at, absolute_expires_at) VALUES {rows}"
            )
    found = [
        json_format.ParseDict(orjson.loads(each), pb.ImportedUser())
        for each in command(empty, "export", "-").stdout.splitlines()
    ]
    assert [each.id for each in found] == [message.id for message in many]
    assert [len(each.sessions) for each in found] == [100] + [1] * 1_000
    for each, message in zip(found[1:], many[1:], strict=True):
        assert each.accounts[0].account.account_id == message.accounts[0].account.account_id


@pytest.mark.long
async def test_who_cannot_be_exported_is_named(empty: MySQLDatabase) -> None:
    """A key that is gone, or a row that cannot be read, leaves one user out, and the exit code says so."""
    with users_service(empty, secret_keys=NEW_KEY) as served:
        async with served.aio_channel() as channel:
            there = Stubs.on(channel)
            keyless, good = await new_user(there), await new_user(there)
            await link(there, keyless.id, provider_account("k", access_token="sealed under another key"))
    done = command(empty, "export", "-")
    assert done.returncode == 3
    assert f"left out: {keyless.id}: ENCRYPTION_KEY_MISSING".encode() in done.stderr
    assert [orjson.loads(each)["id"] for each in done.stdout.splitlines()] == [good.id]


@pytest.mark.long
def test_a_file_that_is_there_is_replaced_only_when_told(users_server: UsersServer, tmp_path: Path) -> None:
    """And what fails leaves no file behind."""
    path = tmp_path / "users.jsonl"
    path.write_text("something")
    done = command(users_server.database, "export", path)
    assert (done.returncode, path.read_text()) == (1, "something")
    assert b"--overwrite" in done.stderr
    assert command(users_server.database, "export", path, "--overwrite").returncode == 0
    assert path.read_text() != "something"
    failed = command(users_server.database, "export", tmp_path / "new", settings={"MYSQL_PORT": "1"})
    assert failed.returncode == 1
    assert list(tmp_path.iterdir()) == [path]
