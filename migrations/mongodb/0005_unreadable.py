"""The index of what cannot be read, kept by the database; words compared byte for byte; a note for deep content.

The index is empty where no other system writes what is no notification. Rows whose `data` cannot stand in an answer are
noted in the field `unreadable`, which is the first condition of the index.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from datetime import datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

BYTEWISE = {"locale": "simple"}
FEED = [
    ("userId", 1),
    ("createdAt", -1),
    ("_id", -1),
    ("archived", 1),
    ("read", 1),
    ("seen", 1),
    ("type", 1),
    ("category", 1),
]


# Types of BSON by number, all but those that fit: a list of any never does.
def _no(field: str, *fitting: int) -> dict[str, Any]:
    return {field: {"$type": [number for number in (*range(1, 20), -1, 127) if number not in fitting]}}


def _none_of(field: str, *values: str) -> list[dict[str, Any]]:
    between = [{field: {"$gt": low, "$lt": high}} for low, high in itertools.pairwise(values)]
    return [{field: {"$lt": values[0]}}, *between, {field: {"$gt": values[-1]}}]


def _no_date(field: str) -> list[dict[str, Any]]:
    return [_no(field, 9, 6, 10), {field: {"$lt": FIRST}}, {field: {"$gt": LAST}}]


FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_000)  # noqa: DTZ001
TEXTS, NAMES, NOTHING = (2, 13, 14, 15), (2, 14), (6, 10)
DATES = ("createdAt", "updatedAt", "seenAt", "readAt", "archivedAt", "sentAt", "delivery.scheduledAt")
FILTER = {
    "$or": [
        {"unreadable": True},
        *({field: None} for field in ("userId", "title", "message", "type", "createdAt")),
        _no("_id", 7),
        *(_no(field, *TEXTS) for field in ("userId", "title", "message")),
        _no("type", *NAMES),
        *_none_of("type", "email", "in-app", "push"),
        _no("category", *TEXTS, *NOTHING),
        _no("data", 3, *NOTHING),
        *(_no(field, 8, *NOTHING) for field in ("seen", "read", "archived")),
        *(condition for field in DATES for condition in _no_date(field)),
        _no("delivery", 3, 12, *NOTHING),
        _no("delivery.state", *NAMES, *NOTHING),
        *_none_of("delivery.state", "cancelled", "failed", "pending", "sending", "sent", "suppressed"),
    ]
}
LEVELS = 32
DECODED: Any = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
RAW = DECODED.with_options(document_class=RawBSONDocument)
DOCUMENTS = 500


async def up(database: Any) -> None:
    collection = database.notifications
    # A collection made with a collation hands it to its indexes, which then fit no query that compares byte for byte.
    if "collation" in (await collection.index_information()).get("feed", {}):
        await collection.drop_index("feed")
        await collection.create_index(FEED, name="feed", collation=BYTEWISE)
    keys = [("userId", 1), ("_id", 1)]
    await collection.create_index(keys, name="unreadable", partialFilterExpression=FILTER, collation=BYTEWISE)
    await _note(collection)


async def down(database: Any) -> None:
    await database.notifications.drop_index("unreadable")


async def _note(collection: Any) -> None:
    """Look at the `data` of every row, a batch at a time, with as long a rest as each batch took."""
    raw = collection.with_options(codec_options=RAW)
    beyond: dict[str, Any] = {}
    while True:
        started = time.monotonic()
        found = raw.find(beyond, {"data": 1}, sort=[("_id", 1)], limit=DOCUMENTS, hint="_id_")
        rows = [row async for row in found]
        if not rows:
            return
        if wrong := [row["_id"] for row in rows if not _is_readable(row)]:
            await collection.update_many({"_id": {"$in": wrong}}, {"$set": {"unreadable": True}})
        beyond = {"_id": {"$gt": rows[-1]["_id"]}}
        await asyncio.sleep(time.monotonic() - started)


def _is_readable(row: RawBSONDocument) -> bool:
    try:
        data = bson.decode(row.raw, DECODED).get("data")
    except InvalidBSON:
        return False
    # Whatever else is no object is known to the index.
    return not isinstance(data, dict) or _fits(data, LEVELS)


def _fits(value: Any, levels: int) -> bool:
    if isinstance(value, bson.DBRef):
        value = value.as_doc()
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_fits(item, levels - 1) for item in items)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)
