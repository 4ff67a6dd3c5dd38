"""Page tokens of the feed (AIP-158): a position, bound to the user and the filter of the list."""

from __future__ import annotations

import hashlib

from bson import ObjectId
from vibework.notifications.v1.notification_service_pb2 import ListNotificationsRequest

from chassis.contract.pagetokens import InvalidPageToken, PageTokens
from notifications_service.feed.repository import Position


class FeedPages:
    """Issues and reads the tokens of ListNotifications."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def after(self, request: ListNotificationsRequest) -> Position | None:
        """Return where the page asked for begins; None for the first.

        Raises InvalidPageToken or PageTokenFilterMismatch.
        """
        if not request.page_token:
            return None
        position = self._tokens.read(request.page_token, _list_of(request))
        try:
            milliseconds, key = position
            return int(milliseconds), ObjectId(key)
        except (TypeError, ValueError):
            # Of an earlier version of this service, which put something else into it.
            raise InvalidPageToken from None

    def token(self, request: ListNotificationsRequest, position: Position | None) -> str:
        """Return the token of the page after ``position``; empty when there is none."""
        if position is None:
            return ""
        milliseconds, key = position
        return self._tokens.issue(_list_of(request), (milliseconds, str(key)))


def _list_of(request: ListNotificationsRequest) -> bytes:
    # An absent filter and an empty one are the same list; size, mask and total may change from page to page.
    return hashlib.sha256(f"{request.user_id}\0".encode() + request.filter.SerializeToString()).digest()
