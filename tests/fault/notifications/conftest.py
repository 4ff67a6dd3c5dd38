"""Fixtures of the fault tests of the notifications service: a mongod that may be killed, and told to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pymongo
import pytest

from notifications_service.migrations.runner import Runner
from notifications_service.mongodb.database import Database
from script.local.mongodb import LocalMongoDB
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.keeper import PROGRAM_CACHE
from tests.harness.notifications import settings_for


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMongoDB]:
    """A mongod of this module's own, which may be killed."""
    server = LocalMongoDB(tmp_path_factory.mktemp("mongod"), program_cache=PROGRAM_CACHE)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def database(mongod: LocalMongoDB) -> AsyncIterator[MongoDatabase]:
    """A migrated database on it."""
    found = MongoDatabase(mongod.url.replace("/?", "/away?"), "away")
    connection = Database(settings_for(found))
    await Runner(connection.default, lambda _: None, stored_now).up(30)
    yield found
    await connection.close()


@asynccontextmanager
async def failing(mongod: LocalMongoDB, commands: list[str], **how: Any) -> AsyncIterator[None]:
    """Let commands of the service fail, in the server itself."""
    with pymongo.MongoClient[dict[str, Any]](mongod.url) as client:
        data = {"failCommands": commands, "appName": "notifications-service", **how}
        client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data})
        try:
            yield
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
