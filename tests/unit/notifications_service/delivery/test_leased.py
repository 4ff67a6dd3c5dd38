"""Leases: what may be begun under one, beside workers whose clocks are ahead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from notifications_service.delivery import leased
from notifications_service.delivery.leased import CLOCKS_APART, Leased


class Outbox:
    """An outbox in which nothing is due."""

    async def claim(self, *_: Any, **__: Any) -> list[Any]:
        """Claim nothing."""
        return []


@pytest.mark.parametrize("seconds", [1, 6, 30, 60, 600])
async def test_what_is_begun_ends_before_the_clock_that_is_most_ahead_ends_the_lease(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """An attempt may take its time and the clocks may differ: it is over when the first other worker may take it."""
    now = 1_000.0
    monkeypatch.setattr(leased, "monotonic", lambda: now)
    outbox: Any = Outbox()
    batch = Leased(outbox, "email", timedelta(seconds=seconds))
    await batch.claim(100, None)
    apart = min(CLOCKS_APART.total_seconds(), seconds / 6)
    begun = 0.0
    while batch.may_begin:
        begun, now = now, now + seconds / 100
    assert begun + batch.seconds + apart <= 1_000.0 + seconds
    # It is renewed before that comes.
    assert begun >= 1_000.0 + seconds / 3
    assert batch.holds
