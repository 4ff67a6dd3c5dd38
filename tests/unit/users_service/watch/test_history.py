"""What follows a place: all of it, or an error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users_service.events.model import Place, PlaceLost, Stretch, UserEvent
from users_service.watch.history import after, near

EPOCH, OTHER = bytes(16), b"x" * 16


def event(seq: int, stamp: int = 0) -> UserEvent:
    """Make an event."""
    return UserEvent(Place(EPOCH, seq, stamp or seq), f"u{seq}", "changed", 1, "", datetime(2026, 1, 1, tzinfo=UTC))


def stretch(first: int, last: int, purged: int = 0) -> Stretch:
    """Make a stretch of events."""
    return Stretch(EPOCH, purged, [event(seq) for seq in range(first, last + 1)])


@pytest.mark.parametrize(
    ("found", "place", "expected"),
    [
        (stretch(1, 3), Place(EPOCH, 0, 0), [1, 2, 3]),
        (stretch(2, 4), Place(EPOCH, 2, 2), [3, 4]),
        (stretch(2, 4), Place(EPOCH, 2, 0), [3, 4]),
        (stretch(2, 2), Place(EPOCH, 2, 2), []),
        # Its event was the last to be purged.
        (stretch(3, 4, purged=2), Place(EPOCH, 2, 2), [3, 4]),
        (Stretch(EPOCH, 2, []), Place(EPOCH, 2, 2), []),
        # Read for another place before it.
        (stretch(2, 6), Place(EPOCH, 4, 4), [5, 6]),
    ],
)
def test_what_follows_a_place_is_found(found: Stretch, place: Place, expected: list[int]) -> None:
    """Without the event of the place itself."""
    assert [each.place.seq for each in after(found, place)] == expected


@pytest.mark.parametrize(
    ("found", "place"),
    [
        (stretch(1, 3), Place(OTHER, 1, 1)),
        (stretch(3, 4, purged=2), Place(EPOCH, 1, 1)),
        (stretch(1, 3, purged=2), Place(EPOCH, 0, 0)),
        (Stretch(EPOCH, 0, [event(2, stamp=99)]), Place(EPOCH, 2, 2)),
        (stretch(3, 4), Place(EPOCH, 2, 2)),
        (Stretch(EPOCH, 0, []), Place(EPOCH, 2, 2)),
        (Stretch(EPOCH, 0, [event(2), event(4)]), Place(EPOCH, 2, 2)),
        (stretch(2, 3), Place(EPOCH, 0, 0)),
    ],
)
def test_what_is_missing_is_never_passed_over(found: Stretch, place: Place) -> None:
    """Another history, what was purged, another event in its place, a gap."""
    with pytest.raises(PlaceLost):
        after(found, place)


@given(st.lists(st.integers(0, 2_000)), st.integers(0, 300))
def test_groups_hold_every_place_once_within_reach(numbers: list[int], reach: int) -> None:
    """So each read serves all of its group."""
    groups = list(near([Place(EPOCH, number, 0) for number in numbers], reach))
    assert sorted(place.seq for group in groups for place in group) == sorted(numbers)
    assert all(group[-1].seq - group[0].seq <= reach for group in groups)
