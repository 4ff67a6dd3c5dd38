"""Coalescing of point reads: batches, isolation of waiters, and storms of cancellation."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from chassis.batching import coalesce, lull
from chassis.batching.coalesce import CROWD, Coalescer
from chassis.batching.lull import Lull
from chassis.context import calls, deadline
from chassis.errors import DatabaseUnavailable
from tests.harness.patience import PATIENCE_SECONDS


class Table:
    """A table that remembers which keys each query asked for, and answers when told to."""

    def __init__(self, *, held: bool = False) -> None:
        self.queries: list[list[int]] = []
        self.most_at_once = 0
        self.running = 0
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def fetch(self, keys: list[int]) -> dict[int, str]:
        """Answer the even keys."""
        self.queries.append(keys)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            return {key: str(key) for key in keys if key % 2 == 0}
        finally:
            self.running -= 1


async def test_calls_of_one_turn_share_a_query_and_a_key() -> None:
    """Calls that arrive together cost one query, and equal keys one place in it."""
    table = Table()
    coalescer = Coalescer(table.fetch)
    found = await asyncio.gather(*(coalescer.get(key) for key in (2, 4, 2, 3)))
    assert found == ["2", "4", "2", None]
    assert table.queries == [[2, 4, 3]]


async def test_keys_gather_only_once_calls_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone call is not kept waiting; behind a query for a crowd, those of the next moments share one."""
    # By the looks of the lull and not by the clock: a machine that is busy would end it between two calls.
    monkeypatch.setattr(lull, "monotonic", itertools.count(step=0.000_01).__next__)
    table = Table()
    coalescer = Coalescer(table.fetch, max_in_flight=1)

    async def one_by_one(*keys: int) -> list[str | None]:
        waiters = []
        for key in keys:
            waiters.append(coalescer.get(key))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return list(await asyncio.gather(*waiters))

    await coalescer.get(2)
    assert await one_by_one(4) == ["4"]
    assert table.queries == [[2], [4]]
    crowd = list(range(10, 10 + 2 * CROWD, 2))
    await asyncio.gather(*map(coalescer.get, crowd))
    assert await one_by_one(40, 42, 44) == ["40", "42", "44"]
    assert table.queries == [[2], [4], crowd, [40, 42, 44]]


async def test_a_crowd_is_one_also_when_each_of_its_queries_is_small() -> None:
    """Small queries side by side do not hide how many calls there are: keys that follow gather all the same."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch, max_in_flight=2)
    waiters = []
    for key in (2, 4):
        waiters.append(coalescer.get(key))
        await asyncio.sleep(0.01)
    crowd = list(range(10, 10 + 2 * CROWD, 2))
    waiters += map(coalescer.get, crowd)
    table.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for key in (40, 42, 44):
        waiters.append(coalescer.get(key))
        await asyncio.sleep(0)
    await asyncio.gather(*waiters)
    assert table.queries == [[2], [4], [*crowd, 40, 42, 44]]


async def test_batches_and_queries_at_once_are_limited() -> None:
    """However many calls wait, the database sees few queries of a bounded size."""
    table = Table()
    coalescer = Coalescer(table.fetch, max_batch=8, max_in_flight=2)
    found = await asyncio.gather(*(coalescer.get(key) for key in range(100)))
    assert found == [str(key) if key % 2 == 0 else None for key in range(100)]
    assert max(map(len, table.queries)) == 8
    assert table.most_at_once == 2


async def test_a_full_query_waits_for_no_lull() -> None:
    """In a crowd keys gather for more to come; where no more fit, the query starts at once."""
    table = Table()
    coalescer = Coalescer(table.fetch, max_batch=2 * CROWD, max_in_flight=1)
    await asyncio.gather(*map(coalescer.get, range(2 * CROWD)))
    waiters = [coalescer.get(key) for key in range(100, 100 + 2 * CROWD)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert table.queries[1:] == [list(range(100, 100 + 2 * CROWD))]
    await asyncio.gather(*waiters)
    assert len(table.queries) == 2


async def test_the_key_that_fills_a_query_starts_it() -> None:
    """Also where it is the first to come when a query may start again."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch, max_batch=2 * CROWD, max_in_flight=1)
    waiters: list[asyncio.Future[str | None]] = []

    async def ask_again() -> None:
        await coalescer.get(0)
        waiters.append(coalescer.get(99 + 2 * CROWD))

    caller = asyncio.ensure_future(ask_again())
    await asyncio.sleep(0.01)
    waiters += [coalescer.get(key) for key in range(100, 99 + 2 * CROWD)]
    table.gate.set()
    await caller
    await asyncio.sleep(0)
    assert table.queries == [[0], list(range(100, 100 + 2 * CROWD))]
    await asyncio.gather(*waiters)


async def test_no_lull_is_waited_for_while_no_query_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that outlived the query that runs would cut the next one short."""
    lulls: list[Lull] = []

    def begin(*arguments: Any) -> Lull:
        lulls.append(Lull(*arguments))
        return lulls[-1]

    monkeypatch.setattr(coalesce, "Lull", begin)
    table = Table(held=True)
    coalescer = Coalescer(table.fetch, max_batch=2 * CROWD, max_in_flight=1)
    waiters = [coalescer.get(key) for key in range(2 * CROWD)]
    await asyncio.sleep(0.01)
    table.gate.set()
    await waiters[0]
    table.gate.clear()
    waiters += [coalescer.get(key) for key in range(100, 101 + 2 * CROWD)]
    await asyncio.sleep(0.01)
    assert [len(keys) for keys in table.queries] == [2 * CROWD, 2 * CROWD]
    assert len(lulls) == 1, "the first of the second query's keys waited for more, and no other"
    table.gate.set()
    await asyncio.gather(*waiters[:-1])


async def test_a_full_query_is_sent_before_the_callers_of_the_last_one_go_on() -> None:
    """What they do then takes time, in which the database would have nothing to do."""
    told: list[str] = []
    gate = asyncio.Event()

    async def send(keys: list[int]) -> None:
        told.append(f"sent {keys}")

    async def fetch(keys: list[int]) -> dict[int, str]:
        # As PyMongo does where its time is limited.
        await asyncio.create_task(send(keys))
        await gate.wait()
        return {}

    coalescer = Coalescer(fetch, max_batch=2, max_in_flight=1)

    async def call(key: int) -> None:
        await coalescer.get(key)
        told.append(f"answered {key}")

    calls = [asyncio.ensure_future(call(key)) for key in (1, 2, 3, 4)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*calls)
    assert told[:2] == ["sent [1, 2]", "sent [3, 4]"]
    assert sorted(told[2:]) == ["answered 1", "answered 2", "answered 3", "answered 4"]


async def test_a_late_call_does_not_join_a_query_under_way() -> None:
    """A read that starts after a write was acknowledged never gets what was read before it."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch)
    early = asyncio.ensure_future(coalescer.get(2))
    await asyncio.sleep(0.01)
    late = asyncio.ensure_future(coalescer.get(2))
    table.gate.set()
    assert [await early, await late] == ["2", "2"]
    assert table.queries == [[2], [2]]


async def test_an_error_reaches_every_waiter_and_the_next_query_works() -> None:
    """A failed query fails the calls that it served, and no others."""
    fail = True

    async def fetch(keys: list[int]) -> dict[int, str]:
        if fail:
            raise DatabaseUnavailable
        return {key: str(key) for key in keys}

    coalescer = Coalescer(fetch)
    results = await asyncio.gather(coalescer.get(1), coalescer.get(2), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable, DatabaseUnavailable]
    fail = False
    assert await coalescer.get(1) == "1"


async def test_a_query_that_hangs_is_given_up() -> None:
    """A dead connection holds its waiters no longer than the time limit."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch, timeout=0.05)
    with pytest.raises(DatabaseUnavailable):
        await coalescer.get(2)
    assert table.running == 0


async def test_a_cancelled_waiter_takes_nobody_along() -> None:
    """One caller that goes away does not cancel the query that serves others."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch)

    async def read(key: int) -> str | None:
        return await coalescer.get(key)

    tasks = [asyncio.create_task(read(2)) for _ in range(3)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    table.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["2", "2"]


async def test_keys_that_nobody_waits_for_are_not_read() -> None:
    """Calls whose deadline passed in the queue cost the database nothing."""
    table = Table(held=True)
    coalescer = Coalescer(table.fetch, max_in_flight=1)
    first = coalescer.get(2)
    await asyncio.sleep(0.01)
    gone, kept = coalescer.get(4), coalescer.get(6)
    gone.cancel()
    table.gate.set()
    assert [await first, await kept] == ["2", "6"]
    assert table.queries == [[2], [6]]


async def test_a_storm_of_cancellations_loses_no_answer() -> None:
    """Whoever is still there gets the answer to its own key, and the coalescer stays usable."""
    chance = random.Random(7)
    table = Table()
    coalescer = Coalescer(table.fetch, max_batch=16)

    async def read(key: int) -> str | None:
        await asyncio.sleep(chance.random() / 100)
        return await coalescer.get(key)

    keys = [chance.randrange(50) * 2 for _ in range(2_000)]
    tasks = [asyncio.create_task(read(key)) for key in keys]
    doomed = set(chance.sample(range(2_000), 1_000))
    for number in doomed:
        if number % 20 == 0:
            await asyncio.sleep(0)
        tasks[number].cancel()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_SECONDS)
    for number, (key, result) in enumerate(zip(keys, results, strict=True)):
        assert result == str(key) or (number in doomed and isinstance(result, asyncio.CancelledError))
    assert await coalescer.get(2) == "2"
    assert table.running == 0


async def test_a_query_belongs_to_none_of_its_calls() -> None:
    """The query sees its own time limit, not the deadline and the id of the call that came first."""
    seen: list[tuple[str, float | None]] = []

    async def fetch(keys: list[int]) -> dict[int, str]:
        seen.append((calls.request_id(), deadline.remaining()))
        return {}

    calls.enter(calls.Call("/a/b", ((calls.REQUEST_ID_KEY, "abc"),)))
    with deadline.within(0.5):
        await Coalescer(fetch, timeout=3).get(1)
    ((identifier, left),) = seen
    assert identifier == ""
    assert left is not None
    assert 2 < left <= 3
