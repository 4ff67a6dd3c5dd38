"""The rows that are measured on."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from tests.bench import plan as planned
from tests.bench.plan import Plan

PLAN = Plan.scaled(0.01, datetime(2026, 1, 31))  # noqa: DTZ001 - stored times are naive, in UTC


def test_users_have_the_numbers_of_rows_that_are_measured() -> None:
    """Heavy users have exactly a thousand rows, recipients none, and all have an owner who exists."""
    owned = Counter(PLAN.owner(number) for number in range(PLAN.notifications))
    assert owned[0] == PLAN.deep_rows
    assert all(owned[user] == planned.HEAVY_ROWS for user in range(1, 1 + PLAN.heavy_users))
    assert all(owned[user] == planned.READER_ROWS for user in PLAN.readers)
    assert not any(owned[user] for user in PLAN.recipients)
    assert max(owned) < PLAN.users


def test_ids_and_times_rise_together() -> None:
    """A later row has the later time and the greater id, as rows made one by one have."""
    numbers = range(0, PLAN.notifications, 97)
    ids = [PLAN.notification_id(number) for number in numbers]
    times = [PLAN.created_at(number) for number in numbers]
    assert ids == sorted(ids)
    assert times == sorted(times)
    assert times[-1] < PLAN.made_at < PLAN.fresh


def test_tokens_have_the_form_of_real_ones() -> None:
    """Two sessions never share a token, and it is as long as the service makes them."""
    tokens = {planned.token(number) for number in range(1_000)}
    assert len(tokens) == 1_000
    assert {len(token) for token in tokens} == {43}
