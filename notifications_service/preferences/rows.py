"""Reading and changing rows by their keys, as preferences and categories both do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from chassis.errors import ConflictRetry
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.mongodb.drivers import Collection
from notifications_service.preferences import model
from notifications_service.preferences.model import NO_ROW

AFTER: Final[dict[str, Any]] = {"return_document": ReturnDocument.AFTER, "collation": BYTEWISE}
# One more than that of the row, or 1 for a new one.
NEXT_REV: Final[Document] = {"$add": [{"$ifNull": ["$rev", 0]}, 1]}


class Precondition(NamedTuple):
    """What a write of one row requires: the condition on it, and whether it may be a new one."""

    query: Document
    upsert: bool


def precondition_of(key: str, etag: str) -> Precondition | None:
    """Return what a write requires of the row with a key; None where no row can have such an etag."""
    if not etag:
        return Precondition({"_id": key}, upsert=True)
    if etag == NO_ROW:
        return Precondition({"_id": key, "rev": {"$exists": False}}, upsert=True)
    condition = model.etag_query(etag)
    return None if condition is None else Precondition({"_id": key, **condition}, upsert=False)


async def change_one(
    database: Database, rows: Collection, query: Document, change: Any, **options: Any
) -> Document | None:
    """Change one row, and return it; None where the query finds none.

    Raises DuplicateKeyError where a new row was required and there is one.
    """
    try:
        return await database.run(lambda: rows.find_one_and_update(query, change, **options), query)
    except DuplicateKeyError:
        if len(query) > 1:
            raise
        # Others made it at the same moment, more often than the server itself tries again.
        raise ConflictRetry from None


async def rows_of(database: Database, collection: str, keys: Iterable[str]) -> list[Document]:
    """Return those of the rows that exist, in one query unless they fill more than 16 MiB."""
    left, rows = sorted(keys), list[Document]()
    while left:
        query = {"_id": {"$in": left}}
        found = await database.find(collection, query, limit=len(left), hint="_id_", sort={"_id": 1})
        rows += found.rows
        left = [key for key in left if key > found.rows[-1]["_id"]] if found.cut else []
    return rows
