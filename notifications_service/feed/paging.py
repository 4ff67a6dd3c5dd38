"""Page tokens of the feed (AIP-158)."""

from __future__ import annotations

from bson import ObjectId
from bson.errors import InvalidId

from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import PageTokens
from notifications_service.feed.repository import PageKey


def pages_of_the_feed(tokens: PageTokens) -> Pages[PageKey]:
    """Return the pages of ListNotifications; the time of a row counts in milliseconds, as MongoDB keeps it."""
    return Pages(tokens, lambda position: (position[0], str(position[1])), _position)


def _position(milliseconds: int, id_: str) -> PageKey:
    try:
        return milliseconds, ObjectId(id_)
    except InvalidId as error:
        raise ValueError(str(error)) from None
