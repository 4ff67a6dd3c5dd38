"""Storage sections: the sizes of collections and indexes, and how often each index is used."""

from __future__ import annotations

from typing import Any, Final

from pymongo.errors import OperationFailure

from chassis.commands.report import ReportRow, Section
from notifications_service.migrations import declared
from notifications_service.mongodb.database import Database

_KEPT_OUT: Final = "system."


async def collections(database: Database) -> Section:
    """Return the collections with their sizes."""
    rows = []
    for name in await _names(database):
        storage = await _storage(database, name)
        rows.append(
            {
                "collection": name,
                "rows_estimate": storage["count"],
                "data_bytes": storage["size"],
                "on_disk_bytes": storage["storageSize"],
                "indexes_bytes": storage["totalIndexSize"],
                "free_bytes": storage.get("freeStorageSize"),
            }
        )
    return Section("collections", rows)


async def indexes(database: Database) -> Section:
    """Return the indexes of our collections with their sizes, and how often each was used on this member."""
    rows, missing = list[ReportRow](), list[str]()
    for name in sorted(set(await _names(database)) & set(declared.INDEXES)):
        sizes = (await _storage(database, name))["indexSizes"]
        used, denied = await _uses(database, name)
        missing += denied
        rows += [_row(name, index, sizes, used) for index in await _information(database, name)]
    notes = ["uses: on the member that answered, since the time shown (its start, or the index's)"]
    return Section("indexes", rows, notes, missing=list(dict.fromkeys(missing)))


def _row(collection: str, index: ReportRow, sizes: ReportRow, used: dict[str, ReportRow]) -> ReportRow:
    accesses = used.get(index["name"], {})
    return {
        "collection": collection,
        "index": index["name"],
        "keys": ", ".join(f"{key} {direction}" for key, direction in index["key"].items()),
        "size_bytes": sizes.get(index["name"]),
        "uses": accesses.get("ops"),
        "since": accesses.get("since"),
    }


async def _names(database: Database) -> list[str]:
    names: list[str] = await database.default.list_collection_names(filter={"type": "collection"})
    return sorted(name for name in names if not name.startswith(_KEPT_OUT))


async def _information(database: Database, name: str) -> list[ReportRow]:
    answer = await database.default.command("listIndexes", name)
    found: list[ReportRow] = answer["cursor"]["firstBatch"]
    return found


async def _storage(database: Database, name: str) -> ReportRow:
    found = await _aggregate(database, name, [{"$collStats": {"storageStats": {"scale": 1}}}])
    storage: ReportRow = found[0]["storageStats"]
    return storage


async def _uses(database: Database, name: str) -> tuple[dict[str, ReportRow], list[str]]:
    try:
        found = await _aggregate(database, name, [{"$indexStats": {}}])
    except OperationFailure as error:
        return {}, [f"uses not available: error {error.code}; the role clusterMonitor may look"]
    return {row["name"]: row["accesses"] for row in found}, []


async def _aggregate(database: Database, name: str, pipeline: list[Any]) -> list[ReportRow]:
    answer = await database.default.command({"aggregate": name, "pipeline": pipeline, "cursor": {}})
    found: list[ReportRow] = answer["cursor"]["firstBatch"]
    return found
