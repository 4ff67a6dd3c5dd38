"""``notifications-service restore``: a backup into an empty database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pymongo
from bson.raw_bson import RawBSONDocument

from chassis.backup.command import RestoreOptions
from chassis.backup.errors import Damaged, RestoreFailed, saying_how_to_go_on
from chassis.backup.reading import Archive
from chassis.progress import progress
from notifications_service.backup import target
from notifications_service.backup.backup import DOCUMENTS, SERVICE
from notifications_service.backup.collections import METADATA, Collection
from notifications_service.backup.connection import COMMAND_SECONDS, RAW, Connection, connected, translated
from notifications_service.migrations import steps
from notifications_service.settings import DatabaseSettings

# Bytes of an empty document.
_SHORTEST: Final = 5
_BATCH_BYTES: Final = 8 << 20
_BATCH_DOCUMENTS: Final = 5_000
# An index of a big collection takes its time.
_INDEX_SECONDS: Final = 24 * 3_600


async def check(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Do all of a restore that changes nothing. Raises ``CommandFailed``."""
    archive.accept(SERVICE, _known(), verify=options.verify)
    async with connected(settings) as connection:
        await target.check(connection, start_over=options.start_over)


async def restore(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Restore into the database of the settings. Raises ``CommandFailed``.

    What goes wrong once it has begun leaves a database that is marked as unfinished.
    """
    archive.accept(SERVICE, _known(), verify=options.verify)
    found = _collections(archive)
    async with connected(settings) as connection:
        await target.prepare(connection, start_over=options.start_over)
        with saying_how_to_go_on(connection.name):
            await _load(connection, archive, found, options)
        await target.unmark(connection)


def _known() -> set[str]:
    return {f"{step.number:04d}" for step in steps.load()}


def _collections(archive: Archive) -> dict[str, Collection]:
    """Return the collections by the names of their parts, without what tells the parts of one apart."""
    try:
        return {
            name.removesuffix(METADATA): Collection.from_json(archive.text(name)) for name in archive.names(METADATA)
        }
    except (ValueError, KeyError, TypeError):
        raise Damaged(archive.path, "the description of a collection cannot be read") from None


async def _load(
    connection: Connection, archive: Archive, found: dict[str, Collection], options: RestoreOptions
) -> None:
    with progress("restoring", sum(part.bytes for part in archive.manifest.parts)) as advance:
        for name, collection in found.items():
            await connection.command({"create": collection.name, **collection.options})
            content = archive.content(f"{name}{DOCUMENTS}.zst", advance)
            for batch in _batches(_documents(content)):
                await _insert(connection, collection.name, batch)
    if options.verify:
        await target.compare_counts(connection, archive.manifest.counts)
    # After the documents: quicker, and none expires before it was counted.
    for collection in found.values():
        await _create_indexes(connection, collection)
    if options.verify:
        await target.compare_schema(connection, list(found.values()))


async def _insert(connection: Connection, name: str, batch: list[RawBSONDocument]) -> None:
    collection = connection.database.get_collection(name, codec_options=RAW)
    with translated(), pymongo.timeout(COMMAND_SECONDS):
        # The validator may be younger than documents of the source's own system.
        await collection.insert_many(batch, ordered=False, bypass_document_validation=True)


async def _create_indexes(connection: Connection, collection: Collection) -> None:
    made_with_it = "_id_"
    indexes = [
        {key: value for key, value in index.items() if key != "ns"}
        for index in collection.indexes
        if index["name"] != made_with_it
    ]
    if indexes:
        await connection.command({"createIndexes": collection.name, "indexes": indexes}, seconds=_INDEX_SECONDS)


def _documents(pieces: Iterable[bytes]) -> Iterator[RawBSONDocument]:
    """Take BSON documents (bsonspec.org: each begins with its length) out of a stream."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start : start + 4], "little")
            if length < _SHORTEST:
                raise RestoreFailed("the documents of the backup cannot be told apart")
            end = start + length
            if end > len(buffer):
                break
            yield RawBSONDocument(bytes(buffer[start:end]), RAW)
            start = end
        del buffer[:start]


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
