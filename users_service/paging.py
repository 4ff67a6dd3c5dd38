"""Where a page of a list ends and the next one begins (AIP-158): by time of creation, then by id."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from chassis.contract.pagetokens import PageTokens
from chassis.contract.timestamps import from_micros, micros
from users_service.mysql.rows import key

# (created_at, id) of the last row of the page before.
Position = tuple[datetime, str]

# The first time that a TIMESTAMP can hold.
_FIRST: Final = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
_FROM_WRONG_BYTES_ON: Final = re.compile("[\ud800-\udfff].*", re.DOTALL)
_LAST_CHARACTER: Final = "\U0010ffff"


def position(tokens: PageTokens, token: str, fingerprint: bytes) -> Position | None:
    """Return where a page begins; None: at the start. Raises InvalidPageToken, PageTokenFilterMismatch."""
    if not token:
        return None
    created_at, id_ = tokens.read(token, fingerprint)
    return from_micros(created_at), id_


def token_behind(tokens: PageTokens, fingerprint: bytes, row: Any, *, descending: bool) -> str:
    """Return the token of the page behind a row (of ``created_at`` and ``id``), be the row readable or not."""
    place = _place(row.created_at, row.id, descending=descending)
    return "" if place is None else tokens.issue(fingerprint, [micros(place[0]), place[1]])


def _place(created_at: Any, id_: Any, *, descending: bool) -> Position | None:
    if not isinstance(created_at, datetime):
        # A time that does not exist comes before all others: behind it is nothing readable, or everything.
        return None if descending else (_FIRST, "")
    # An id with wrong bytes lies between what comes before them and the same with the last of all characters.
    return created_at, _FROM_WRONG_BYTES_ON.sub("" if descending else _LAST_CHARACTER, key(id_))
