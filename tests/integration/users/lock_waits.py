"""Stops a call between two of its statements: it waits for a row that a transaction of the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncmy

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import UsersServer

# Not information_schema.innodb_trx: MySQL fails on it when a waiting statement holds binary values.
WAITING = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"


@asynccontextmanager
async def uncommitted(server: UsersServer, change: str, values: Mapping[str, Any]) -> AsyncIterator[None]:
    """Make a change that nobody sees inside the context, and that is committed at its end."""
    database = server.database
    connection = await asyncmy.connect(
        host=database.host, port=database.port, user=database.user, password=database.password, db=database.name
    )
    async with connection, connection.cursor() as cursor:
        await cursor.execute(change, values)
        yield
        await connection.commit()


async def wait_for_lock(server: UsersServer) -> None:
    """Wait until a transaction waits for a row."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while int((await asyncio.to_thread(server.rows, WAITING))[0][1]) == 0:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
