"""Stops a call between two of its statements: it waits for a row that a transaction of the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncmy

from tests.harness.users import UsersServer

WAITING = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


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
    async with asyncio.timeout(10):
        while (await asyncio.to_thread(server.rows, WAITING))[0][0] == 0:  # noqa: ASYNC110 - nothing tells of it
            # InnoDB shows a new state only to who has not asked for 0.1 s.
            await asyncio.sleep(0.15)
