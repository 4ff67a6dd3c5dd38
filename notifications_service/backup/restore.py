"""``notifications-service restore``: a backup into an empty database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bson.raw_bson import RawBSONDocument

from chassis.backup import reading
from chassis.backup.command import RestoreOptions
from chassis.backup.errors import Damaged, saying_how_to_go_on
from chassis.backup.incoming import Advance, Backup, IncomingPart, unheard
from chassis.commands.progress import progress
from notifications_service.backup import target
from notifications_service.backup.backup import DOCUMENTS, SERVICE
from notifications_service.backup.bson_stream import NoDocument, documents
from notifications_service.backup.collections import (
    BUCKETS,
    METADATA,
    TIME_SERIES,
    VIEW,
    CollectionMetadata,
    NoCollection,
)
from notifications_service.backup.connection import Connection, connected
from notifications_service.backup.loading import load
from notifications_service.migrations import steps
from notifications_service.settings import DatabaseSettings

# An index of a big collection takes its time.
_INDEX_SECONDS: Final = 24 * 3_600
_EXPIRY: Final = "expireAfterSeconds"


async def check(settings: DatabaseSettings, backup: Backup, options: RestoreOptions) -> None:
    """Carry out all checks of a restore, and change nothing. Raises ``CommandFailed``."""
    _accept(backup, options)
    if not backup.repeatable:
        _look_through(backup)
    async with connected(settings, options.database) as connection:
        await target.check(connection, start_over=options.start_over)


async def restore(settings: DatabaseSettings, backup: Backup, options: RestoreOptions) -> None:
    """Restore into the database of the settings, or of the options. Raises ``CommandFailed``.

    A failure after it has begun leaves a database that is marked as unfinished, and so does a drill until it is empty.
    """
    _accept(backup, options)
    async with connected(settings, options.database) as connection:
        await target.prepare(connection, start_over=options.start_over)
        with saying_how_to_go_on(connection.name):
            await _load(connection, backup, options)
            if options.drill:
                await target.empty(connection)
        await target.unmark(connection)


def _known() -> set[str]:
    return {f"{step.number:04d}" for step in steps.load()}


def _accept(backup: Backup, options: RestoreOptions) -> None:
    """Refuse a backup that cannot be restored, before anything is changed; of a file that includes its documents."""
    reading.accept(backup, SERVICE, _known())
    if backup.repeatable:
        if options.verify:
            backup.verify()
        _look_through(backup, documents_too=options.verify)


def _look_through(backup: Backup, *, documents_too: bool = True) -> None:
    for _collection, found in _contents(backup):
        if found is not None and documents_too:
            for _document in found:
                pass


def _contents(
    backup: Backup, advance: Advance = unheard
) -> Iterator[tuple[CollectionMetadata, Iterator[RawBSONDocument] | None]]:
    """Give back each collection with None, to be created, and later each with its documents. Raises ``Damaged``."""
    names, awaited = set[str](), dict[str, CollectionMetadata]()
    for part in backup.parts(advance):
        if part.name.endswith(METADATA):
            collection = _collection(backup, part)
            if collection.name in names:
                raise Damaged(backup.label, "two collections have one name")
            names.add(collection.name)
            if collection.kind != VIEW:
                awaited[_documents_part(part.name.removesuffix(METADATA), collection)] = collection
            yield collection, None
        elif part.name in awaited:
            yield awaited.pop(part.name), _documents(backup, part)
        else:
            raise Damaged(backup.label, f"nothing describes {part.name}")
    if awaited:
        raise Damaged(backup.label, f"{', '.join(awaited)} is missing")


def _documents_part(path: str, collection: CollectionMetadata) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{BUCKETS if collection.kind == TIME_SERIES else ''}{name}{DOCUMENTS}"


def _collection(backup: Backup, part: IncomingPart) -> CollectionMetadata:
    try:
        return CollectionMetadata.from_json(part.text(backup.label))
    except NoCollection:
        raise Damaged(backup.label, "the description of a collection cannot be read") from None


def _documents(backup: Backup, part: IncomingPart) -> Iterator[RawBSONDocument]:
    """Give back the documents of a collection. Raises ``Damaged``."""
    try:
        yield from documents(part.content)
    except NoDocument:
        raise Damaged(backup.label, f"{part.name} holds something else than documents") from None


async def _load(connection: Connection, backup: Backup, options: RestoreOptions) -> None:
    created: list[CollectionMetadata] = []
    with progress("restoring", backup.size) as advance:
        for collection, found in _contents(backup, advance):
            if found is not None:
                await load(connection, collection, found)
            else:
                created.append(collection)
                await _create(connection, collection)
    if options.verify:
        await target.compare_counts(connection, backup.manifest.counts)
        await target.compare_values(connection, backup.manifest.checksums)
    # Indexes and expiry come after the documents: that is quicker, and none expires before it was counted.
    for collection in created:
        await _complete(connection, collection)
    if options.verify:
        await target.compare_schema(connection, created)


async def _create(connection: Connection, collection: CollectionMetadata) -> None:
    if collection.kind != VIEW:
        options = {name: value for name, value in collection.options.items() if name != _EXPIRY}
        await connection.command({"create": collection.name, **options})


async def _complete(connection: Connection, collection: CollectionMetadata) -> None:
    if collection.kind == VIEW:
        await connection.command({"create": collection.name, **collection.options})
        return
    await _create_indexes(connection, collection)
    if _EXPIRY in collection.options:
        await connection.command({"collMod": collection.name, _EXPIRY: collection.options[_EXPIRY]})


async def _create_indexes(connection: Connection, collection: CollectionMetadata) -> None:
    made_with_it = "_id_"
    # An index without a collation must say so, or it gets that of the collection.
    indexes = [
        {"collation": {"locale": "simple"}} | {key: value for key, value in index.items() if key != "ns"}
        for index in collection.indexes
        if index["name"] != made_with_it and not index.get("clustered")
    ]
    if indexes:
        await connection.command({"createIndexes": collection.name, "indexes": indexes}, seconds=_INDEX_SECONDS)
