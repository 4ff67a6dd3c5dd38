"""Deleting many rows, a batch at a time."""

from __future__ import annotations

from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database


async def delete_some(database: Database, collection: str, query: Document, limit: int, hint: str) -> int:
    """Delete up to ``limit`` rows that match, found along an index; return how many went.

    The query stays with their ids, so that on a sharded cluster they go where it goes (docs/scaling.md).
    """
    found = await database.find(collection, query, limit=limit, hint=hint, projection={"_id": 1})
    if not found.rows:
        return 0
    chosen = {**query, "_id": {"$in": [row["_id"] for row in found.rows]}}
    rows = database.collection(collection)
    done = await database.run(lambda: rows.delete_many(chosen, hint="_id_", collation=BYTEWISE), chosen)
    return done.deleted_count
