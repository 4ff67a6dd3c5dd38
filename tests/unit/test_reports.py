"""Tests of the harness's report of a run."""

from __future__ import annotations

from tests.harness.reports import LINES, end_of


def test_of_what_a_test_said_the_end_is_shown() -> None:
    """The last lines are there, whole, and whoever reads them knows that there were others."""
    lines = [f"line {number}\n" for number in range(LINES + 3)]
    assert end_of("".join(lines)) == f"… 3 lines before …\n{''.join(lines[3:])}"
    assert end_of("".join(lines[3:])) == "".join(lines[3:])
    assert end_of("") == ""
