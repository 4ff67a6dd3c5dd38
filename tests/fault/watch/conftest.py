"""A mongod that the tests of this module may kill, stop and restart, and watchers of it under both drivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from notifications_service.notification import documents
from script.local.mongodb import LocalMongoDB
from tests.harness.clocks import stored_now
from tests.harness.database_servers import ROOT, MongoServer
from tests.harness.databases import MongoDatabase, new_mongodb_database
from tests.harness.notifications import running_notifications
from tests.harness.schema_templates import migrate
from tests.harness.watching import Watching, watching

USER = "user"
_CACHE = ROOT / ".local" / "mongod"


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMongoDB]:
    """A mongod of this module's own, whose sweeper of expired rows runs every second."""
    server = _mongod(tmp_path_factory.mktemp("mongod"), "--setParameter=ttlMonitorSleepSecs=1")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def forgetful_mongod(tmp_path: Path) -> Iterator[LocalMongoDB]:
    """A mongod that keeps about a megabyte of history."""
    server = LocalMongoDB(tmp_path, program_cache=_CACHE, durable=True, options=["--oplogSize=1", "--syncdelay=1"])
    server.start()
    yield server
    server.kill()


def _mongod(directory: Path, *options: str) -> LocalMongoDB:
    return LocalMongoDB(directory, program_cache=_CACHE, options=options)


@pytest.fixture
def database(mongod: LocalMongoDB) -> Iterator[MongoDatabase]:
    """A migrated database on the module's mongod."""
    with migrated(mongod) as made:
        yield made


@contextmanager
def migrated(server: LocalMongoDB) -> Iterator[MongoDatabase]:
    """Make a migrated database for as long as the context lasts."""
    with new_mongodb_database(MongoServer(server.url)) as made:
        migrate("notifications_service", made.environment())
        yield made


@dataclass
class Watched:
    """Watches of one user through a server under each driver, and a writer past both."""

    watches: list[Watching]
    feeds: list[Any]
    rows: Any
    client: Any

    async def write(self, ended: asyncio.Event) -> list[str]:
        """Insert one notification after another, through any fault, until told to end; return their ids."""
        ids: list[str] = []
        while not ended.is_set():
            ids.append(await self.insert())
            await asyncio.sleep(0.005)
        return ids

    async def insert(self, title: str = "title") -> str:
        """Insert a notification, again and again until it is acknowledged."""
        draft = documents.Draft(USER, title, "m", documents.Type.IN_APP)
        document = documents.new(draft, stored_now())
        while True:
            try:
                await self.rows.insert_one(document)
            except DuplicateKeyError:
                break
            except PyMongoError:
                await asyncio.sleep(0.05)
            else:
                break
        return str(document["_id"])


@asynccontextmanager
async def watched(database: MongoDatabase, **settings: Any) -> AsyncIterator[Watched]:
    """Serve the database under both drivers, watch the user through each, and open a writer."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            AsyncMongoClient[Any](database.url, w="majority", serverSelectionTimeoutMS=1_000)
        )
        feeds, watches = [], []
        for driver in ("pymongo", "motor"):
            # Their databases go away: whoever asks them meanwhile does not wait for the patience of other tests.
            limits = {"mongodb_query_timeout_ms": 5_000} | settings
            server = running_notifications(database, mongodb_driver=driver, **limits)
            running = await stack.enter_async_context(server)
            feeds.append(running.feed)
            watches.append(await stack.enter_async_context(watching(running.feed, USER)))
        yield Watched(watches, feeds, client.get_default_database().notifications, client)
