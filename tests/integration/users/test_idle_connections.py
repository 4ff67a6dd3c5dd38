"""Connections that nobody needs are given back to the server (MYSQL_POOL_IDLE_TIMEOUT_MS)."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.statements import connections, number_of
from tests.harness.users import settings_for
from users_service.mysql.database import POINT_CONNECTIONS, Database

# How long a connection may be idle here.
IDLE_MS = 500
EACH = 3


async def work(connection: AsyncConnection) -> int:
    """Hold a connection for a moment, and name it."""
    await connection.execute(text("SELECT SLEEP(0.2)"))
    return number_of(connection)


async def crowd(database: Database) -> None:
    """Use several connections of each pool at once."""
    points = [database.read("SELECT SLEEP(0.2)", ()) for _ in range(POINT_CONNECTIONS)]
    await asyncio.gather(*points, *(lend(work) for lend in (database.query, database.transaction) for _ in range(EACH)))


async def open_now(mysql: MySQLDatabase) -> int:
    """Return how many connections to the database there are at its server."""
    return len(await connections(mysql))


async def becomes(mysql: MySQLDatabase, wanted: int) -> None:
    """Wait until there are so many connections."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await open_now(mysql) != wanted:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_all_are_given_back_once_nobody_asks(mysql_database: MySQLDatabase) -> None:
    """After a crowd no connection of any pool is left, the metrics say so, and the next calls open new ones."""
    settings = settings_for(mysql_database, mysql_pool_idle_timeout_ms=IDLE_MS, mysql_pool_max_connections=14)
    async with Database(settings) as database:
        for _ in range(2):
            await crowd(database)
            await becomes(mysql_database, 0)
            assert {name: (use.size, use.idle, use.waiting) for name, use in database.pools().items()} == {
                "points": (0, 0, 0),
                "transactions": (0, 0, 0),
                "reads": (0, 0, 0),
            }


async def test_the_one_in_use_stays(mysql_database: MySQLDatabase) -> None:
    """Callers one after another need one connection: it is the same one, and the others are given back beside it."""
    settings = settings_for(mysql_database, mysql_pool_idle_timeout_ms=IDLE_MS, mysql_pool_max_connections=14)
    async with Database(settings) as database:
        await crowd(database)
        used: set[int] = set()
        # Beside the callers and not between them, so that the one connection is never idle for long.
        watching = asyncio.create_task(becomes(mysql_database, 1))
        while not watching.done():
            used.add(await database.query(work))
        await watching
        assert len(used) == 1


async def test_none_is_given_back_early(mysql_database: MySQLDatabase) -> None:
    """Within the time that they may be idle the same connections are lent again."""
    async with Database(settings_for(mysql_database, mysql_pool_max_connections=14)) as database:
        before = [set(await asyncio.gather(*(database.query(work) for _ in range(EACH)))) for _ in range(2)]
        assert before[0] == before[1]
