"""Loading documents into a collection, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pymongo
from bson import Timestamp
from bson.raw_bson import RawBSONDocument

from notifications_service.backup.collections import CollectionMetadata
from notifications_service.backup.connection import COMMAND_SECONDS, RAW, Connection, translated

_BATCH_BYTES: Final = 8 << 20
_BATCH_DOCUMENTS: Final = 5_000
# An element of the type timestamp whose value is zero (bsonspec.org), or what looks like one.
_EMPTY_TIMESTAMP: Final = re.compile(rb"\x11[^\x00]*\x00\x00{8}")
_EMPTY: Final = Timestamp(0, 0)
_PLACEHOLDER: Final = Timestamp(0, 1)


async def load(connection: Connection, collection: CollectionMetadata, documents: Iterable[RawBSONDocument]) -> None:
    """Insert documents; those of a capped collection in their order. Raises ``MongoFailed``."""
    for batch in _batches(documents):
        await _insert(connection, collection, batch)
        for document in batch:
            if _has_empty_timestamp(document):
                await _put_empty_timestamps(connection, str(collection.stored), document)


async def _insert(connection: Connection, collection: CollectionMetadata, batch: list[RawBSONDocument]) -> None:
    target = connection.database.get_collection(str(collection.stored), codec_options=RAW)
    inserted = [_with_placeholders(document) if _has_empty_timestamp(document) else document for document in batch]
    with translated(), pymongo.timeout(COMMAND_SECONDS):
        # Documents of the source's own system may be older than the validator.
        await target.insert_many(inserted, ordered=collection.capped, bypass_document_validation=True)


def _has_empty_timestamp(document: RawBSONDocument) -> bool:
    """Whether one of its own fields is an empty timestamp, in whose place the server would insert its own time."""
    if _EMPTY_TIMESTAMP.search(document.raw) is None:
        return False
    return any(value == _EMPTY for name, value in document.items() if name != "_id")


def _with_placeholders(document: RawBSONDocument) -> dict[str, Any]:
    return {name: _PLACEHOLDER if value == _EMPTY and name != "_id" else value for name, value in document.items()}


async def _put_empty_timestamps(connection: Connection, name: str, document: RawBSONDocument) -> None:
    """Put the document in the place of the one with placeholders: an update leaves empty timestamps as they are."""
    target = connection.database.get_collection(name, codec_options=RAW)
    with translated(), pymongo.timeout(COMMAND_SECONDS):
        await target.update_one(
            {"_id": {"$eq": document["_id"]}},
            [{"$replaceWith": {"$literal": document}}],
            bypass_document_validation=True,
        )


def _batches(documents: Iterable[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.raw)
        if size > _BATCH_BYTES or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
