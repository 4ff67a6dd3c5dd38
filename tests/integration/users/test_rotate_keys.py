"""`users-service rotate-keys`: every token under the newest key, beside live traffic, and again after a break."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from vibework.users.v1 import account_service_pb2 as pb

from chassis.commands.left import NAMED
from chassis.keyring import Keyring
from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import run_mysql
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import SECRET_KEYS, Stubs, UsersServer, users_service
from tests.integration.users.ways_to_sign_in import NEW_KEY, link, new_user, provider_account, tokens_of
from users_service.accounts import rotation
from users_service.accounts.rotation import Rotated, TokenRotation
from users_service.accounts.tokens import TokenCipher
from users_service.mysql.database import Database

UNDER = "SELECT COUNT(*) FROM accounts WHERE token_key_id = %s"


async def rotate(server: UsersServer, secret_keys: str) -> tuple[int, str, str]:
    """Run the command on the server's database; return its exit code and what it said."""

    def run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **server.database.environment(), "SECRET_KEYS": secret_keys}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        command = [sys.executable, "-m", "users_service", "rotate-keys"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout, done.stderr


async def rotate_here(
    server: UsersServer, secret_keys: str, progress: Callable[[int], None] = lambda _: None
) -> Rotated:
    """Do what the command does, without the second that a process takes to start."""
    database = Database(server.settings)
    try:
        return await TokenRotation(database, TokenCipher(Keyring.parse(secret_keys))).rotate(progress)
    finally:
        await database.close()


async def linked(users: Stubs, count: int) -> list[pb.Account]:
    """Link accounts with two tokens each."""
    user = await new_user(users)
    return [
        await link(users, user.id, provider_account("", access_token=f"a{number}", refresh_token=f"r{number}"))
        for number in range(count)
    ]


async def test_every_token_comes_under_the_newest_key(users: Stubs, users_server: UsersServer) -> None:
    """Encrypted under the old key or in plain text: afterwards the old key is not needed; a second run has nothing."""
    accounts = await linked(users, 30)
    users_server.rows(
        "UPDATE accounts SET access_token = 'a0', refresh_token = 'r0', token_key_id = NULL, updated_at = updated_at "
        "WHERE id = %s",
        accounts[0].id,
    )
    code, said, _ = await rotate(users_server, f"{NEW_KEY},{SECRET_KEYS}")
    assert (code, said) == (0, "30 accounts re-encrypted under key new-key, 0 by others\n")
    with users_service(users_server.database, secret_keys=NEW_KEY) as keyless:
        async with keyless.aio_channel() as channel:
            for number, account in enumerate(accounts):
                read = await tokens_of(Stubs.on(channel), account)
                assert (read.tokens.access_token, read.tokens.refresh_token) == (f"a{number}", f"r{number}")
                assert read.account == account
    assert await rotate_here(users_server, f"{NEW_KEY},{SECRET_KEYS}") == Rotated()


@pytest.mark.long
async def test_tokens_whose_key_is_missing_are_counted_and_left(users: Stubs, users_server: UsersServer) -> None:
    """What cannot be read is not destroyed, and the exit code says that the work is not done."""
    users_server.rows("DELETE FROM accounts")
    accounts = await linked(users, 3)
    total = users_server.rows(UNDER, "test-key")[0][0]
    code, said, complaint = await rotate(users_server, NEW_KEY)
    assert code == 1
    assert said == "0 accounts re-encrypted under key new-key, 0 by others\n"
    ids = ", ".join(account.id for account in accounts)
    assert complaint == f"{total} accounts left: their key is not in SECRET_KEYS: {ids}\n"
    assert users_server.rows(UNDER, "test-key")[0][0] == total


# What other writers leave in a row, each with its own trouble.
TROUBLES = {
    "a plain token too long to be encrypted": "access_token = REPEAT('a', 60000), token_key_id = NULL",
    "a plain token of 65,535 bytes": "id_token = REPEAT('a', 65535), token_key_id = NULL",
    "a ciphertext of another column": "access_token = refresh_token",
    "no ciphertext": "access_token = 'plain'",
    "no base64": "access_token = '?'",
    "an impossible time": "created_at = '0000-00-00'",
}


@pytest.mark.long
async def test_a_row_that_does_not_fit_stops_nothing(users: Stubs, users_server: UsersServer) -> None:
    """Whatever is wrong with a row, the rotation goes on past it, counts it, names its id, and quotes nothing of it."""
    users_server.rows("DELETE FROM accounts")
    accounts = await linked(users, 2 * len(TROUBLES) + 1)
    spoilt = accounts[1::2]
    at = users_server.database
    run_mysql(
        MySQLServer(at.host, at.port, at.user, at.password),
        [
            "SET sql_mode = ''",
            *(
                f"UPDATE accounts SET {trouble}, updated_at = updated_at WHERE id = '{account.id}'"
                for trouble, account in zip(TROUBLES.values(), spoilt, strict=True)
            ),
        ],
        database=at.name,
    )
    before = users_server.rows("SELECT * FROM accounts WHERE id IN %s", tuple(account.id for account in spoilt))
    for rotated in (len(TROUBLES) + 1, 0):
        code, said, complaint = await rotate(users_server, f"{NEW_KEY},{SECRET_KEYS}")
        assert code == 1
        assert said == f"{rotated} accounts re-encrypted under key new-key, 0 by others\n"
        told = complaint.splitlines()[-1]
        assert told.startswith(f"{len(TROUBLES)} accounts left: they cannot be read, or do not fit encrypted: ")
        assert set(told.rpartition(": ")[2].split(", ")) == {account.id for account in spoilt}
        for quoted in ("UPDATE", "SELECT", "Traceback", "aaaa", "plain"):
            assert quoted not in complaint
    assert users_server.rows(UNDER, "new-key") == [(len(TROUBLES) + 1,)]
    after = users_server.rows("SELECT * FROM accounts WHERE id IN %s", tuple(account.id for account in spoilt))
    assert before == after


@pytest.mark.long
async def test_a_row_that_others_hold_stops_nothing(users: Stubs, users_server: UsersServer) -> None:
    """A row that stays locked for as long as a statement waits is counted, and done by the next run."""
    users_server.rows("DELETE FROM accounts")
    accounts = await linked(users, 3)
    with users_server.holding("SELECT * FROM accounts WHERE id = %s FOR UPDATE", accounts[1].id):
        code, said, complaint = await rotate(users_server, f"{NEW_KEY},{SECRET_KEYS}")
    assert (code, said) == (1, "2 accounts re-encrypted under key new-key, 0 by others\n")
    told = complaint.splitlines()[-1]
    assert told == f"1 accounts left: other transactions hold them; run this again: {accounts[1].id}"
    code, said, _ = await rotate(users_server, f"{NEW_KEY},{SECRET_KEYS}")
    assert (code, said) == (0, "1 accounts re-encrypted under key new-key, 0 by others\n")


@pytest.mark.long
async def test_of_many_accounts_left_some_are_named(users: Stubs, users_server: UsersServer) -> None:
    """A lost key leaves millions: the first are named, and how many more there are."""
    users_server.rows("DELETE FROM accounts")
    accounts = await linked(users, NAMED + 2)
    code, _, complaint = await rotate(users_server, NEW_KEY)
    ids = ", ".join(account.id for account in accounts[:NAMED])
    assert (code, complaint) == (
        1,
        f"{NAMED + 2} accounts left: their key is not in SECRET_KEYS: {ids} and 2 more\n",
    )


@pytest.mark.long
async def test_an_interrupted_rotation_goes_on_with_what_is_left(
    users: Stubs, users_server: UsersServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off after the first batch of three, the second run does the other five and nothing twice."""
    monkeypatch.setattr(rotation, "BATCH", 3)
    users_server.rows("DELETE FROM accounts")
    accounts = await linked(users, 8)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate_here(users_server, f"{NEW_KEY},{SECRET_KEYS}", interrupt)
    assert users_server.rows(UNDER, "new-key") == [(3,)]
    assert await rotate_here(users_server, f"{NEW_KEY},{SECRET_KEYS}") == Rotated(rotated=5)
    assert users_server.rows(UNDER, "new-key") == [(len(accounts),)]


@pytest.mark.long
async def test_no_update_is_lost_to_a_rotation_beside_it(users: Stubs, users_server: UsersServer) -> None:
    """While tokens are replaced all the time, rotations to and fro never bring an older token back."""
    accounts = await linked(users, 8)
    latest = {account.id: "" for account in accounts}
    done = asyncio.Event()

    async def replace(account: pb.Account, stubs: Stubs) -> None:
        number = 0
        while not done.is_set():
            number += 1
            await stubs.accounts.UpdateAccountTokens(update(account, access_token=f"{account.id}-{number}"))
            latest[account.id] = f"{account.id}-{number}"
            read = await tokens_of(stubs, account)
            assert read.tokens.access_token == latest[account.id]

    with users_service(users_server.database, secret_keys=f"{NEW_KEY},{SECRET_KEYS}") as newer:
        async with newer.aio_channel() as channel:
            stubs = Stubs.on(channel)
            tasks = [asyncio.create_task(replace(account, stubs)) for account in accounts]
            for keys in (f"{NEW_KEY},{SECRET_KEYS}", f"{SECRET_KEYS},{NEW_KEY}") * 5:
                assert (await rotate_here(users_server, keys)).unreadable.count == 0
            done.set()
            await asyncio.gather(*tasks)
            for number, account in enumerate(accounts):
                tokens = (await tokens_of(stubs, account)).tokens
                assert (tokens.access_token, tokens.refresh_token) == (latest[account.id], f"r{number}")


def update(account: pb.Account, **tokens: Any) -> pb.UpdateAccountTokensRequest:
    """Make a request that replaces tokens."""
    return pb.UpdateAccountTokensRequest(user_id=account.user_id, id=account.id, tokens=pb.AccountTokens(**tokens))
