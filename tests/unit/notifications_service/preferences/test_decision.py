"""What decides whether a message goes out: the order of the rules, by every pair of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from notifications_service.outbox.model import Deferral, Kind, Reason
from notifications_service.preferences import decision
from notifications_service.preferences.decision import (
    RULES,
    Defer,
    Gather,
    Proceed,
    Question,
    Suppress,
    decide,
    mode_of,
)
from notifications_service.preferences.model import ANY, Category, DigestTime, EntryKey, Mode, Preferences, QuietSpan

DOCUMENT = Path(__file__).parents[4] / "docs" / "preferences.md"
NOW = datetime(2026, 11, 27, 12)  # noqa: DTZ001 - as MongoDB keeps times
ON, OFF, HOURLY, DAILY = Mode.ON, Mode.OFF, Mode.DIGEST_HOURLY, Mode.DIGEST_DAILY
# The order of the contract, and what each rule can say.
ORDER: dict[str, tuple[Mode, ...]] = {
    "critical": (ON,),
    "mandatory category": (ON,),
    "entry for channel and category": (ON, OFF, HOURLY),
    "entry for any channel and the category": (ON, OFF),
    "commercial category": (OFF,),
    "entry for the channel and any category": (ON, OFF, HOURLY),
    "entry for any channel and any category": (ON, OFF),
    "default of the category for the channel": (ON, OFF, HOURLY),
    "otherwise": (ON,),
}
KEYS: dict[str, EntryKey] = {
    "entry for channel and category": ("email", "news"),
    "entry for any channel and the category": (ANY, "news"),
    "entry for the channel and any category": ("email", ANY),
    "entry for any channel and any category": (ANY, ANY),
}


DEFAULT = "default of the category for the channel"


def question(said: Mapping[str, Mode], **changed: Any) -> Question:
    """Return the question to which exactly these rules, and the last one, say something."""
    category = Category(
        "news",
        mandatory="mandatory category" in said,
        commercial="commercial category" in said,
        defaults={"email": said[DEFAULT]} if DEFAULT in said else {},
    )
    preferences = Preferences("user", {KEYS[name]: mode for name, mode in said.items() if name in KEYS})
    asked = Question(preferences, category, "email", "critical" in said, Kind.NOTIFICATION, NOW)
    return replace(asked, **changed)


PAIRS = [
    pytest.param({first: one, second: other}, one, id=f"{first} {one} > {second} {other}")
    for first, second in itertools.combinations(ORDER, 2)
    for one in ORDER[first]
    for other in ORDER[second]
]


@pytest.mark.parametrize(("said", "expected"), PAIRS)
def test_of_each_pair_the_first_decides(said: dict[str, Mode], expected: Mode) -> None:
    """For every two rules and all that they can say: the one that comes first in the contract is followed."""
    assert mode_of(question(said)) is expected


def test_the_rules_are_those_of_the_contract() -> None:
    """None is added or moved without the table above."""
    assert list(RULES) == list(ORDER)


def test_the_document_shows_the_rules_in_their_order() -> None:
    """What people read is what the code does; the address comes before, and is the worker's to ask about."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert [name for _, name in rows] == ["suppressed address", *RULES]
    assert [int(number) for number, _ in rows] == list(range(1, len(RULES) + 2))


@pytest.mark.parametrize("key", [("push", "news"), ("email", "other"), ("push", ANY), (ANY, "other")])
def test_an_entry_for_something_else_says_nothing(key: EntryKey) -> None:
    """Another channel's entry, or another category's, does not count."""
    assert mode_of(question({}, preferences=Preferences("user", {key: OFF}))) is ON


def test_a_default_for_another_channel_says_nothing() -> None:
    """A channel that a category does not name is on."""
    assert mode_of(question({}, category=Category("news", defaults={"push": OFF}))) is ON


@pytest.mark.parametrize(("key", "expected"), [(("email", ANY), OFF), ((ANY, ANY), OFF), (("email", "news"), ON)])
def test_without_a_category_only_entries_for_any_count(key: EntryKey, expected: Mode) -> None:
    """What has no category is of none that an entry names."""
    asked = question({}, category=Category(ANY), preferences=Preferences("user", {key: OFF}))
    assert mode_of(asked) is expected


def test_a_deleted_category_keeps_its_rules() -> None:
    """A tombstone holds for what still names it."""
    assert mode_of(question({}, category=Category("news", mandatory=True, deleted_at=NOW))) is ON
    assert mode_of(question({}, category=Category("news", commercial=True, deleted_at=NOW))) is OFF


QUIET = (QuietSpan(11 * 60, 13 * 60),)
END = datetime(2026, 11, 27, 13)  # noqa: DTZ001
DEFER = Defer(END, Deferral.QUIET_HOURS)
SUPPRESS = Suppress(Reason.SUPPRESSED_PREFERENCE)


@pytest.mark.parametrize(
    ("said", "kind", "spans", "expected"),
    [
        ({}, Kind.NOTIFICATION, (), Proceed()),
        ({}, Kind.NOTIFICATION, QUIET, DEFER),
        ({}, Kind.DIGEST, QUIET, DEFER),
        ({"entry for channel and category": OFF}, Kind.NOTIFICATION, QUIET, SUPPRESS),
        ({"mandatory category": ON}, Kind.NOTIFICATION, QUIET, DEFER),
        ({"critical": ON}, Kind.NOTIFICATION, QUIET, Proceed()),
        ({"critical": ON, "entry for channel and category": OFF}, Kind.NOTIFICATION, (), Proceed()),
        ({"entry for any channel and any category": OFF}, Kind.DIRECT, QUIET, Proceed()),
        ({}, Kind.DIRECT, QUIET, Proceed()),
    ],
)
def test_what_is_wanted_waits_for_the_end_of_quiet_hours(
    said: dict[str, Mode], kind: Kind, spans: tuple[QuietSpan, ...], expected: decision.Decision
) -> None:
    """What is off is not kept waiting; what is critical or direct goes through, what is only mandatory does not."""
    asked = question(said, kind=kind)
    assert decide(replace(asked, preferences=replace(asked.preferences, quiet_hours=spans))) == expected


MORNING = DigestTime(8 * 60)
NOON = QuietSpan(11 * 60, 13 * 60)
BY_DAY = {"entry for channel and category": DAILY}
BY_HOUR = {"entry for channel and category": HOURLY}


def at(hour: int, minute: int = 0, day: int = 27) -> datetime:
    """Return a time of the day on which all of this happens."""
    return datetime(2026, 11, day, hour, minute)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("said", "since", "now", "spans", "expected"),
    [
        # It waits for its hour, and goes when that has come, also late.
        (BY_DAY, at(7), at(7), (), Defer(at(8), Deferral.DIGEST)),
        (BY_DAY, at(7), at(7, 59), (), Defer(at(8), Deferral.DIGEST)),
        (BY_DAY, at(7), at(8), (), Gather()),
        (BY_DAY, at(7), at(15), (), Gather()),
        (BY_DAY, at(8), at(8), (), Defer(at(8, day=28), Deferral.DIGEST)),
        (BY_HOUR, at(12, 30), at(12, 30), (), Defer(at(13), Deferral.DIGEST)),
        # Quiet hours win: a digest whose hour is in them goes at their end. What came after it goes with the next.
        (BY_DAY, at(7), at(7), (QuietSpan(7 * 60, 9 * 60),), Defer(at(9), Deferral.DIGEST)),
        (BY_DAY, at(7), at(9), (QuietSpan(7 * 60, 9 * 60),), Gather()),
        (BY_DAY, at(8, 30), at(8, 30), (QuietSpan(7 * 60, 9 * 60),), Defer(at(9, day=28), Deferral.DIGEST)),
        (BY_HOUR, at(10, 30), at(10, 30), (NOON,), Defer(at(13), Deferral.DIGEST)),
        (BY_HOUR, at(11, 30), at(11, 30), (NOON,), Defer(at(13), Deferral.DIGEST)),
        (BY_HOUR, at(11, 30), at(13), (NOON,), Gather()),
        # Quiet hours that were set after its hour was drawn.
        (BY_DAY, at(7), at(12), (NOON,), Defer(at(13), Deferral.QUIET_HOURS)),
        # What must not wait does not.
        (BY_DAY | {"critical": ON}, at(7), at(7), (), Proceed()),
        (BY_DAY | {"mandatory category": ON}, at(7), at(7), (), Proceed()),
        (BY_DAY | {"mandatory category": ON}, at(7), at(12), (NOON,), DEFER),
    ],
)
def test_what_goes_into_a_digest_waits_for_its_hour(
    said: dict[str, Mode], since: datetime, now: datetime, spans: tuple[QuietSpan, ...], expected: decision.Decision
) -> None:
    """By the digest's hour, by quiet hours, and by what goes before both."""
    asked = question(said, since=since, now=now)
    preferences = replace(asked.preferences, quiet_hours=spans, digest_time=MORNING)
    assert decide(replace(asked, preferences=preferences)) == expected


@pytest.mark.parametrize(("now", "expected"), [(at(9), Proceed()), (at(12), DEFER)])
def test_a_digest_itself_waits_for_quiet_hours_alone(now: datetime, expected: decision.Decision) -> None:
    """One that could not be sent at its hour is not kept until the next."""
    asked = question(BY_DAY, kind=Kind.DIGEST, now=now)
    assert decide(replace(asked, preferences=replace(asked.preferences, quiet_hours=(NOON,)))) == expected
    off = question({"entry for channel and category": OFF}, kind=Kind.DIGEST, now=now)
    assert decide(off) == SUPPRESS
