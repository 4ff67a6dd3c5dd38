"""Quiet hours: spans of weekdays in a user's time zone during which nothing is sent.

Where a clock change skips the start or end of a span, the first moment after the gap counts; where the clock shows it
twice, its start is the first and its end the second of them. Spans that overlap or adjoin are one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from notifications_service.preferences import zones
from notifications_service.preferences.model import Preferences, QuietSpan
from notifications_service.preferences.moments import moment

DAY_MINUTES: Final = 1_440
WEEK_MINUTES: Final = 7 * DAY_MINUTES
# A wait is cut here, and asked about anew: spans leave time in every week, which a clock change may skip once.
LONGEST: Final = timedelta(days=21)
# A span starts on the day at hand or the one before; a clock change moves the date by one more.
_DAYS: Final = range(-2, 2)


def end_of(preferences: Preferences, now: datetime) -> datetime | None:
    """Return when the quiet hours end that ``now`` is in (UTC, naive); None: it is in none."""
    if not preferences.quiet_hours:
        return None
    zone, started = zones.zone(preferences.time_zone), now.replace(tzinfo=UTC)
    until, longest = started, started + LONGEST
    while until < longest and (end := _end_beyond(preferences.quiet_hours, zone, until)) is not None:
        until = end
    return None if until == started else min(until, longest).replace(tzinfo=None)


def are_endless(spans: Collection[QuietSpan]) -> bool:
    """Say whether spans leave no minute of the week."""
    quiet = set[int]()
    for span in spans:
        length = (span.end - span.start - 1) % DAY_MINUTES + 1
        for weekday in span.weekdays or range(1, 8):
            start = (weekday - 1) * DAY_MINUTES + span.start
            quiet.update(minute % WEEK_MINUTES for minute in range(start, start + length))
    return len(quiet) == WEEK_MINUTES


def _end_beyond(spans: Sequence[QuietSpan], zone: ZoneInfo, at: datetime) -> datetime | None:
    """Return the last end of the spans that a moment is in."""
    today = at.astimezone(zone).date()
    ends = (end for span in spans for start, end in _around(span, zone, today) if start <= at < end)
    return max(ends, default=None)


def _around(span: QuietSpan, zone: ZoneInfo, today: date) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of a span on the days about ``today`` (UTC)."""
    for days in _DAYS:
        day = datetime.combine(today + timedelta(days=days), time())
        if span.weekdays and day.isoweekday() not in span.weekdays:
            continue
        end = span.end if span.end > span.start else span.end + DAY_MINUTES
        first, second = (day + timedelta(minutes=minutes) for minutes in (span.start, end))
        yield moment(first, zone, fold=0), moment(second, zone, fold=1)
