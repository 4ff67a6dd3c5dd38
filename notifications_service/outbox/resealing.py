"""Sealing of what SendDirect was given under the newest key, beside workers, erasers and calls.

Rows are found along the index of what is to be erased, which has all that is sealed and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import Binary
from pymongo import UpdateOne

from chassis.commands.resealed import Resealed
from chassis.context.statements import named
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.outbox import schema
from notifications_service.outbox.direct import DirectSeal

# Rows that are read, and written, at a time; contents may be long.
BATCH: Final = 100

_SHOWN: Final = {"content": 1, "address": 1, "eraseAt": 1}


class SealedDeliveries:
    """Reads and replaces seals."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = database.collection(schema.COLLECTION)

    @named
    async def sealed(self, since: datetime | None, seen: Sequence[str], limit: int) -> list[Document]:
        """Return the seals of up to ``limit`` rows, those to be erased first beforehand, from ``since`` on.

        ``seen``: rows of that very moment that are not to be returned again.
        """
        query: Document = {"eraseAt": {"$exists": True} if since is None else {"$gte": since}}
        if seen:
            query["_id"] = {"$nin": list(seen)}
        found = await self._database.find(
            schema.COLLECTION, query, limit=limit, hint=schema.ERASE_INDEX, sort={"eraseAt": 1}, projection=_SHOWN
        )
        return found.rows

    @named
    async def reseal(self, changes: Sequence[tuple[Document, Mapping[str, Binary]]]) -> int:
        """Put other seals in place of those that were read; return of how many rows nobody had done so meanwhile.

        Neither `rev` nor `updatedAt` moves: a worker that has a row in hand goes on with it.
        """
        writes = [_write(row, sealed) for row, sealed in changes]
        result = await self._database.run(lambda: self._rows.bulk_write(writes, ordered=False))
        return result.modified_count


def _write(row: Document, sealed: Mapping[str, Binary]) -> UpdateOne:
    # What was erased, or sealed anew, since it was read is not brought back.
    unchanged = {name: row[name] for name in sealed}
    return UpdateOne({"_id": row["_id"], **unchanged}, {"$set": dict(sealed)}, hint="_id_")


async def reseal_direct(stored: SealedDeliveries, seal: DirectSeal) -> Resealed:
    """Seal anew every content and address that an older key sealed, a batch at a time; may be cut off and repeated.

    A row that cannot be opened is left as it is; its worker ends it as KEY_GONE.
    """
    result, since = Resealed(), None
    seen: list[str] = []
    while rows := await stored.sealed(since, seen, BATCH):
        changes: list[tuple[Document, Mapping[str, Any]]] = []
        for row in rows:
            with result.leaving(row["_id"]):
                if sealed := seal.again(row):
                    changes.append((row, sealed))
        if changes:
            result.done += await stored.reseal(changes)
        last = rows[-1]["eraseAt"]
        seen = [*(seen if last == since else ()), *(row["_id"] for row in rows if row["eraseAt"] == last)]
        since = last
    return result
