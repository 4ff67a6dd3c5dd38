"""The clock of the notifications service: times as MongoDB keeps them."""

from __future__ import annotations

from datetime import UTC, datetime

from notifications_service.clock import in_milliseconds


def test_a_time_is_naive_and_cut_to_whole_milliseconds() -> None:
    """What is answered from memory equals what is read from the database, which keeps no more."""
    clock = in_milliseconds(lambda: datetime(2031, 5, 6, 7, 8, 9, 123_999, tzinfo=UTC))
    assert clock() == datetime(2031, 5, 6, 7, 8, 9, 123_000)  # noqa: DTZ001 - naive, as the driver reads it
