"""Changing the documents of a big collection in a step: in batches along ``_id``, beside live traffic."""

from __future__ import annotations

import asyncio
import time
from typing import Any

# Documents of one write: members and watchers of changes follow it at once.
DOCUMENTS = 1_000


async def backfill(collection: Any, query: dict[str, Any], update: Any) -> int:
    """Apply ``update`` to all documents that match, a thousand at a time; return how many changed.

    ``query`` leaves out what is done (``{"category": {"$exists": False}}``), so that a step cut off in its middle goes
    on where it stopped. It need not have an index: every document is looked at once, in order of ``_id``.
    """
    changed = 0
    beyond: dict[str, Any] = {}
    while ids := await _next(collection, beyond):
        started = time.monotonic()
        span = {"_id": {"$gte": ids[0], "$lte": ids[-1]}}
        changed += (await collection.update_many({"$and": [span, query]}, update)).modified_count
        beyond = {"_id": {"$gt": ids[-1]}}
        # As long a rest as the work took: members follow, and others have half of the server's time at least.
        await asyncio.sleep(time.monotonic() - started)
    return changed


async def _next(collection: Any, beyond: dict[str, Any]) -> list[Any]:
    found = collection.find(beyond, {"_id": 1}, sort=[("_id", 1)], limit=DOCUMENTS, hint="_id_")
    return [document["_id"] async for document in found]
