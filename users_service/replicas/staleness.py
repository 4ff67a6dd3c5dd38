"""Bounded staleness: how old an answer may be, as the caller's metadata says; by default as new as the primary's."""

from __future__ import annotations

from typing import Any, Final

from chassis.context import calls

# Request metadata: whole milliseconds.
METADATA_KEY: Final = "vibework-max-staleness-ms"
# Digits of at most about a day; longer numbers are mistakes, and count as that.
_DIGITS: Final = 8


def tolerated() -> float:
    """Return how many seconds behind the primary the call's answer may be; 0 unless its metadata says so.

    A value that is no number is ignored: the answer is then fresher than asked for, never older.
    """
    call = calls.current()
    value: Any = "" if call is None else dict(call.metadata or ()).get(METADATA_KEY, "")
    valid = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS
    return int(value) / 1000 if valid else 0.0
