"""Quiet hours: weekdays, midnight, clock changes, and spans that follow each other, against a model by the minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifications_service.preferences import quiet_hours, zones
from notifications_service.preferences.model import Preferences, QuietSpan

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NIGHT = QuietSpan(22 * 60, 7 * 60)


def at(text: str) -> datetime:
    """Return a time as MongoDB keeps it."""
    return datetime.fromisoformat(text)


def end(moment: str, *spans: QuietSpan, zone: str = "") -> datetime | None:
    """Return when the quiet hours end that a moment (UTC) is in."""
    return quiet_hours.end_of(Preferences("user", time_zone=zone, quiet_hours=spans), at(moment))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27 21:59:59.999", None),
        ("2026-11-27 22:00", "2026-11-28 07:00"),
        ("2026-11-28 03:30:12.345", "2026-11-28 07:00"),
        ("2026-11-28 06:59:59.999", "2026-11-28 07:00"),
        ("2026-11-28 07:00", None),
    ],
)
def test_a_night_ends_in_the_morning(moment: str, expected: str | None) -> None:
    """A span over midnight: its start is in it, its end is not."""
    assert end(moment, NIGHT) == (expected and at(expected))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        # Friday is the 27th.
        ("2026-11-27 23:00", "2026-11-28 07:00"),
        ("2026-11-28 06:00", "2026-11-28 07:00"),
        ("2026-11-28 23:00", None),
        ("2026-11-27 06:00", None),
    ],
)
def test_a_span_starts_on_its_weekdays(moment: str, expected: str | None) -> None:
    """The night of Friday lasts into Saturday, and Thursday's is not quiet."""
    assert end(moment, QuietSpan(22 * 60, 7 * 60, (5,))) == (expected and at(expected))


def test_a_whole_day_is_a_span() -> None:
    """From 0 to 1,440: until midnight."""
    assert end("2026-11-29 12:00", QuietSpan(0, 1440, (7,))) == at("2026-11-30 00:00")


@pytest.mark.parametrize(
    ("zone", "span", "moment", "expected"),
    [
        # Spring in Berlin: 02:00 is followed by 03:00, at 01:00 UTC.
        ("Europe/Berlin", QuietSpan(150, 300), "2026-03-29 00:59:59", None),
        ("Europe/Berlin", QuietSpan(150, 300), "2026-03-29 01:00", "2026-03-29 03:00"),
        ("Europe/Berlin", QuietSpan(60, 150), "2026-03-29 00:30", "2026-03-29 01:00"),
        ("Europe/Berlin", QuietSpan(121, 179), "2026-03-29 01:00", None),
        # Autumn: 03:00 is followed by 02:00, at 01:00 UTC.
        ("Europe/Berlin", QuietSpan(150, 300), "2026-10-25 00:29:59", None),
        ("Europe/Berlin", QuietSpan(150, 300), "2026-10-25 00:30", "2026-10-25 04:00"),
        ("Europe/Berlin", QuietSpan(60, 150), "2026-10-25 00:45", "2026-10-25 01:30"),
        ("Europe/Berlin", QuietSpan(60, 150), "2026-10-25 01:30", None),
        # A clock change of half an hour, and one at midnight.
        ("Australia/Lord_Howe", QuietSpan(135, 240), "2026-10-03 15:30", "2026-10-03 17:00"),
        ("America/Havana", QuietSpan(30, 120), "2026-03-08 05:00", "2026-03-08 06:00"),
        # A day that was skipped: of the 30th its night alone is left, from the first moment after it.
        ("Pacific/Apia", NIGHT, "2011-12-30 10:00", "2011-12-30 17:00"),
    ],
)
def test_a_clock_change_moves_start_and_end(zone: str, span: QuietSpan, moment: str, expected: str | None) -> None:
    """What is skipped becomes the end of the gap; of what comes twice, the first starts and the second ends."""
    assert end(moment, span, zone=zone) == (expected and at(expected))


def test_spans_that_touch_are_one() -> None:
    """Overlapping and adjoining spans chain to the last end, over days."""
    weekend = (QuietSpan(22 * 60, 7 * 60), QuietSpan(7 * 60, 12 * 60, (6, 7)), QuietSpan(11 * 60, 22 * 60, (6, 7)))
    assert end("2026-11-27 22:30", *weekend) == at("2026-11-30 07:00")


def test_an_unknown_time_zone_is_utc() -> None:
    """A process of an older version does not fail on a zone that a newer one has accepted."""
    assert end("2026-11-27 22:30", NIGHT, zone="Nowhere/Atall") == at("2026-11-28 07:00")


@pytest.mark.parametrize("name", ["../../etc/passwd", "europe/berlin", "Europe", "/etc/localtime", "Europe/Berlin\0"])
def test_only_the_names_of_the_database_are_time_zones(name: str) -> None:
    """No path and no other spelling is one."""
    assert name not in zones.names()


def test_every_time_zone_of_the_database_can_be_read() -> None:
    """What is accepted can be worked with."""
    assert len(zones.names()) > 400
    for name in zones.names():
        assert zones.zone(name).key == name


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ((), False),
        ((NIGHT,), False),
        ((QuietSpan(0, 1440),), True),
        ((NIGHT, QuietSpan(7 * 60, 22 * 60)), True),
        ((NIGHT, QuietSpan(7 * 60, 22 * 60, (1, 2, 3, 4, 5, 6))), False),
        ((QuietSpan(1, 0),), False),
        ((QuietSpan(1, 0), QuietSpan(1439, 1, (1, 2, 3, 4, 5, 6, 7))), True),
        ((QuietSpan(0, 1440, (1, 2, 3, 4, 5, 6)), QuietSpan(0, 1439, (7,))), False),
    ],
)
def test_spans_that_leave_nothing_are_endless(spans: tuple[QuietSpan, ...], expected: bool) -> None:
    """Of a week every minute counts, the last one of Sunday included."""
    assert quiet_hours.are_endless(spans) is expected


def test_a_wait_has_an_end_whatever_is_stored() -> None:
    """Spans that cover everything are refused when they are set; stored ones are waited for piece by piece."""
    moment = at("2026-11-27 12:00")
    until = quiet_hours.end_of(Preferences("user", quiet_hours=(QuietSpan(0, 1440),)), moment)
    assert until == moment + quiet_hours.LONGEST


# Zones, and days on which their clocks change, by an hour, half an hour, at midnight, and by a day.
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Havana": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),
    "America/Sao_Paulo": ("2018-02-18", "2018-11-04"),
    "Pacific/Apia": ("2011-12-30", "2011-12-31"),
    "Asia/Kathmandu": ("2026-01-01", "1985-12-31"),
}


@cache
def moments_of(zone: str, day: str) -> dict[datetime, list[datetime]]:
    """Return when (UTC) a zone's clock shows each minute of the days about a day: once, or twice."""
    moments = dict[datetime, list[datetime]]()
    for number in range(12 * 1_440):
        moment = datetime.fromisoformat(day) - 4 * DAY + number * MINUTE
        shown = moment.replace(tzinfo=UTC).astimezone(zones.zone(zone)).replace(tzinfo=None, fold=0)
        moments.setdefault(shown, []).append(moment)
    return moments


def shown_at(moments: dict[datetime, list[datetime]], minute: datetime) -> list[datetime]:
    """Return when a minute is shown; if never, when the first one after it is."""
    while minute not in moments:
        minute += MINUTE
    return moments[minute]


def quiet_minutes(spans: tuple[QuietSpan, ...], zone: str, day: str) -> set[datetime]:
    """Return the minutes that are quiet: once a span's start was shown, until its end was shown for the last time."""
    moments, quiet = moments_of(zone, day), set[datetime]()
    for days in range(-3, 6):
        start_day = datetime.fromisoformat(day) + days * DAY
        for span in spans:
            if not span.weekdays or start_day.isoweekday() in span.weekdays:
                end_day = start_day if span.end > span.start else start_day + DAY
                begins = shown_at(moments, start_day + span.start * MINUTE)[0]
                ends = shown_at(moments, end_day + span.end * MINUTE)[-1]
                quiet |= {begins + number * MINUTE for number in range((ends - begins) // MINUTE)}
    return quiet


MINUTES = st.one_of(st.integers(0, 240), st.sampled_from([0, 1, 59, 60, 120, 150, 180, 1439]), st.integers(0, 1439))
SPANS = st.lists(
    st.builds(
        QuietSpan, MINUTES, MINUTES, st.lists(st.integers(1, 7), max_size=3, unique=True).map(sorted).map(tuple)
    ).filter(lambda span: span.start != span.end),
    min_size=1,
    max_size=4,
).map(tuple)
PLACES = st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days])


def agrees(spans: tuple[QuietSpan, ...], place: tuple[str, str], minute: int) -> None:
    """Compare with reading the clock minute by minute."""
    quiet = quiet_minutes(spans, *place)
    moment = expected = datetime.fromisoformat(place[1]) + minute * MINUTE
    while expected in quiet:
        expected += MINUTE
    found = quiet_hours.end_of(Preferences("user", time_zone=place[0], quiet_hours=spans), moment)
    # What the model knows of the days that it has read.
    if expected < datetime.fromisoformat(place[1]) + 4 * DAY:
        assert found == (expected if expected > moment else None)


ON_THE_DAYS = st.integers(-1_440, 2 * 1_440)


@given(SPANS, PLACES, ON_THE_DAYS)
@settings(max_examples=25, deadline=None)
@example((QuietSpan(150, 300),), ("Europe/Berlin", "2026-03-29"), 60)
@example((QuietSpan(60, 150),), ("Europe/Berlin", "2026-10-25"), 60)
def test_as_a_clock_on_the_wall_shows_it(spans: tuple[QuietSpan, ...], place: tuple[str, str], minute: int) -> None:
    """Whatever the spans, the zone and the clock change: the minutes that a clock on the wall shows."""
    agrees(spans, place, minute)


@pytest.mark.long
@given(SPANS, PLACES, ON_THE_DAYS)
@settings(max_examples=2_000, deadline=None)
def test_as_a_clock_on_the_wall_shows_it_for_long(
    spans: tuple[QuietSpan, ...], place: tuple[str, str], minute: int
) -> None:
    """The same, for many more."""
    agrees(spans, place, minute)
