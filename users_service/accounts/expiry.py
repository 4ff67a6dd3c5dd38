"""Expiry of provider tokens as stored: in seconds since 1970 here, and in other units by other systems.

What JavaScript's clocks tell are milliseconds, and its libraries store them as they are. Seconds of the years 1 to
9999, and finer units of any time since 1978, are different numbers, so the unit can be told from the number.
"""

from __future__ import annotations

from typing import Final

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND

# Of a second: itself, milliseconds, microseconds, nanoseconds.
_UNITS: Final = (1, 1_000, 1_000_000, 1_000_000_000)


def stored_seconds(stored: int | None) -> int | None:
    """Return a stored time in whole seconds since 1970; None for none, and for one outside of the years 1 to 9999."""
    if stored is None:
        return None
    return next((found for unit in _UNITS if FIRST_SECOND <= (found := stored // unit) <= LAST_SECOND), None)
