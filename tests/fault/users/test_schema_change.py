"""Behind a change of the schema (a metadata lock): nobody waits for longer than a statement may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from vibework.users.v1 import CreateUserRequest, GetUserRequest, ListUsersRequest

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.statements import connected, connections
from tests.harness.users import Stubs, UsersServer, reason, retry_seconds, users_service

LIMIT_MS = 1_000
WAITING = "Waiting for table metadata lock"


@pytest.fixture(scope="module")
def users_server(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[UsersServer]:
    """A server whose statements may take a second."""
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, mysql_query_timeout_ms=LIMIT_MS) as served,
    ):
        yield served


@asynccontextmanager
async def changing(database: MySQLDatabase) -> AsyncIterator[None]:
    """Hold the lock that an `ALTER TABLE users` holds at its end."""
    async with connected(database) as connection, connection.cursor() as cursor:
        await cursor.execute("LOCK TABLES users WRITE")
        yield
        await cursor.execute("UNLOCK TABLES")


async def nobody_waits(database: MySQLDatabase) -> None:
    """Wait until no statement waits for the lock at the server, though it is still held."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(each.state.startswith(WAITING) for each in await connections(database)):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_readers_and_writers_give_up_in_time(users: Stubs, users_server: UsersServer) -> None:
    """Lists, point reads and creates are told to come back, and the server carries nothing on for them."""
    user = (await users.users.CreateUser(CreateUserRequest(email="before@example.com"))).user
    calls: dict[str, Any] = {
        "list": lambda: users.users.ListUsers(ListUsersRequest()),
        "get": lambda: users.users.GetUser(GetUserRequest(id=user.id)),
        "create": lambda: users.users.CreateUser(CreateUserRequest(email="during@example.com")),
    }
    async with changing(users_server.database):
        answers = await asyncio.gather(*(call() for call in calls.values()), return_exceptions=True)
        await nobody_waits(users_server.database)
        for name, error in zip(calls, answers, strict=True):
            assert isinstance(error, grpc.aio.AioRpcError), name
            told = {"DATABASE_UNAVAILABLE", "CONFLICT_RETRY"} if name == "create" else {"DATABASE_UNAVAILABLE"}
            assert reason(error) in told
            assert retry_seconds(error)
    for call in calls.values():
        await call()
