"""Ids of documents that were there before: where the source's own system stored an ObjectId as text, it becomes one.

Its model declares ``_id`` as a text, which mongoose casts an ObjectId to: 24 hexadecimal digits. An ``_id`` cannot be
changed, so each document is stored anew and the old one deleted. Both are repeated harmlessly after an interruption.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from bson import ObjectId
from pymongo.errors import BulkWriteError

from chassis.commands.cli import CommandFailed
from chassis.commands.migrations import Say
from notifications_service.notification import schema

BATCH: Final = 500
_HEXADECIMAL: Final = "^[0-9a-f]{24}$"
_TEXT: Final = {"_id": {"$regex": _HEXADECIMAL}}
_NEITHER: Final = {"$nor": [{"_id": {"$type": "objectId"}}, _TEXT]}
# Counting stops here.
_COUNTED: Final = 100_000
_DUPLICATE_KEY: Final = 11000


class IdInTheWay(CommandFailed):
    """A document's id cannot become an ObjectId; nothing was changed."""


async def check(database: Any) -> None:
    """Raise IdInTheWay where an id is neither an ObjectId nor the text of one, or where both are there."""
    collection = database[schema.COLLECTION]
    if number := await collection.count_documents(_NEITHER, limit=_COUNTED):
        many = f"{_COUNTED:,} or more" if number == _COUNTED else f"{number:,}"
        raise IdInTheWay(
            f"the collection {schema.COLLECTION} cannot be adopted, for its field _id: in {many} documents it is "
            "neither an ObjectId nor the 24 hexadecimal digits (in small letters) of one. Nothing was changed. Store "
            "these documents under such ids, or delete them, and run this again"
        )
    async for texts in _batches(collection):
        async for other in collection.find({"_id": {"$in": [ObjectId(text) for text in texts]}}):
            if other | {"_id": None} != texts[str(other["_id"])] | {"_id": None}:
                raise IdInTheWay(
                    f"the collection {schema.COLLECTION} cannot be adopted, for its field _id: two documents have the "
                    f"id {other['_id']}, one as an ObjectId and one as text. Nothing was changed. Delete one of them, "
                    "and run this again"
                )


async def convert(database: Any, say: Say) -> None:
    """Store the documents whose id is the text of an ObjectId under that ObjectId."""
    collection, number = database[schema.COLLECTION], 0
    async for texts in _batches(collection):
        await _store([document | {"_id": ObjectId(text)} for text, document in texts.items()], collection)
        number += (await collection.delete_many({"_id": {"$in": list(texts)}})).deleted_count
    if number:
        say(f"ids: {number:,} that were text are ObjectIds")


async def _batches(collection: Any) -> AsyncIterator[dict[str, Any]]:
    """Return the documents with such ids, by these, in order."""
    last = ""
    while True:
        found = collection.find({"_id": {"$regex": _HEXADECIMAL, "$gt": last}}, sort=[("_id", 1)], limit=BATCH)
        texts = {document["_id"]: document async for document in found}
        if not texts:
            return
        yield texts
        last = max(texts)


async def _store(documents: list[Any], collection: Any) -> None:
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # Of a run that was cut off before it deleted the old ones.
        if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise
