"""Lists that are paged newest first, by `createdAt` and a textual id: their order, their keys and their page tokens."""

from __future__ import annotations

from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import PageTokens
from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from notifications_service.mongodb.codec import Document

ORDER: Final = {"createdAt": -1, "_id": -1}

# Milliseconds since 1970 and id of a row.
RowKey = tuple[int, str]


def key_of(row: Document) -> RowKey:
    """Return the key after which the next rows begin."""
    return int(DatetimeMS(row["createdAt"])), row["_id"]


def go_on(query: Document, after: RowKey | None) -> Document:
    """Return a query that finds only what comes after a key."""
    if after is None:
        return query
    time: Any = DatetimeMS(after[0])
    # Of the key's own millisecond only rows after its id.
    at_once = {"createdAt": time, "_id": {"$not": {"$lt": after[1]}}}
    return query | {"createdAt": query.get("createdAt", {}) | {"$lte": time}, "$nor": [at_once]}


def pages(tokens: PageTokens) -> Pages[RowKey]:
    """Return the pages of such a list."""
    return Pages(tokens, lambda key: key, _position)


def _position(milliseconds: int, id_: str) -> RowKey:
    if not FIRST_SECOND <= milliseconds // 1_000 <= LAST_SECOND:
        raise OverflowError(milliseconds)
    return milliseconds, id_
