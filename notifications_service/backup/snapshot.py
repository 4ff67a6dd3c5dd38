"""A consistent view of the whole database: every collection is read as it was at one cluster time.

It reads with read concern ``snapshot`` from the primary, without locks, while writes go on. The server keeps the
history for that during ``minSnapshotHistoryWindowInSeconds`` (default: 300), so reading all must not take longer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import Timestamp
from bson.raw_bson import RawBSONDocument

from chassis.backup.errors import BackupFailed
from chassis.clock import Clock
from notifications_service.backup import collections
from notifications_service.backup.collections import CollectionMetadata
from notifications_service.backup.connection import BATCH, Connection, connected
from notifications_service.migrations.lock import COLLECTION as LOCK
from notifications_service.migrations.runner import COLLECTION as MIGRATIONS
from notifications_service.settings import DatabaseSettings

_NOW: Final[dict[str, Any]] = {"sort": {"$natural": 1}, "readConcern": {"level": "majority"}}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open view of the database."""

    connection: Connection
    server: str
    taken_at: datetime
    time: Timestamp
    schema: str
    collections: tuple[CollectionMetadata, ...]

    @property
    def position(self) -> dict[str, str]:
        """Where the oplog stood: seconds since 1970 and the number within the second."""
        return {"cluster_time": f"{self.time.time}:{self.time.inc}"}

    async def documents(self, collection: CollectionMetadata) -> AsyncIterator[list[RawBSONDocument]]:
        """Give back the documents of a collection, some at a time; of a capped one in their order, as they are now."""
        # The server keeps no history of capped collections, so it has no snapshot of them either.
        how = _NOW if collection.capped else {"readConcern": _concern(self.time)}
        async for batch in self.connection.documents({"find": collection.stored, "batchSize": BATCH, **how}):
            yield batch


@asynccontextmanager
async def open_snapshot(settings: DatabaseSettings, clock: Clock) -> AsyncIterator[Snapshot]:
    """Open a view for as long as the context lasts.

    Raises ``BackupFailed`` where the database has no schema or a migration changed it meanwhile, or ``MongoFailed``.
    """
    async with connected(settings) as connection:
        await _refuse_while_migrating(connection)
        found = await collections.read(connection)
        version = (await connection.command({"buildInfo": 1}))["version"]
        taken_at = clock()
        time, schema = await _begin(connection)
        yield Snapshot(connection, f"MongoDB {version}", taken_at, time, schema, _ordered(found))
        # The account may only read, so it cannot keep migrations out, but it notices them.
        if await collections.read(connection) != found:
            raise BackupFailed(f"{connection.name} was migrated meanwhile: try again")


async def _begin(connection: Connection) -> tuple[Timestamp, str]:
    query = {"find": MIGRATIONS, "sort": {"_id": -1}, "limit": 1, "readConcern": _concern()}
    cursor = (await connection.command(query))["cursor"]
    if not cursor["firstBatch"]:
        raise BackupFailed(f"{connection.name} has no schema of this service: there is nothing to back up")
    return cursor["atClusterTime"], f"{cursor['firstBatch'][0]['_id']:04d}"


async def _refuse_while_migrating(connection: Connection) -> None:
    held = {"$expr": {"$gt": ["$expiresAt", "$$NOW"]}}
    answer = await connection.command({"find": LOCK, "filter": held, "limit": 1})
    if answer["cursor"]["firstBatch"]:
        raise BackupFailed(f"another process is migrating {connection.name}: try again later")


def _ordered(found: list[CollectionMetadata]) -> tuple[CollectionMetadata, ...]:
    # The collection of migrations comes last, so that an unfinished restore does not look like our database.
    return tuple(sorted(found, key=lambda collection: collection.name == MIGRATIONS))


def _concern(at: Timestamp | None = None) -> dict[str, object]:
    return {"level": "snapshot"} if at is None else {"level": "snapshot", "atClusterTime": at}
