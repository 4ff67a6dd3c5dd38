"""Expiry of provider tokens: whatever was stored is answered as a time that every client can read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from users_service.accounts.expiry import stored_seconds


@pytest.mark.parametrize("year", [1979, 2026, 2037, 2261])
@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_the_unit_is_told_from_the_number(year: int, unit: int) -> None:
    """Milliseconds of JavaScript, and finer ones, are the time that their writer meant."""
    seconds = int(datetime(year, 6, 1, tzinfo=UTC).timestamp())
    assert stored_seconds(seconds * unit + unit // 2) == seconds


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_stored_number_is_a_time_or_none(stored: int) -> None:
    """No number of the column makes an answer that a JSON client fails on."""
    seconds = stored_seconds(stored)
    assert seconds is None or Timestamp(seconds=seconds).ToJsonString()


@pytest.mark.parametrize("stored", [None, FIRST_SECOND, LAST_SECOND, 0, -1])
def test_seconds_stay_what_they_are(stored: int | None) -> None:
    """What this service stored is not taken for a finer unit, up to the ends of the calendar."""
    assert stored_seconds(stored) == stored
