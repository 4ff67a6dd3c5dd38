"""Moments at which the clock of a time zone shows a time of day.

Where a clock change skips the time, it is the first moment after the gap; where the clock shows it twice, the caller
says which of the two counts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

# Moments that are remembered, about 2 MB.
_REMEMBERED: Final = 8_192
_SECOND: Final = timedelta(seconds=1)


# Spans and digests of many users are about the same moments; converting one takes longer than all else.
@lru_cache(maxsize=_REMEMBERED)
def moment(shown: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    """Return when a zone's clock shows a time, of two moments the one of that ``fold``; if never, the gap's end."""
    found = shown.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == shown:
        return found
    before, after = sorted(shown.replace(tzinfo=zone, fold=each).astimezone(UTC) for each in (0, 1))
    return _change_between(before, after, zone)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first second at which a zone's clock has changed."""
    old = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
