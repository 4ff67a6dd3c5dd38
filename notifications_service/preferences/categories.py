"""All queries on the collection `categories`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from chassis.context.statements import named
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE, Database
from notifications_service.notification import schema
from notifications_service.preferences import model
from notifications_service.preferences.model import Category
from notifications_service.preferences.rows import AFTER, NEXT_REV, change_one, precondition_of, rows_of

_BEFORE: Final[dict[str, Any]] = {"return_document": ReturnDocument.BEFORE, "collation": BYTEWISE}
_NOT_DELETED: Final[Document] = {"deletedAt": {"$exists": False}}


class CategoriesRepository:
    """Reads and writes categories; one that was deleted keeps its row, and its rules."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._rows = database.collection(schema.CATEGORIES)

    @named
    async def by_names(self, names: Iterable[str]) -> dict[str, Category]:
        """Return the category of each of the names, deleted ones included, and what one is that nobody registered."""
        rows = await rows_of(self._database, schema.CATEGORIES, names)
        found = {row["_id"]: model.category_of(row) for row in rows}
        return {name: found.get(name) or Category(name) for name in names}

    @named
    async def page(self, after: str, limit: int, *, include_deleted: bool) -> list[Category]:
        """Return up to ``limit`` categories by name, after the name ``after``."""
        query = {"_id": {"$gt": after}} | ({} if include_deleted else _NOT_DELETED)
        found = await self._database.find(schema.CATEGORIES, query, limit=limit, hint="_id_", sort={"_id": 1})
        return [model.category_of(row) for row in found.rows]

    @named
    async def put(self, name: str, values: Document, etag: str) -> tuple[Category, bool] | None:
        """Store all of a category; return it, and whether it was not there before. None: it has another etag."""
        if (required := precondition_of(name, etag)) is None:
            return None
        at = self._clock()
        update = [{"$replaceWith": _put(name, values, at)}]
        try:
            before = await change_one(
                self._database, self._rows, required.query, update, upsert=required.upsert, **_BEFORE
            )
        except DuplicateKeyError:
            return None
        if before is None and not required.upsert:
            return None
        return _after(name, before, values, at)

    @named
    async def delete(self, name: str, etag: str) -> bool:
        """Mark a category that is there as deleted; say whether there was one, of this etag where one is given."""
        required = precondition_of(name, etag)
        if required is None:
            return False
        at = self._clock()
        query = required.query | _NOT_DELETED
        update = [{"$set": {"deletedAt": at, "updatedAt": at, "rev": NEXT_REV}}]
        return await change_one(self._database, self._rows, query, update, **AFTER) is not None


def _put(name: str, values: Document, at: datetime) -> Document:
    is_there = {"$and": [{"$gt": ["$rev", 0]}, {"$eq": [{"$type": "$deletedAt"}, "missing"]}]}
    literal = {field: {"$literal": value} for field, value in values.items()}
    created = {"$cond": [is_there, "$createdAt", at]}
    return {"_id": {"$literal": name}, **literal, "createdAt": created, "updatedAt": at, "rev": NEXT_REV}


def _after(name: str, before: Document | None, values: Document, at: datetime) -> tuple[Category, bool]:
    """Return the category that ``_put`` makes of the row before, and whether that was none, or deleted."""
    is_new = before is None or "deletedAt" in before
    created = at if before is None or is_new else before["createdAt"]
    rev = 1 if before is None else before["rev"] + 1
    return model.category_of({"_id": name, **values, "createdAt": created, "updatedAt": at, "rev": rev}), is_new
