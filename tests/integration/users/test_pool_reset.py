"""What a connection leaves behind when it goes back to its pool."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.harness.databases import MySQLDatabase
from tests.harness.statements import number_of, query
from tests.harness.users import settings_for
from users_service.mysql.database import Database

INSERT = "INSERT INTO attempt_counters (scope, subject, attempts, window_ends_at) VALUES ('s', 'x', 1, '2030-01-01')"
LOOK = "SELECT COUNT(*) FROM attempt_counters"


async def test_a_transaction_takes_no_round_trip_for_a_rollback_of_nothing(mysql_database: MySQLDatabase) -> None:
    """A connection that has committed goes back to its pool as it is."""

    async def write(connection: AsyncConnection) -> tuple[int, int]:
        await connection.execute(text(f"{INSERT} ON DUPLICATE KEY UPDATE attempts = attempts + 1"))
        _, rollbacks = (await connection.execute(text("SHOW SESSION STATUS LIKE 'Com_rollback'"))).one()
        return number_of(connection), int(rollbacks)

    async with Database(settings_for(mysql_database)) as database:
        # SQLAlchemy itself rolls back once, when it makes its first connection's acquaintance.
        before = await database.transaction(write)
        assert await database.transaction(write) == before
    assert await query(mysql_database, LOOK) == [(1,)]


async def test_what_a_connection_left_open_is_rolled_back(mysql_database: MySQLDatabase) -> None:
    """Even of a transaction that SQLAlchemy knows nothing of, no lock stays and nothing is committed later."""
    async with Database(settings_for(mysql_database)) as database:
        async with database.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            async with raw.cursor() as cursor:
                await cursor.execute(INSERT)
        for _ in range(2):
            await database.transaction(_nothing)
        assert await query(mysql_database, LOOK) == [(0,)]
        # The row is free: this would wait for its lock.
        await query(mysql_database, INSERT)


async def _nothing(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT 1"))
