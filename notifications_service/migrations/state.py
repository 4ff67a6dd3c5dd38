"""The schema check of MongoDB, for the health probe and for commands: which steps the database has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo.errors import OperationFailure

from chassis.context.statements import named
from chassis.schema import SchemaState
from notifications_service.migrations import declared, indexes
from notifications_service.migrations.indexes import Indexes
from notifications_service.migrations.steps import Step
from notifications_service.mongodb.codec import Document
from notifications_service.notification.schema import Index

SERVICE: Final = "notifications-service"
RECORDS: Final = "migrations"
_NO_COLLECTION: Final = 26

Records = dict[int, Document]


@named
async def recorded(database: Any) -> Records:
    """Return the records of the steps that were applied, by their numbers."""
    answer = await database.command({"find": RECORDS, "sort": {"_id": 1}, "batchSize": 1_000, "singleBatch": True})
    return {record["_id"]: record for record in answer["cursor"]["firstBatch"]}


@named
async def indexes_of(database: Any, collection: str) -> Indexes:
    """Return the indexes of a collection by their names; none where there is no such collection."""
    try:
        answer = await database.command("listIndexes", collection)
    except OperationFailure as error:
        if error.code != _NO_COLLECTION:
            raise
        return {}
    return {index["name"]: index for index in answer["cursor"]["firstBatch"]}


async def needed_indexes(database: Any) -> dict[str, Indexes]:
    """Return the indexes of every collection in which this version needs some."""
    return {name: await indexes_of(database, name) for name in declared.NEEDED}


def stand(steps: Sequence[Step], records: Records, found: Mapping[str, Indexes]) -> SchemaState:
    """Return the state of the schema; ``found``: the indexes of each collection."""
    newer = {number: record for number, record in records.items() if number > len(steps)}
    pending = () if newer else tuple(step.title for step in steps if step.number not in records)
    return SchemaState(
        applied=tuple(step.title for step in steps if step.number in records),
        pending=pending,
        unknown=tuple(title_of(number, record) for number, record in sorted(newer.items())),
        missing=() if pending else _missing(found),
    )


def title_of(number: int, record: Mapping[str, Any]) -> str:
    """Return the title of a step of another version, as it is recorded."""
    return f"{number:04d}_{record.get('name', '')}".rstrip("_")


def _missing(found: Mapping[str, Indexes]) -> tuple[str, ...]:
    """Name the missing indexes without which statements fail, or answer what is wrong."""
    return tuple(
        indexes.title(collection, index.name)
        for collection, names in declared.NEEDED.items()
        for index in declared.INDEXES[collection]
        if index.name in names and _is_missing(index, found.get(collection, {}))
    )


def _is_missing(wanted: Index, found: Indexes) -> bool:
    return wanted.name not in found or bool(indexes.difference(wanted, found[wanted.name]))
