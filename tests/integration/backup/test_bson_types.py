"""Every BSON type and every kind of collection: all of it comes back byte for byte, or there is no backup."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import bson
import pymongo
import pytest
from bson.raw_bson import RawBSONDocument

from tests.harness.databases import MongoDatabase
from tests.integration.backup.commands import mongodb_content, notifications, one_line

NUMBER: Final = 300


def text(content: bytes) -> bytes:
    """Return a string as bsonspec.org writes it."""
    return struct.pack("<i", len(content) + 1) + content + b"\0"


def listed(*elements: bytes) -> bytes:
    """Return a document of elements."""
    content = b"".join(elements) + b"\0"
    return struct.pack("<i", len(content) + 4) + content


def binary(subtype: int, content: bytes) -> bytes:
    """Return binary content of a subtype."""
    return struct.pack("<i", len(content)) + bytes([subtype]) + content


# The number of each type of bsonspec.org, and values as their bytes.
ELEMENTS: Final[dict[int, tuple[bytes, ...]]] = {
    0x01: (
        *(struct.pack("<d", value) for value in (0.0, -0.0, 5e-324, float("inf"), 1.5)),
        # Not a number, in more than one way.
        bytes.fromhex("010000000000f87f"),
        bytes.fromhex("ffffffffffffffff"),
    ),
    0x02: (text(b""), text("größer 🎉\0\n".encode())),
    0x03: (listed(), listed(b"\x11\0" + bytes(8))),
    0x04: (listed(), listed(b"\x100\0\x07\0\0\0", b"\x0a1\0")),
    0x05: (
        *(binary(subtype, b"\0\xff;") for subtype in (0, 1, 3, 5, 6, 7, 9, 0x80, 0xFF)),
        binary(2, struct.pack("<i", 3) + b"abc"),
        binary(4, bytes(range(16))),
    ),
    0x06: (b"",),
    0x07: (bytes(12), b"\xff" * 12),
    0x08: (b"\0", b"\x01"),
    0x09: tuple(struct.pack("<q", value) for value in (0, -(2**63), 2**63 - 1)),
    0x0A: (b"",),
    0x0B: (b"\0\0", b"a(b\0imx\0"),
    0x0C: (text(b"a") + bytes(range(12)),),
    0x0D: (text(b""), text(b"function () {}")),
    0x0E: (text(b"a"),),
    0x0F: (struct.pack("<i", 4 + 6 + 5) + text(b"a") + listed(),),
    0x10: tuple(struct.pack("<i", value) for value in (-(2**31), 2**31 - 1)),
    0x11: tuple(struct.pack("<Q", value) for value in (0, 1, 2**64 - 1)),
    0x12: tuple(struct.pack("<q", value) for value in (-(2**63), 2**63 - 1)),
    0x13: (bytes(16), b"\xff" * 16, bytes.fromhex("01000000000000000000000000003e30")),
    0x7F: (b"",),
    0xFF: (b"",),
}


def document(number: int, *elements: bytes) -> bytes:
    """Return a document with an id and these elements."""
    return listed(b"\x10_id\0" + struct.pack("<i", number), *elements)


def typed() -> list[bytes]:
    """Return documents with each value of each type: as a field, within a document and an array, and all in one."""
    documents: list[bytes] = []
    for kind, values in ELEMENTS.items():
        for value in values:
            field, item = bytes([kind]) + b"v\0" + value, bytes([kind]) + b"0\0" + value
            documents.append(document(len(documents), b"\x02before\0" + text(b"x"), field, b"\x08after\0\1"))
            documents.append(document(len(documents), b"\x03in\0" + listed(field), b"\x04list\0" + listed(item)))
    every = [bytes([kind]) + f"f{kind}\0".encode() + values[0] for kind, values in ELEMENTS.items()]
    documents.append(document(len(documents), *every))
    # Names that paths cannot say, and one name twice.
    documents.append(document(len(documents), b"\x0a\0", b"\x0aa.b\0", b"\x0a$c\0", b"\x11a.$d\0" + bytes(8)))
    documents.append(document(len(documents), b"\x10a\0\1\0\0\0", b"\x10a\0\2\0\0\0"))
    return documents


def insert(database: Any, name: str, documents: list[bytes]) -> None:
    """Insert documents as they are; empty timestamps by an update, since an insertion changes them."""
    for content in documents:
        raw = RawBSONDocument(content)
        database.command({"insert": name, "documents": [raw], "bypassDocumentValidation": True})
        if content not in stored(database, name):
            update = {"q": {"_id": raw["_id"]}, "u": [{"$replaceWith": {"$literal": raw}}]}
            database.command({"update": name, "updates": [update], "bypassDocumentValidation": True})


def stored(database: Any, name: str) -> list[bytes]:
    """Return the documents of a collection as the server stores them, in its order."""
    options = database.codec_options.with_options(document_class=RawBSONDocument)
    return [bytes(found.raw) for found in database.get_collection(name, options).find({}, sort=[("$natural", 1)])]


def test_values_of_every_type_come_back_byte_for_byte(
    mongodb_database: MongoDatabase, tmp_path: Path, mongodb_empty_database: MongoDatabase
) -> None:
    """Every type of BSON, deprecated ones and the timestamp that servers replace included, wherever it stands."""
    documents = typed()
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        database = client.get_default_database()
        insert(database, "typed", documents)
        before = stored(database, "typed")
        assert sorted(before) == sorted(documents)
    _there_and_back(mongodb_database, mongodb_empty_database, tmp_path)
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        assert sorted(stored(client.get_default_database(), "typed")) == sorted(before)


@pytest.mark.long
def test_every_kind_of_collection_comes_back(
    mongodb_database: MongoDatabase, tmp_path: Path, mongodb_empty_database: MongoDatabase
) -> None:
    """Capped and clustered collections, time series, views of each other, functions: documents, options and indexes."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        _every_kind(client.get_default_database())
    result = _there_and_back(mongodb_database, mongodb_empty_database, tmp_path)
    assert "capped collections know none: capped" in result
    assert mongodb_content(mongodb_empty_database) == mongodb_content(mongodb_database)
    for name in ("capped", "system.buckets.series", "system.js"):
        with (
            pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as old,
            pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as new,
        ):
            expected = stored(old.get_default_database(), name)
            assert expected
            assert stored(new.get_default_database(), name) == expected


def _every_kind(database: Any) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    database.create_collection("capped", capped=True, size=40_960, max=100)
    # More than fit, so that the order is not that of the ids.
    database.capped.insert_many([{"_id": 7 * number % NUMBER, "n": number} for number in range(NUMBER)])
    database.create_collection(
        "series",
        timeseries={"timeField": "at", "metaField": "of", "granularity": "minutes"},
        expireAfterSeconds=86_400 * 30,
    )
    database.series.insert_many(
        [
            {"at": now - timedelta(seconds=number), "of": number % 3, "v": number / 7, f"f{number % 4}": "x"}
            for number in range(NUMBER)
        ]
    )
    database.series.create_index([("of", 1), ("at", -1)])
    database.create_collection(
        "clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "own"}, expireAfterSeconds=86_400 * 30
    )
    database.clustered.insert_many([{"_id": now + timedelta(seconds=number)} for number in range(10)])
    database.create_collection("collated", collation={"locale": "sv", "strength": 1})
    # Each index says by itself that it has no collation; the server does not tell that of it.
    plain = {"locale": "simple"}
    database.collated.create_index([("a", "text")], weights={"a": 3}, default_language="swedish", collation=plain)
    database.collated.create_index([("d", 1)], collation=plain)
    database.collated.create_index([("b.$**", 1)], partialFilterExpression={"c": {"$gt": bson.Int64(5)}})
    database.create_collection(
        "checked", validator={"a": {"$regex": bson.Regex("^x", "i")}, "b": {"$ne": bson.Decimal128("1.10")}}
    )
    database.create_collection("empty")
    database.create_collection("view", viewOn="view_of_series", pipeline=[{"$match": {"v": {"$gt": 1.5}}}])
    database.create_collection("view_of_series", viewOn="series", pipeline=[{"$project": {"_id": 0}}])
    database["system.js"].insert_one({"_id": "one", "value": bson.Code("function () { return 1 }")})


def _there_and_back(source: MongoDatabase, target: MongoDatabase, folder: Path) -> str:
    result = notifications(source, "backup", folder / "x.backup")
    assert result.exit_code == 0, result.output
    restored = notifications(target, "restore", folder / "x.backup")
    assert restored.exit_code == 0, restored.output
    return result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encryptedFields": {"fields": []}}, "x is a collection with encryptedFields"),
        ({"validator": {"a": RawBSONDocument(listed(b"\x0e$eq\0" + text(b"symbol")))}}, "of x have values"),
    ],
)
def test_a_collection_that_cannot_come_back_is_refused_at_the_backup(
    mongodb_database: MongoDatabase, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    """Options that this version does not know are named in one line, and no file says that it is whole."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        client.get_default_database().command({"create": "x", **options})
    result = notifications(mongodb_database, "backup", tmp_path / "x.backup")
    assert told in one_line(result)
    assert list(tmp_path.iterdir()) == []
