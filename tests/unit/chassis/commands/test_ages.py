"""Ages in options and tables of commands."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest

from chassis.commands.ages import AGE, short

AGES = {"90s": timedelta(seconds=90), "30m": timedelta(minutes=30), "12h": timedelta(hours=12), "7d": timedelta(days=7)}


@pytest.mark.parametrize(("text", "age"), AGES.items())
def test_an_age_is_a_number_and_a_unit(text: str, age: timedelta) -> None:
    """What is typed is what is meant."""
    assert AGE.convert(text, None, None) == age


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1w", "1 d", "1d2h", "\u0661d", "9999999d"])
def test_anything_else_is_refused(text: str) -> None:
    """Of an age that could mean several nothing is guessed: the command cancels by it."""
    with pytest.raises(click.BadParameter, match="as 30m or 7d"):
        AGE.convert(text, None, None)


@pytest.mark.parametrize(
    ("age", "told"),
    [
        (timedelta(seconds=-1), "0s"),
        (timedelta(seconds=59.9), "59s"),
        (timedelta(minutes=59), "59m"),
        (timedelta(hours=23), "23h"),
        (timedelta(days=366), "366d"),
    ],
)
def test_an_age_is_shown_in_its_largest_unit(age: timedelta, told: str) -> None:
    """A table of 80 columns has four characters for it; a clock that is behind makes no negative age."""
    assert short(age) == told
