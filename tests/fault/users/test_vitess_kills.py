"""Vitess whose MySQL is killed, and which is killed whole, under load: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import pytest
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import GetUserRequest, SignUpRequest, ValidateSessionRequest

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.users import Stubs, UsersServer, users_service
from tests.harness.vitess.keyspaces import SHARDS, database_of
from tests.harness.vitess.servers import GenuineMySQL, Vtcombo, stack

pytestmark = [pytest.mark.vitess, pytest.mark.long]

KEYSPACE: Final = "vw_kills"
WORKERS: Final = 6
# Sign-ups that are acknowledged before each kill, and after the last one.
BETWEEN: Final = 40
# How long a caller waits: a call that a kill cut off is unknown then.
CALL_SECONDS: Final = 10.0
KILLS: Final = ("mysqld", "vtcombo", "mysqld", "vtcombo")
PASSWORD: Final = "correct horse battery"
# A row whose user is not on its shard, of whom a crash has kept only a half.
HALVES: Final = {
    "sessions": "SELECT COUNT(*) FROM sessions s LEFT JOIN users u ON u.id = s.user_id WHERE u.id IS NULL",
    "accounts": "SELECT COUNT(*) FROM accounts a LEFT JOIN users u ON u.id = a.user_id WHERE u.id IS NULL",
    "users": "SELECT COUNT(*) FROM users u LEFT JOIN accounts a ON a.user_id = u.id WHERE a.id IS NULL",
}


@dataclass
class Load:
    """Sign-ups of one address each, none of them repeated; ``acknowledged``: user id by session token."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def run(self, served: UsersServer) -> None:
        """Sign people up, several at a time, until it is ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._sign_up(served))

    async def _sign_up(self, served: UsersServer) -> None:
        async with served.aio_channel() as channel:
            stubs = Stubs.on(channel)
            while not self.ended.is_set():
                request = SignUpRequest(email=f"kill{next(self._numbers)}@example.com", password=PASSWORD)
                try:
                    made = await stubs.sessions.SignUp(request, timeout=CALL_SECONDS)
                except grpc.aio.AioRpcError:
                    self.refused += 1
                    await asyncio.sleep(0.1)
                else:
                    self.acknowledged[made.session_token] = made.user.id

    def more(self, number: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + number
        wait_for(lambda: len(self.acknowledged) >= wanted, "sign-ups that are acknowledged")


def kills(served: UsersServer, behind: GenuineMySQL, vtcombo: Vtcombo) -> Load:
    """Kill both in turns under load, each once enough was acknowledged since the last time.

    By this thread, since what a thread has started ends with it.
    """
    load = Load()
    with ThreadPoolExecutor(1) as others:
        running = others.submit(lambda: asyncio.run(load.run(served)))
        try:
            for killed in KILLS:
                load.more(BETWEEN)
                victim = behind if killed == "mysqld" else vtcombo
                victim.kill()
                victim.start()
            load.more(BETWEEN)
        finally:
            load.ended.set()
        running.result()
    return load


async def lost(served: UsersServer, load: Load) -> list[str]:
    """Return the acknowledged users who are not there, or whose session does not hold."""
    missing = []
    async with served.aio_channel() as channel:
        stubs = Stubs.on(channel)
        for token, user_id in load.acknowledged.items():
            try:
                await stubs.users.GetUser(GetUserRequest(id=user_id), timeout=PATIENCE_SECONDS)
                await stubs.sessions.ValidateSession(ValidateSessionRequest(session_token=token))
            except grpc.aio.AioRpcError as error:
                missing.append(f"{user_id}: {error.code()} {error.details()}")
    return missing


def test_what_was_acknowledged_outlives_both(tmp_path: Path) -> None:
    """Users, their accounts and sessions are there, and nobody by half; over four shards each address is one user's."""
    with stack(tmp_path, (KEYSPACE,), durable=True) as (behind, vtcombo):
        account = behind.account
        database = MySQLDatabase(LOOPBACK, vtcombo.port, account.user, account.password, KEYSPACE)
        with users_service(database) as served:
            load = kills(served, behind, vtcombo)
            assert load.refused, "nobody noticed the kills"
            assert asyncio.run(lost(served, load)) == []
        server = MySQLServer(LOOPBACK, behind.port, account.user, account.password)
        addresses = []
        for shard in SHARDS:
            name = database_of(KEYSPACE, shard)
            for statement in HALVES.values():
                assert run_mysql(server, [statement], database=name) == [(0,)], (shard, statement)
            addresses += run_mysql(server, ["SELECT email_normalized FROM users"], database=name)
        assert len(addresses) == len(set(addresses)) >= len(load.acknowledged)
