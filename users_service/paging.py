"""Page keys of rows (AIP-158): the time that the list is in order of and the id, also of a row that cannot be read."""

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


def key_of(row: Any, *, descending: bool, by: str = "created_at") -> TimeAndId | None:
    """Return the key after a row (of the time ``by`` and ``id``); None where no readable row can follow."""
    time = getattr(row, by)
    if not isinstance(time, datetime):
        # Impossible times sort before all others: after them comes no readable row, or every one.
        return None if descending else (_FIRST, "")
    # An id with wrong bytes sorts after its part before them, and before that part with the last of all characters.
    return time, _FROM_WRONG_BYTES_ON.sub("" if descending else _LAST_CHARACTER, key(row.id))
