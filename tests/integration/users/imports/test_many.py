"""Large imports: few round trips, and the event loop stays with other calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from chassis.context import statements
from chassis.slices import Slices
from chassis.telemetry.queries import Queries
from tests.harness.users import Stubs
from tests.integration.users.imports.coming_in import (
    ALREADY_THERE,
    HASH,
    IMPORTED,
    account,
    imported,
    incoming,
    session,
)
from tests.integration.users.ways_to_sign_in import new_user

# Of one transaction: four look-ups, and a statement for every hundred rows.
MOST_STATEMENTS = 100


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The statements that imports send, by name; not those of the sequencer, which works while they last."""
    sent: Counter[str] = Counter()
    ended = Queries.ended

    def count(self: Queries, *arguments: Any, **options: Any) -> None:
        if (name := statements.current()).startswith(("imports.", "events.record")):
            sent[name] += 1
        ended(self, *arguments, **options)

    monkeypatch.setattr(Queries, "ended", count)
    return sent


async def test_a_thousand_users_take_some_dozens_of_statements(users: Stubs, counted: Counter[str]) -> None:
    """4,000 rows are no 4,000 round trips, nor is a repeat that stores nothing."""
    messages = [incoming(password_hash=HASH, accounts=[account()], sessions=[session()]) for _ in range(1_000)]
    assert set(await imported(users, *messages)) == {IMPORTED}
    assert counted["imports.insert_rows"] >= 40
    assert counted.total() <= MOST_STATEMENTS, counted
    counted.clear()
    assert set(await imported(users, *messages)) == {ALREADY_THERE}
    assert set(counted) == {"imports.find_taken"}
    assert counted.total() <= 40


async def test_one_conflict_costs_no_transaction_for_each_user(users: Stubs, counted: Counter[str]) -> None:
    """Who is refused is found by the look-up; the other 399 are stored together."""
    there = await new_user(users)
    messages = [incoming() for _ in range(400)]
    messages[200].email = there.email
    assert (await imported(users, *messages)).count(IMPORTED) == 399
    assert counted.total() <= 20, counted


async def test_users_are_judged_and_answered_in_slices(users: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between users, other calls have their turn."""
    numbers: list[int] = []
    sliced = Slices.map

    async def noted(self: Slices, convert: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        done = await sliced(self, convert, items)
        numbers.append(len(done))
        return done

    monkeypatch.setattr(Slices, "map", noted)
    assert await imported(users, *(incoming(name="x" * 100) for _ in range(200))) == [IMPORTED] * 200
    assert numbers == [1, 200, 200]
