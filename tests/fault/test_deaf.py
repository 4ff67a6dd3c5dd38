"""A service whose pool is broken for good while its database is well ends, so that a new process takes over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import notifications_service.mongodb.assembly
from notifications_service.mongodb.database import Database as MongoDB
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import serving
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import users_service as serving_users

DEAF_MS = 1_200


@pytest.mark.long
def test_a_users_service_without_its_pool_is_deaf(mysql_database: MySQLDatabase) -> None:
    """Connections that nobody gives back: every probe fails, and only a new process helps."""
    with serving_users(mysql_database, health_deaf_ms=DEAF_MS, health_timeout_ms=200) as served:
        assert served.server is not None
        assert not served.server.deaf.is_set()
        pings: Any = served.server._probe
        served.run(_keep_all(pings.__self__))
        served.run(_until(served.server.deaf))


async def _keep_all(database: Any) -> None:
    gate = database._reading.gate
    for _ in range(gate.limit):
        await gate.enter()


async def _until(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await event.wait()


@pytest.mark.long
async def test_a_notifications_service_whose_lock_is_lost_is_deaf(
    mongodb_database: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the driver's pool, taken and never given back, as a cancelled wait has left it behind."""
    made: list[MongoDB] = []

    class Noted(MongoDB):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(notifications_service.mongodb.assembly, "Database", Noted)
    async with serving(mongodb_database, health_deaf_ms=DEAF_MS, health_timeout_ms=200) as server:
        assert not server.deaf.is_set()
        topology: Any = made[0].driver.client
        locks = [each.pool.lock for each in topology._topology._servers.values()]
        for lock in locks:
            await lock.acquire()
        await _until(server.deaf)
        # In production, the guard ends what cannot be closed.
        for lock in locks:
            lock.release()
