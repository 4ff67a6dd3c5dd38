"""When digests are due: by the clock of the user's zone, through gaps and folds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications_service.preferences import zones
from notifications_service.preferences.digest_times import next_after
from notifications_service.preferences.model import DigestTime, Mode, Preferences

HOURLY, DAILY, WEEKLY = Mode.DIGEST_HOURLY, Mode.DIGEST_DAILY, Mode.DIGEST_WEEKLY
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca"),
]
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    """Return a time in UTC, as MongoDB keeps it."""
    return datetime.fromisoformat(text)


def due(mode: Mode, since: str, zone: str = "", minute: int | None = None, weekday: int = 0) -> datetime:
    """Return when the first digest after a moment is due."""
    time = None if minute is None else DigestTime(minute, weekday)
    return next_after(Preferences("ann", time_zone=zone, digest_time=time), mode, utc(since))


@pytest.mark.parametrize(
    ("mode", "since", "zone", "minute", "weekday", "expected"),
    [
        (HOURLY, "2026-11-27T12:00:00.001", "", None, 0, "2026-11-27T13:00"),
        (HOURLY, "2026-11-27T12:00", "", None, 0, "2026-11-27T13:00"),
        (HOURLY, "2026-11-27T12:00", "Asia/Kathmandu", None, 0, "2026-11-27T12:15"),
        (DAILY, "2026-11-27T07:00", "", None, 0, "2026-11-27T08:00"),
        (DAILY, "2026-11-27T08:00", "", None, 0, "2026-11-28T08:00"),
        (DAILY, "2026-11-27T07:00", "Europe/Berlin", None, 0, "2026-11-28T07:00"),
        (DAILY, "2026-11-27T07:00", "Europe/Berlin", 0, 0, "2026-11-27T23:00"),
        (WEEKLY, "2026-11-27T07:00", "", None, 0, "2026-11-30T08:00"),
        (WEEKLY, "2026-11-27T07:00", "", 540, 5, "2026-11-27T09:00"),
        (WEEKLY, "2026-11-27T09:00", "", 540, 5, "2026-12-04T09:00"),
        # The gap of Berlin, 02:00 to 03:00: its end.
        (DAILY, "2026-03-28T12:00", "Europe/Berlin", 150, 0, "2026-03-29T01:00"),
        (DAILY, "2026-03-29T01:00", "Europe/Berlin", 150, 0, "2026-03-30T00:30"),
        (HOURLY, "2026-03-29T00:30", "Europe/Berlin", None, 0, "2026-03-29T01:00"),
        # Its fold, 02:00 to 03:00 twice: once a day, at both full hours by the hour.
        (DAILY, "2026-10-24T12:00", "Europe/Berlin", 150, 0, "2026-10-25T00:30"),
        (DAILY, "2026-10-25T00:30", "Europe/Berlin", 150, 0, "2026-10-26T01:30"),
        (HOURLY, "2026-10-24T23:30", "Europe/Berlin", None, 0, "2026-10-25T00:00"),
        (HOURLY, "2026-10-25T00:30", "Europe/Berlin", None, 0, "2026-10-25T01:00"),
        # A day that a zone skipped whole: the first moment after it.
        (DAILY, "2011-12-29T20:00", "Pacific/Apia", 480, 0, "2011-12-30T10:00"),
        (DAILY, "2011-12-30T10:00", "Pacific/Apia", 480, 0, "2011-12-30T18:00"),
        # Half an hour forward, and back.
        (HOURLY, "2026-10-03T15:15", "Australia/Lord_Howe", None, 0, "2026-10-03T15:30"),
        (HOURLY, "2026-04-04T14:45", "Australia/Lord_Howe", None, 0, "2026-04-04T15:30"),
    ],
)
def test_the_hour_of_a_digest(  # noqa: PLR0917
    mode: Mode, since: str, zone: str, minute: int | None, weekday: int, expected: str
) -> None:
    """On the hour, once a day, once a week; through gaps, folds and days that there were not."""
    assert due(mode, since, zone, minute, weekday) == utc(expected)


@given(
    zone=st.sampled_from(ZONES),
    since=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    minute=st.integers(0, 1_439),
    weekday=st.integers(0, 7),
    mode=st.sampled_from([HOURLY, DAILY, WEEKLY]),
)
def test_it_is_the_first_at_which_the_clock_shows_it(
    zone: str, since: datetime, minute: int, weekday: int, mode: Mode
) -> None:
    """Read off the clock minute by minute: it shows the time, or has just skipped it; and no minute before did."""
    preferences = Preferences("ann", time_zone=zone, digest_time=DigestTime(minute, weekday))
    found = next_after(preferences, mode, since)
    assert since < found <= since + timedelta(days=9)
    shown, before = (_shown(zone, each) for each in (found, found - MINUTE))
    if mode is HOURLY:
        assert shown.minute == 0 or _offset(shown) > _offset(before)
        assert found <= since + timedelta(hours=1, minutes=30)
        return
    wanted = shown.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    if shown.replace(tzinfo=None) != wanted.replace(tzinfo=None):
        # The gap's end is after the time, and the minute before it was before.
        assert _offset(shown) > _offset(before)
        assert before.replace(tzinfo=None) < wanted.replace(tzinfo=None) < shown.replace(tzinfo=None)
    if mode is WEEKLY:
        assert shown.isoweekday() == (weekday or 1)


def _shown(zone: str, at: datetime) -> datetime:
    return at.replace(tzinfo=UTC).astimezone(zones.zone(zone))


def _offset(shown: datetime) -> timedelta:
    return shown.utcoffset() or timedelta()
