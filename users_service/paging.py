"""Page keys of rows (AIP-158): time of creation and id, also of a row that cannot be read."""

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
    """Return the key after a row (of ``created_at`` and ``id``); None where no readable row can follow."""
    if not isinstance(row.created_at, datetime):
        # Impossible times sort before all others: after them comes no readable row, or every one.
        return None if descending else (_FIRST, "")
    # An id with wrong bytes sorts after its part before them, and before that part with the last of all characters.
    return row.created_at, _FROM_WRONG_BYTES_ON.sub("" if descending else _LAST_CHARACTER, key(row.id))
