"""Stops a call between two of its statements: it waits for a row that a transaction of the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.statements import connected
from tests.harness.users import UsersServer
from users_service.mysql import session_state

# Not information_schema.innodb_trx: MySQL fails on it when a waiting statement holds binary values.
WAITING = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"


@contextmanager
def patient_locks() -> Iterator[None]:
    """Let statements of servers that begin inside the context wait for rows as long as a busy machine takes.

    So who is told CONFLICT_RETRY was in a deadlock, and not just last of 64 in the queue for a row.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(session_state._VARIABLES, "innodb_lock_wait_timeout", int(PATIENCE_SECONDS))
        yield


@asynccontextmanager
async def uncommitted(server: UsersServer, change: str, values: Mapping[str, Any]) -> AsyncIterator[None]:
    """Make a change that nobody sees inside the context, and that is committed at its end."""
    async with connected(server.database) as connection, connection.cursor() as cursor:
        await cursor.execute(change, values)
        yield
        await connection.commit()


async def wait_for_lock(server: UsersServer) -> None:
    """Wait until a transaction waits for a row."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while int((await asyncio.to_thread(server.rows, WAITING))[0][1]) == 0:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)
