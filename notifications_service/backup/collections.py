"""Collections as ``mongodump`` describes them in ``<collection>.metadata.json``: options and indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import bson
from bson import json_util

from notifications_service.backup.connection import Connection
from notifications_service.migrations.lock import COLLECTION as LOCK
from notifications_service.mongodb.codec import Document

METADATA: Final = ".metadata.json"
# The lock of migrations, which must not be restored with a backup.
_LEFT_OUT: Final = frozenset({LOCK})


class NoCollection(Exception):
    """A text does not describe a collection."""


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """One collection: its name, how it was created, its indexes, and the server's own id of it."""

    name: str
    options: Document
    indexes: list[Document]
    uuid: str = ""

    def to_json(self) -> str:
        """Return the text of its metadata file."""
        metadata = {
            "options": self.options,
            "indexes": self.indexes,
            "uuid": self.uuid,
            "collectionName": self.name,
            "type": "collection",
        }
        return json_util.dumps(metadata, json_options=json_util.CANONICAL_JSON_OPTIONS)

    @classmethod
    def from_json(cls, text: str) -> CollectionMetadata:
        """Read a metadata file. Raises ``NoCollection`` where it is none."""
        try:
            metadata = json_util.loads(text)
            name, options, indexes = metadata["collectionName"], metadata.get("options", {}), metadata["indexes"]
        except Exception as error:
            # Each of some twenty BSON types has a parser of its own, with errors of its own.
            raise NoCollection from error
        if not _is_name(name) or not _are_options(options) or not _are_indexes(indexes):
            raise NoCollection
        return cls(name, options, indexes)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name) < 256 and not name.startswith("system.")


def _are_options(options: object) -> bool:
    # The options become part of a command, and must not replace its name.
    return isinstance(options, dict) and "create" not in options


def _are_indexes(indexes: object) -> bool:
    return isinstance(indexes, list) and all(
        isinstance(index, dict) and isinstance(index.get("name"), str) for index in indexes
    )


async def read(connection: Connection) -> list[CollectionMetadata]:
    """Return the collections of the database, in the order of their names, without the server's own and views."""
    found = []
    async for batch in connection.documents({"listCollections": 1, "filter": {"type": "collection"}}):
        found += [bson.decode(info.raw) for info in batch]
    wanted = [info for info in found if not info["name"].startswith("system.") and info["name"] not in _LEFT_OUT]
    return [await _collection(connection, info) for info in sorted(wanted, key=_name)]


def _name(info: Document) -> str:
    return str(info["name"])


async def _collection(connection: Connection, info: Document) -> CollectionMetadata:
    indexes: list[dict[str, Any]] = []
    async for batch in connection.documents({"listIndexes": info["name"]}):
        indexes += [bson.decode(index.raw) for index in batch]
    return CollectionMetadata(info["name"], info["options"], indexes, bytes(info["info"]["uuid"]).hex())
