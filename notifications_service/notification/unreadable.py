"""Unreadable notifications, as conditions that the database can test: stored rows that no answer can show.

Other systems write the same collection, and may bypass its validator. These conditions are the filter of the index
`unreadable`, so the database lists such rows itself, whoever writes them, and counts subtract them
(docs/decisions/0058). Conditions cannot express some defects: `data` nested too deep, a value in it that JSON lacks, a
row larger than a message. These are found when a row is first read, and the row is flagged by the field ``FLAG``.

`messages` converts exactly the other rows; a test compares the two for every type of BSON in every field.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.documents import Type

# True in a row whose content turned out unreadable; removed once it can be read again.
FLAG: Final = "unreadable"

# Numbers of the types of BSON: https://bsonspec.org/spec.html. The driver reads 13 to 15 as text, 6 as nothing, and 12
# as an object with an id, of which a delivery may have any and data none.
_OBJECT_ID, _DATE, _BOOL, _POINTER = 7, 9, 8, 12
_TEXTS: Final = (2, 13, 14, 15)
_NAMES: Final = (2, 14)
_OBJECT: Final = (3,)
_NOTHING: Final = (6, 10)
_TYPES: Final = (*range(1, 20), -1, 127)

# What `google.protobuf.Timestamp` holds, in the whole milliseconds of BSON.
_FIRST: Final = datetime(1, 1, 1)  # noqa: DTZ001
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_000)  # noqa: DTZ001


def _no(field: str, types: Iterable[int]) -> Document:
    """Return the condition that a field has another type. The elements of a list are tested, too: no list is valid."""
    return {field: {"$type": [number for number in _TYPES if number not in types]}}


def _none_of(field: str, values: Iterable[str]) -> list[Document]:
    """Return the condition that a text is none of these, as ranges: the filter of an index allows no negation."""
    ordered = sorted(map(str, values))
    between = [{field: {"$gt": low, "$lt": high}} for low, high in itertools.pairwise(ordered)]
    return [{field: {"$lt": ordered[0]}}, *between, {field: {"$gt": ordered[-1]}}]


def _no_date(field: str) -> list[Document]:
    return [_no(field, (_DATE, *_NOTHING)), {field: {"$lt": _FIRST}}, {field: {"$gt": _LAST}}]


_DATES: Final = (
    *("createdAt", "updatedAt", "seenAt", "readAt", "archivedAt", "sentAt"),
    *("delivery.scheduledAt", "expiresAt"),
)
_REQUIRED: Final = ("userId", "title", "message", "type", "createdAt")

# A row is unreadable where any of these holds.
CONDITIONS: Final[Sequence[Document]] = (
    {FLAG: True},
    *({field: None} for field in _REQUIRED),
    _no("_id", (_OBJECT_ID,)),
    *(_no(field, _TEXTS) for field in ("userId", "title", "message")),
    _no("type", _NAMES),
    *_none_of("type", Type),
    *(_no(field, (*_TEXTS, *_NOTHING)) for field in ("category", "threadKey")),
    _no("data", (*_OBJECT, *_NOTHING)),
    *(_no(field, (_BOOL, *_NOTHING)) for field in ("seen", "read", "archived")),
    *(condition for field in _DATES for condition in _no_date(field)),
    _no("delivery", (*_OBJECT, _POINTER, *_NOTHING)),
    _no("delivery.state", (*_NAMES, *_NOTHING)),
    *_none_of("delivery.state", DeliveryState),
)

# The filter of the index, which queries negate to leave such rows out.
FILTER: Final[Document] = {"$or": list(CONDITIONS)}
PASSED_BY: Final[Document] = {"$nor": list(CONDITIONS)}
