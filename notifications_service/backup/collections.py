"""Collections as ``mongodump`` describes them in ``<collection>.metadata.json``: kind, options and indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

from chassis.backup.errors import BackupFailed
from notifications_service.backup.connection import Connection
from notifications_service.migrations.lock import COLLECTION as LOCK
from notifications_service.mongodb.codec import Document

METADATA: Final = ".metadata.json"
COLLECTION, VIEW, TIME_SERIES = "collection", "view", "timeseries"
# Where the server keeps the documents of a time series, many in one.
BUCKETS: Final = "system.buckets."
# The lock of migrations, which must not be restored with a backup.
_LEFT_OUT: Final = frozenset({LOCK})
# The one of the server's own collections that holds what people wrote: functions for `$where`.
_FUNCTIONS: Final = "system.js"
_OPTIONS: Final = frozenset(
    {
        "capped",
        "size",
        "max",
        "validator",
        "validationLevel",
        "validationAction",
        "collation",
        "storageEngine",
        "indexOptionDefaults",
        "changeStreamPreAndPostImages",
        "recordPreImages",
        "timeseries",
        "expireAfterSeconds",
        "clusteredIndex",
        "viewOn",
        "pipeline",
    }
)
# Dates beyond Python's years stay numbers.
_CODEC: Final[CodecOptions[Document]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
_JSON: Final = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


class NoCollection(Exception):
    """A text does not describe a collection."""


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """One collection, time series or view: how it was created, its indexes, and the server's own id of it."""

    name: str
    options: Document
    indexes: list[Document]
    uuid: str = ""
    kind: str = COLLECTION

    @property
    def stored(self) -> str | None:
        """The collection that holds the documents; a view has none."""
        if self.kind == VIEW:
            return None
        return f"{BUCKETS}{self.name}" if self.kind == TIME_SERIES else self.name

    @property
    def capped(self) -> bool:
        """Whether the oldest documents make room for new ones, so that their order counts."""
        return bool(self.options.get("capped"))

    def to_json(self) -> str:
        """Return the text of its metadata file."""
        metadata = {
            "options": self.options,
            "indexes": self.indexes,
            "uuid": self.uuid,
            "collectionName": self.name,
            "type": self.kind,
        }
        return json_util.dumps(metadata, json_options=_JSON)

    @classmethod
    def from_json(cls, text: str) -> CollectionMetadata:
        """Read a metadata file. Raises ``NoCollection`` where it is none."""
        try:
            metadata = json_util.loads(text, json_options=_JSON)
            name, options, indexes = metadata["collectionName"], metadata.get("options", {}), metadata["indexes"]
            kind = metadata.get("type", COLLECTION)
        except Exception as error:
            # Each of some twenty BSON types has a parser of its own, with errors of its own.
            raise NoCollection from error
        if not _is_name(name) or not _are_options(options) or not _are_indexes(indexes):
            raise NoCollection
        if kind not in (COLLECTION, VIEW, TIME_SERIES):
            raise NoCollection
        return cls(name, options, indexes, kind=kind)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name) < 256 and not is_server_own(name)


def is_server_own(name: str) -> bool:
    """Whether the server keeps this collection for itself."""
    return name.startswith("system.") and name != _FUNCTIONS


def _are_options(options: object) -> bool:
    # The options become part of a command, and must not replace its name.
    return isinstance(options, dict) and "create" not in options


def _are_indexes(indexes: object) -> bool:
    return isinstance(indexes, list) and all(
        isinstance(index, dict) and isinstance(index.get("name"), str) for index in indexes
    )


async def read(connection: Connection) -> list[CollectionMetadata]:
    """Return the collections of the database, in the order of their names, without the server's own.

    Raises ``BackupFailed`` where one is of a kind that a backup cannot hold, or ``MongoFailed``.
    """
    found: list[tuple[RawBSONDocument, Document]] = []
    async for batch in connection.documents({"listCollections": 1}):
        found += [(info, bson.decode(info.raw, _CODEC)) for info in batch]
    wanted = [each for each in found if not is_server_own(each[1]["name"]) and each[1]["name"] not in _LEFT_OUT]
    return [await _collection(connection, raw, info) for raw, info in sorted(wanted, key=_name)]


def _name(described: tuple[RawBSONDocument, Document]) -> str:
    return str(described[1]["name"])


async def _collection(connection: Connection, raw: RawBSONDocument, info: Document) -> CollectionMetadata:
    name, kind, options = str(info["name"]), str(info["type"]), info["options"]
    unknown = ", ".join(sorted(options.keys() - _OPTIONS))
    if kind not in (COLLECTION, VIEW, TIME_SERIES) or unknown:
        raise BackupFailed(f"{name} is a {kind} with {unknown or 'no options'}, which a backup cannot hold")
    indexes: list[dict[str, Any]] = []
    raw_indexes: list[bytes | memoryview] = []
    if kind != VIEW:
        async for batch in connection.documents({"listIndexes": name}):
            indexes += [bson.decode(index.raw, _CODEC) for index in batch]
            raw_indexes += [index.raw for index in batch]
    uuid = bytes(info["info"]["uuid"]).hex() if "uuid" in info["info"] else ""
    collection = CollectionMetadata(name, options, indexes, uuid, kind)
    _refuse_what_changes(collection, [raw["options"].raw, *raw_indexes])
    return collection


def _refuse_what_changes(collection: CollectionMetadata, raw: list[bytes | memoryview]) -> None:
    """Raise ``BackupFailed`` unless its description, read again from its text, is the same bytes."""
    again = CollectionMetadata.from_json(collection.to_json())
    if [bson.encode(each, codec_options=_CODEC) for each in (again.options, *again.indexes)] != raw:
        raise BackupFailed(f"the options or indexes of {collection.name} have values which a backup cannot hold")
