"""Repair of a migrated database: puts back collections, indexes and options of the schema that it has lost.

For example, Mongoose's ``Model.syncIndexes()`` drops every index that its own schema does not name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from notifications_service.migrations import declared, indexes
from notifications_service.migrations.state import indexes_of
from notifications_service.mongodb.codec import Document
from notifications_service.notification import schema
from notifications_service.notification.schema import TTL_INDEX, Index

_IMAGES: Final = "changeStreamPreAndPostImages"
_VALIDATION: Final = ("validator", "validationLevel", "validationAction")


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that is missing, and the function that puts it back; None for what is left as it is."""

    title: str
    carry_out: Callable[[], Awaitable[Any]] | None


async def repairs(database: Any) -> list[Repair]:
    """Return what is missing, in the order in which it can be put back. Raises IndexInTheWay.

    TTL indexes whose retention is a setting are not looked at (``keeping``).
    """
    found: list[Repair] = []
    options = await options_of(database)
    for name, wanted in declared.INDEXES.items():
        expected = declared.OPTIONS.get(name, {})
        if name not in options:
            found.append(Repair(f"collection {name}", partial(database.create_collection, name, **expected)))
        else:
            found += _of_options(database, name, expected, options[name])
        there = await indexes_of(database, name)
        for index in wanted:
            if indexes.is_kept_by_setting(name, index.name) or index.name == "_id_":
                continue
            indexes.check(name, index, there)
            if index.name not in there:
                found.append(Repair(indexes.title(name, index.name), partial(_make, database[name], index)))
    return found


async def missing(database: Any) -> list[str]:
    """Return what ``migrate up`` would put back, the TTL index included. Raises IndexInTheWay."""
    gone = [repair.title for repair in await repairs(database) if repair.carry_out]
    if TTL_INDEX not in await indexes_of(database, schema.COLLECTION):
        gone.append(indexes.title(schema.COLLECTION, TTL_INDEX))
    return gone


async def options_of(database: Any) -> dict[str, Document]:
    """Return the options of every collection by its name."""
    answer = await database.command(
        {"listCollections": 1, "filter": {"type": "collection"}, "cursor": {"batchSize": 10_000}}
    )
    return {listed["name"]: listed.get("options", {}) for listed in answer["cursor"]["firstBatch"]}


def _of_options(database: Any, name: str, expected: Document, found: Document) -> list[Repair]:
    made: list[Repair] = []
    validation = {option: expected[option] for option in _VALIDATION if option in expected}
    if validation and "validator" not in found:
        made.append(Repair(f"validator of {name}", partial(database.command, "collMod", name, **validation)))
    elif any(found.get(option) != value for option, value in validation.items()):
        made.append(Repair(f"the validator of {name} is not this version's, and is left as it is", None))
    if _IMAGES in expected and found.get(_IMAGES) != expected[_IMAGES]:
        images = {_IMAGES: expected[_IMAGES]}
        made.append(Repair(f"change images of {name}", partial(database.command, "collMod", name, **images)))
    return made


async def _make(collection: Any, index: Index) -> None:
    # Queries compare byte for byte, whatever the collation that the collection was made with.
    simple = {"locale": "simple"}
    await collection.create_index(list(index.keys), name=index.name, collation=simple, **dict(index.options))
