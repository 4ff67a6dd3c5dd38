"""Pages of the feed: their keys, their rows, and their tokens (AIP-158)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId, Timestamp
from bson.errors import InvalidId

from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import PageTokens
from notifications_service.mongodb.codec import Document
from notifications_service.notification import as_of, documents
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter

# Milliseconds since 1970 and id of a row. It is no datetime, since the year of a broken row may be out of its range.
PageKey = tuple[int, ObjectId]
# The filter of a page, and the key after which it begins.
PageStart = tuple[Filter, PageKey | None]


def page_key(row: Document) -> PageKey:
    """Return the key after which the next rows begin."""
    created = row["createdAt"]
    return documents.milliseconds(created) if isinstance(created, datetime) else int(created), row["_id"]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order; ``is_last``: none come after them; ``at``: the cluster time of reading, where it is known."""

    rows: list[Document]
    is_last: bool
    at: Timestamp | None = None
    key_of: Callable[[Document], PageKey] = page_key

    @property
    def seen(self) -> AsOf | None:
        """What the read of this page has seen; None where that is not known."""
        return None if self.at is None else as_of.seen_by(self.at, self.rows)

    def end(self, taken: int) -> PageKey | None:
        """Return the key after which the next page begins if this one shows ``taken`` rows; None: there is none."""
        if self.is_last and taken == len(self.rows):
            return None
        return self.key_of(self.rows[taken - 1])


def pages_of_the_feed(tokens: PageTokens) -> Pages[PageKey]:
    """Return the pages of ListNotifications; the time of a row counts in milliseconds, as MongoDB keeps it."""
    return Pages(tokens, lambda position: (position[0], str(position[1])), _position)


def _position(milliseconds: int, id_: str) -> PageKey:
    try:
        return milliseconds, ObjectId(id_)
    except InvalidId as error:
        raise ValueError(str(error)) from None
