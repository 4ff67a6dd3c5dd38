"""The target database of a restore: empty before, marked as unfinished meanwhile, compared afterwards."""

from __future__ import annotations

from typing import Final

from chassis.backup.errors import RestoreFailed
from notifications_service.backup import collections
from notifications_service.backup.bson_stream import Sum
from notifications_service.backup.collections import CollectionMetadata
from notifications_service.backup.connection import BATCH, Connection, translated
from notifications_service.mongodb.codec import Document

# A collection by which anyone can see that a restore did not finish.
MARKER: Final = "restore_unfinished"


async def check(connection: Connection, *, start_over: bool) -> set[str]:
    """Raise ``RestoreFailed`` unless the database is empty, or to be emptied; return the collections that it has."""
    own = await _own(connection)
    if MARKER in own and not start_over:
        raise RestoreFailed(
            f"a restore into {connection.name} did not finish: say --start-over to empty it and begin anew"
        )
    if own and MARKER not in own:
        raise RestoreFailed(f"{connection.name} is not empty ({len(own)} collections): restore into an empty database")
    return own


async def prepare(connection: Connection, *, start_over: bool) -> None:
    """Make sure that the database is empty, and mark it as unfinished. Raises ``RestoreFailed``."""
    names = await check(connection, start_over=start_over)
    await empty(connection)
    if MARKER not in names:
        await connection.command({"create": MARKER})


async def empty(connection: Connection) -> None:
    """Drop everything but the mark, which goes last, since this can be interrupted, too."""
    for name in sorted(await _own(connection) - {MARKER}):
        await connection.command({"drop": name})


async def _own(connection: Connection) -> set[str]:
    with translated():
        names = set(await connection.database.list_collection_names())
    return {name for name in names if not collections.is_server_own(name)}


async def unmark(connection: Connection) -> None:
    """Remove the mark."""
    await connection.command({"drop": MARKER})


async def compare_counts(connection: Connection, counts: dict[str, int]) -> None:
    """Compare the numbers of documents; call it before the TTL index is made, since that deletes documents."""
    for name, expected in counts.items():
        found = await _count(connection, name)
        if found != expected:
            raise RestoreFailed(f"{name} has {found} documents, and had {expected}")


async def compare_values(connection: Connection, checksums: dict[str, str]) -> None:
    """Compare every document byte by byte, also before the TTL index is made. Raises ``RestoreFailed``."""
    for name, expected in checksums.items():
        found = Sum()
        async for documents in connection.documents({"find": name, "batchSize": BATCH}):
            for document in documents:
                found.add(document)
        if str(found) != expected:
            raise RestoreFailed(f"{name} does not have the documents that it had")


async def compare_schema(connection: Connection, expected: list[CollectionMetadata]) -> None:
    """Compare the collections, their options and indexes. Raises ``RestoreFailed``."""
    found = {each.name: each for each in await collections.read(connection) if each.name != MARKER}
    for collection in expected:
        other = found.pop(collection.name, None)
        if other is None or _description(other) != _description(collection):
            raise RestoreFailed(f"{collection.name} has not the options and indexes that it had")
    if found:
        raise RestoreFailed(f"{connection.name} has collections that are not in the backup: {', '.join(found)}")


def _description(collection: CollectionMetadata) -> tuple[str, Document, dict[str, Document]]:
    return collection.kind, collection.options, _by_name(collection)


def _by_name(collection: CollectionMetadata) -> dict[str, Document]:
    # Older servers put the namespace into each index.
    return {index["name"]: {key: value for key, value in index.items() if key != "ns"} for index in collection.indexes}


async def _count(connection: Connection, name: str) -> int:
    pipeline = [{"$count": "number"}]
    answer = await connection.command({"aggregate": name, "pipeline": pipeline, "cursor": {}})
    return sum(int(group["number"]) for group in answer["cursor"]["firstBatch"])
