"""Collections as ``mongodump`` describes them in ``<collection>.metadata.json``: options and indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import bson
from bson import json_util

from notifications_service.backup.connection import Connection
from notifications_service.documents import Document
from notifications_service.migrations.lock import COLLECTION as LOCK

METADATA: Final = ".metadata.json"
# A process that migrates writes here; a lock must not come back with a backup.
_LEFT_OUT: Final = frozenset({LOCK})


@dataclass(frozen=True, slots=True)
class Collection:
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
    def from_json(cls, text: str) -> Collection:
        """Read a metadata file. Raises ``ValueError`` or ``KeyError`` where it is none."""
        metadata = json_util.loads(text)
        return cls(metadata["collectionName"], metadata.get("options", {}), metadata["indexes"])


async def read(connection: Connection) -> list[Collection]:
    """Return the collections of the database, in the order of their names, without the server's own and views."""
    found = []
    async for batch in connection.documents({"listCollections": 1, "filter": {"type": "collection"}}):
        found += [bson.decode(info.raw) for info in batch]
    wanted = [info for info in found if not info["name"].startswith("system.") and info["name"] not in _LEFT_OUT]
    return [await _collection(connection, info) for info in sorted(wanted, key=_name)]


def _name(info: Document) -> str:
    return str(info["name"])


async def _collection(connection: Connection, info: Document) -> Collection:
    indexes: list[dict[str, Any]] = []
    async for batch in connection.documents({"listIndexes": info["name"]}):
        indexes += [bson.decode(index.raw) for index in batch]
    return Collection(info["name"], info["options"], indexes, bytes(info["info"]["uuid"]).hex())
