"""Deleting many rows, a batch at a time."""

from __future__ import annotations

from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database


async def delete_some(database: Database, collection: str, query: Document, limit: int, hint: str) -> int:
    """Delete up to ``limit`` rows that match, found along an index; return how many went."""
    found = await database.find(collection, query, limit=limit, hint=hint, projection={"_id": 1})
    if not found.rows:
        return 0
    ids = {"_id": {"$in": [row["_id"] for row in found.rows]}}
    return (await database.run(lambda: database.collection(collection).delete_many(ids), ids)).deleted_count
