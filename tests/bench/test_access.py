"""What refusing a call costs, measured; part of no default run."""

from __future__ import annotations

import pytest

from tests.bench import session_bench
from tests.bench.access_bench import measured

# Microseconds of processor time beyond an ordinary call of the same server.
MOST_BEYOND = 30
# Of the rate of ValidateSession over MySQL, by the processor time of the service.
KEPT = 0.9


@pytest.mark.bench
async def test_a_refused_call_costs_little_more_than_any_other() -> None:
    """A flood of calls that may not be made takes hardly more of the server than calls that may."""
    found = await measured(3_000)
    ordinary = max(found["open"], found["header"])
    assert {
        kind: found[kind] - ordinary for kind in ("denied", "limited") if found[kind] > ordinary + MOST_BEYOND
    } == {}


@pytest.mark.bench
def test_a_session_is_validated_nearly_as_fast_with_a_policy() -> None:
    """The call that everybody makes all the time keeps nine tenths of its rate where callers are asked who they are."""
    assert session_bench.measured(4_000)["ratio"] >= KEPT
