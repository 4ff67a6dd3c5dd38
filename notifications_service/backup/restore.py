"""``notifications-service restore``: a backup into an empty database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import pymongo
from bson.raw_bson import RawBSONDocument

from chassis.backup.command import RestoreOptions
from chassis.backup.compression import SUFFIX
from chassis.backup.errors import Damaged, saying_how_to_go_on
from chassis.backup.reading import Advance, Archive
from chassis.commands.progress import progress
from notifications_service.backup import target
from notifications_service.backup.backup import DOCUMENTS, SERVICE
from notifications_service.backup.bson_stream import NoDocument, documents
from notifications_service.backup.collections import METADATA, CollectionMetadata, NoCollection
from notifications_service.backup.connection import COMMAND_SECONDS, RAW, Connection, connected, translated
from notifications_service.migrations import steps
from notifications_service.settings import DatabaseSettings

_BATCH_BYTES: Final = 8 << 20
_BATCH_DOCUMENTS: Final = 5_000
# An index of a big collection takes its time.
_INDEX_SECONDS: Final = 24 * 3_600


async def check(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Carry out all checks of a restore, and change nothing. Raises ``CommandFailed``."""
    _accept(archive, options)
    async with connected(settings) as connection:
        await target.check(connection, start_over=options.start_over)


async def restore(settings: DatabaseSettings, archive: Archive, options: RestoreOptions) -> None:
    """Restore into the database of the settings. Raises ``CommandFailed``.

    A failure after it has begun leaves a database that is marked as unfinished.
    """
    found = _accept(archive, options)
    async with connected(settings) as connection:
        await target.prepare(connection, start_over=options.start_over)
        with saying_how_to_go_on(connection.name):
            await _load(connection, archive, found, options)
        await target.unmark(connection)


def _known() -> set[str]:
    return {f"{step.number:04d}" for step in steps.load()}


def _accept(archive: Archive, options: RestoreOptions) -> dict[str, CollectionMetadata]:
    """Refuse a file that cannot be restored, before anything is changed; return the collections by their part's name.

    Verifying includes the documents of the file.
    """
    archive.accept(SERVICE, _known(), verify=options.verify)
    found = _collections(archive)
    if options.verify:
        for name in found:
            for _document in _documents(archive, name, _unheard):
                pass
    return found


def _collections(archive: Archive) -> dict[str, CollectionMetadata]:
    """Return the collections by the names of their parts, without the suffixes of these."""
    found = {}
    for name in archive.names(METADATA):
        text = archive.text(name)
        try:
            found[name.removesuffix(METADATA)] = CollectionMetadata.from_json(text)
        except NoCollection:
            raise Damaged(archive.path, "the description of a collection cannot be read") from None
    if len({collection.name for collection in found.values()}) < len(found):
        raise Damaged(archive.path, "two collections have one name")
    return found


async def _load(
    connection: Connection, archive: Archive, found: dict[str, CollectionMetadata], options: RestoreOptions
) -> None:
    with progress("restoring", sum(part.bytes for part in archive.manifest.parts)) as advance:
        for name, collection in found.items():
            await connection.command({"create": collection.name, **collection.options})
            for batch in _batches(_documents(archive, name, advance)):
                await _insert(connection, collection.name, batch)
    if options.verify:
        await target.compare_counts(connection, archive.manifest.counts)
        await target.compare_values(connection, archive.manifest.checksums)
    # Indexes come after the documents: that is quicker, and no document expires before it was counted.
    for collection in found.values():
        await _create_indexes(connection, collection)
    if options.verify:
        await target.compare_schema(connection, list(found.values()))


async def _insert(connection: Connection, name: str, batch: list[RawBSONDocument]) -> None:
    collection = connection.database.get_collection(name, codec_options=RAW)
    with translated(), pymongo.timeout(COMMAND_SECONDS):
        # Documents of the source's own system may be older than the validator.
        await collection.insert_many(batch, ordered=False, bypass_document_validation=True)


async def _create_indexes(connection: Connection, collection: CollectionMetadata) -> None:
    made_with_it = "_id_"
    indexes = [
        {key: value for key, value in index.items() if key != "ns"}
        for index in collection.indexes
        if index["name"] != made_with_it
    ]
    if indexes:
        await connection.command({"createIndexes": collection.name, "indexes": indexes}, seconds=_INDEX_SECONDS)


def _documents(archive: Archive, name: str, advance: Advance) -> Iterator[RawBSONDocument]:
    """Give back the documents of a collection. Raises ``Damaged``."""
    part = f"{name}{DOCUMENTS}{SUFFIX}"
    try:
        yield from documents(archive.content(part, advance))
    except NoDocument:
        raise Damaged(archive.path, f"{part} holds something else than documents") from None


def _unheard(_bytes: int) -> None:
    return


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
