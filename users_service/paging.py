"""Where a page of a list ends (AIP-158): by time of creation, then by id, be the last row readable or not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from chassis.contract.keyset import TimeAndId
from users_service.mysql.rows import key

# The first time that a TIMESTAMP can hold.
_FIRST: Final = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
_FROM_WRONG_BYTES_ON: Final = re.compile("[\ud800-\udfff].*", re.DOTALL)
_LAST_CHARACTER: Final = "\U0010ffff"


def key_of(row: Any, *, descending: bool) -> TimeAndId | None:
    """Return the key behind a row (of ``created_at`` and ``id``); None where nothing readable can follow."""
    if not isinstance(row.created_at, datetime):
        # A time that does not exist comes before all others: behind it is nothing readable, or everything.
        return None if descending else (_FIRST, "")
    # An id with wrong bytes lies between what comes before them and the same with the last of all characters.
    return row.created_at, _FROM_WRONG_BYTES_ON.sub("" if descending else _LAST_CHARACTER, key(row.id))
