"""Pauses between attempts."""

from __future__ import annotations

from chassis.watching.pauses import FIRST_PAUSE, LONGEST_PAUSE, pause


def test_pauses_double_up_to_the_longest_and_differ() -> None:
    """So that a thousand processes do not come back at once, nor a long outage makes one wait for minutes."""
    for failures in range(2_000):
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
        assert longest / 2 <= pause(failures) <= longest
    assert len({pause(3) for _ in range(20)}) > 1
