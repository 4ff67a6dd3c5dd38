"""The purge: deletes expired documents at once that the TTL sweeper of MongoDB has not removed yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.idempotency import KEPT_HOURS
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import Collection
from notifications_service.notification import schema
from notifications_service.notification.retention import Retention

# Rows that one command deletes.
BATCH: Final = 5_000


async def purge(database: Database, clock: MillisecondClock) -> dict[str, int]:
    """Delete expired notifications, deliveries and idempotency keys; return how many, by collection.

    Raises SchemaLacking or DatabaseUnavailable. May be repeated, and run beside the servers.
    """
    rows = database.collection(schema.COLLECTION)
    retention = Retention(rows, clock)
    with database.limits():
        await retention.refresh()
    keys = database.collection(schema.IDEMPOTENCY_KEYS)
    shown = retention.visibility()
    expired = await _delete(database, rows, {"expiresAt": {"$type": "date", "$lte": shown.now}})
    return {
        schema.COLLECTION: expired + await _delete(database, rows, _until(shown.cutoff)),
        schema.IDEMPOTENCY_KEYS: await _delete(database, keys, _until(shown.now - timedelta(hours=KEPT_HOURS))),
    }


def _until(time: datetime) -> Document:
    return {"createdAt": {"$lte": time}}


@named
async def _delete(database: Database, collection: Collection, due: Document) -> int:
    """Delete the rows that match, in batches that each end within the query timeout."""
    deleted = 0
    while True:
        with database.limits():
            ids = [row["_id"] async for row in collection.find(due, {"_id": 1}, limit=BATCH)]
            if not ids:
                return deleted
            deleted += (await collection.delete_many({"_id": {"$in": ids}})).deleted_count
