"""The schema check of MongoDB, for the health probe and for commands: which steps the database has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo.errors import OperationFailure

from chassis.context.statements import named
from chassis.schema import SchemaState
from notifications_service.migrations import indexes
from notifications_service.migrations.indexes import Indexes
from notifications_service.migrations.steps import Step
from notifications_service.mongodb.codec import Document
from notifications_service.notification import schema

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


def stand(steps: Sequence[Step], records: Records, found: Indexes) -> SchemaState:
    """Return the state of the schema; ``found``: the indexes of the notifications."""
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


def _missing(found: Indexes) -> tuple[str, ...]:
    """Name the missing indexes without which queries fail, or expired notifications would be shown."""
    needed = [index for index in schema.INDEXES[schema.COLLECTION] if index.name in schema.NAMED]
    return tuple(
        indexes.title(schema.COLLECTION, index.name)
        for index in needed
        if index.name not in found or indexes.difference(index, found[index.name])
    )
