"""Times of digests: on each full hour, or once a day or a week at a time of day, by the clock of a user's time zone.

Where a clock change skips the time of a digest, it is sent at the first moment after the gap; where the clock shows it
twice, a daily or weekly one is sent at the first of them, and an hourly one at both.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from notifications_service.preferences import zones
from notifications_service.preferences.model import DigestTime, Mode, Preferences
from notifications_service.preferences.moments import moment

MONDAY: Final = 1
_HOUR: Final = timedelta(hours=1)
# The time of a day may come on the date before, by a clock change; a date may be skipped whole.
_DAYS: Final = range(-1, 10)


def next_after(preferences: Preferences, mode: Mode, since: datetime) -> datetime:
    """Return when the first digest after ``since`` is due (both UTC, naive)."""
    zone, aware = zones.zone(preferences.time_zone), since.replace(tzinfo=UTC)
    if mode is Mode.DIGEST_HOURLY:
        found = _full_hour_after(zone, aware)
    else:
        found = next(each for each in _daily(preferences, mode, zone, aware) if each > aware)
    return found.replace(tzinfo=None)


def _full_hour_after(zone: ZoneInfo, since: datetime) -> datetime:
    """Return the first moment after ``since`` at which the clock shows a full hour, or has skipped one."""
    while True:
        shown = since.astimezone(zone)
        hour = timedelta(minutes=shown.minute, seconds=shown.second, microseconds=shown.microsecond)
        since = since + (_HOUR - hour)
        then = since.astimezone(zone)
        if (then.minute, then.second) == (0, 0) or _offset(then) > _offset(shown):
            return since


def _offset(shown: datetime) -> timedelta:
    return shown.utcoffset() or timedelta()


def _daily(preferences: Preferences, mode: Mode, zone: ZoneInfo, about: datetime) -> Iterator[datetime]:
    """Yield the times of digests on the days about a moment, in order."""
    at, today = preferences.digest_time or DigestTime(), about.astimezone(zone).date()
    for days in _DAYS:
        day = today + timedelta(days=days)
        if mode is Mode.DIGEST_WEEKLY and day.isoweekday() != (at.weekday or MONDAY):
            continue
        shown = datetime.combine(day, time()) + timedelta(minutes=at.minute)
        yield moment(shown, zone, fold=0)
