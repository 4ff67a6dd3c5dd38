"""Positions in a primary's log: which includes which, in the notations of both servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users_service.replicas.gtid_sets import NEVER, NOWHERE, Log, parse

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "4350f323-7565-4e59-8763-4b1b83a0ce0e"


@pytest.mark.parametrize(
    ("position", "other", "covered"),
    [
        ("0-1-7", "0-1-7", True),
        ("0-1-8", "0-1-7", True),
        ("0-1-7", "0-1-8", False),
        # A promoted server numbers on in the same domain.
        ("0-2-9", "0-1-8", True),
        ("0-1-9", "1-1-1", False),
        ("0-1-9,1-1-4", "1-1-4,0-1-2", True),
        (f"{UUID}:1-9", f"{UUID}:1-9", True),
        (f"{UUID}:1-10", f"{UUID}:1-9", True),
        (f"{UUID}:1-8", f"{UUID}:1-9", False),
        # A replica that carries out several at once has gaps for a moment.
        (f"{UUID}:1-5:7-9", f"{UUID}:1-6", False),
        (f"{UUID}:1-5:7-9", f"{UUID}:1-5:8", True),
        (f"{UUID}:1-9,\n{OTHER}:1-3", f"{OTHER}:2", True),
        (f"{UUID}:1-9", f"{OTHER}:1", False),
        (f"{UUID}:1-9:red:1-3", f"{UUID}:red:3", True),
        (f"{UUID}:1-9:red:1-3", f"{UUID}:blue:3", False),
        (f"{UUID}:1-9", f"{UUID}:red:3", False),
    ],
)
def test_a_position_covers_another_when_it_has_all_its_transactions(position: str, other: str, covered: bool) -> None:
    """The examples of both manuals, and the cases in between."""
    assert parse(position).covers(parse(other)) is covered


@given(st.sets(st.integers(1, 12), min_size=1), st.sets(st.integers(1, 12), min_size=1))
def test_positions_of_mysql_compare_as_the_sets_that_they_stand_for(mine: set[int], theirs: set[int]) -> None:
    """Whatever the gaps."""
    assert parse(_written(mine)).covers(parse(_written(theirs))) is (theirs <= mine)


def _written(numbers: set[int]) -> str:
    """Write a set as the server does: neighbours as one interval."""
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    return ":".join(
        [UUID, *(f"{low}-{high}" if low < high else str(low) for low, high in zip(starts, ends, strict=True))]
    )


@pytest.mark.parametrize("text", ["nonsense", "1-2", "0-1-x", f"{UUID}:x-y-z"])
def test_what_is_no_position_is_told_apart(text: str) -> None:
    """A server that answers something else must not be taken for one that has everything."""
    try:
        assert not parse(text).covers(parse("0-1-1"))
        assert not parse(text).covers(parse(f"{UUID}:1"))
    except ValueError:
        return


def test_nowhere_has_nothing() -> None:
    """A server without a log covers no position of one that has it."""
    assert not NOWHERE
    assert not NOWHERE.covers(parse("0-1-1"))
    assert parse("0-1-1")


def test_a_log_tells_to_when_a_position_is_complete() -> None:
    """The newest time whose position is reached; never more than is known."""
    log = Log(2)
    assert not log
    log.add(1.0, parse("0-1-5"))
    log.add(2.0, parse("0-1-9"))
    assert [log.complete_to(parse(text)) for text in ("0-1-4", "0-1-5", "0-1-8", "0-1-9")] == [NEVER, 1.0, 1.0, 2.0]
    log.add(3.0, parse("0-1-9"))
    assert log.complete_to(parse("0-1-9")) == 3.0
    assert log.complete_to(parse("0-1-5")) == NEVER


def test_a_log_tells_where_an_old_answer_may_be_from() -> None:
    """The first position noted at a time or later, so that the answer is not older than that."""
    log = Log(3)
    assert log.since(0.0) is None
    for time, text in ((1.0, "0-1-5"), (2.0, "0-1-9"), (3.0, "0-1-12")):
        log.add(time, parse(text))
    found = [log.since(time) for time in (0.5, 1.0, 1.5, 3.0, 3.5)]
    assert [position and position.text for position in found] == ["0-1-5", "0-1-5", "0-1-9", "0-1-12", None]
