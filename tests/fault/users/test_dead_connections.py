"""Connections that the server has ended while they lay idle: reads and transactions go on, and so does health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import CreateUserRequest, GetUserRequest, ListSessionsRequest, ListUsersRequest

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.patience import until
from tests.harness.statements import connections, end_connection
from tests.harness.users import BlockingStubs, UsersServer, settings_for, users_service
from users_service.mysql.database import Database

ROUNDS = 6
AT_ONCE = 10


@pytest.fixture(scope="module")
def database(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """The module's database."""
    with migrated_mysql(test_run, mysql_server) as migrated:
        yield migrated


@pytest.fixture(scope="module")
def served(database: MySQLDatabase) -> Iterator[UsersServer]:
    """A server that asks for its health so rarely that it finds no dead connection before the calls do."""
    with users_service(database, health_interval_ms=60_000) as running:
        yield running


def end_all(database: MySQLDatabase) -> int:
    """End every idle connection to the database, as an operator or a proxy does; return how many there were."""

    async def end_idle() -> int:
        there = [each.id for each in await connections(database) if each.command == "Sleep"]
        return sum([await end_connection(database, each) for each in there])

    return in_own_thread(end_idle)


def test_nobody_hears_of_connections_that_were_ended(database: MySQLDatabase, served: UsersServer) -> None:
    """Point reads, lists and creates, at once and one by one, though each pool is full of dead connections."""
    with served.channel() as channel:
        stubs = BlockingStubs.on(channel)
        user = stubs.users.CreateUser(CreateUserRequest(email="dead@example.com")).user
        for number in range(ROUNDS):
            lists = [stubs.users.ListUsers.future(ListUsersRequest()) for _ in range(AT_ONCE)]
            creates = [
                stubs.users.CreateUser.future(CreateUserRequest(email=f"dead{number}_{each}@example.com"))
                for each in range(AT_ONCE)
            ]
            for call in lists:
                call.result()
            for created in creates:
                created.result()
            assert end_all(database) > 1
            assert stubs.users.GetUser(GetUserRequest(id=user.id)).user.id == user.id
            stubs.sessions.ListSessions(ListSessionsRequest(user_id=user.id))
            for _ in range(AT_ONCE):
                stubs.users.ListUsers(ListUsersRequest())


async def test_health_is_asked_once_more(database: MySQLDatabase) -> None:
    """A probe that meets a dead connection says nothing of the database."""
    async with Database(settings_for(database)) as own:
        for _ in range(ROUNDS):
            await own.ping()
            await asyncio.to_thread(end_all, database)
            await own.ping()


async def test_a_whole_pool_of_dead_connections_costs_one_repetition(database: MySQLDatabase) -> None:
    """The first that turns out dead says of all others that they may be: none of them is tried."""
    runs, there = 0, partial(connections, database)

    async def work(connection: AsyncConnection) -> int:
        nonlocal runs
        runs += 1
        found: int = (await connection.execute(text("SELECT CONNECTION_ID(), SLEEP(0.1)"))).scalar_one()
        return found

    async with Database(settings_for(database, mysql_pool_max_connections=14)) as own:
        for lend in (own.query, own.transaction):
            before = set(await asyncio.gather(*(lend(work) for _ in range(4))))
            assert len(before) == 4
            # A server that has answered takes a moment to be idle again.
            await until(lambda: all(each.command == "Sleep" for each in in_own_thread(there)), "idle connections")
            await asyncio.to_thread(end_all, database)
            runs = 0
            after = [await lend(work) for _ in range(4)]
            assert not before & set(after)
            assert runs == 5
