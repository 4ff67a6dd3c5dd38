"""Writes of many rows, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from chassis.context import deadline
from chassis.errors import (
    CallDeadlineExceeded,
    ConflictRetry,
    DatabaseUnavailable,
    InternalError,
    PoolFull,
    ServiceError,
)
from chassis.pooling import batches
from chassis.pooling.batches import Batch, Batches, Written


class Rows:
    """Rows to write, in batches that each change so many; an error in place of a number is raised."""

    def __init__(self, *outcomes: int | Exception, seconds: float = 0.0) -> None:
        self._outcomes = outcomes
        self._seconds = seconds
        self.begun = 0
        self.closed = False

    async def batches(self) -> Batches:
        """Carry them out."""
        try:
            for number, outcome in enumerate(self._outcomes):
                self.begun += 1
                await asyncio.sleep(self._seconds)
                if isinstance(outcome, Exception):
                    raise outcome
                yield Batch(outcome, is_last=number == len(self._outcomes) - 1)
        finally:
            self.closed = True


async def test_all_batches_are_carried_out_and_their_rows_added_up() -> None:
    """Without a deadline a write ends with its last batch, also where that finds nothing any more."""
    rows = Rows(10, 10, 3, 0)
    assert await batches.write(rows.batches()) == Written(23)
    assert (rows.begun, rows.closed) == (4, True)


class Time:
    """A clock that moves with the batches alone, and the deadline of a call."""

    def __init__(self, deadline: float) -> None:
        self.now = 0.0
        self._until = deadline

    def remaining(self) -> float:
        """Return the seconds left."""
        return self._until - self.now

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bring the deadline forward."""
        self._until = self.now + seconds
        yield


@pytest.mark.parametrize(
    ("took", "begun"),
    [
        # A second is for the answer, and twice the slowest batch must fit before it.
        ([1.0] * 20, 8),
        ([1.0, 3.0, *[1.0] * 20], 2),
        ([0.25] * 100, 35),
    ],
)
async def test_time_that_is_nearly_up_ends_a_write_between_two_batches(
    monkeypatch: pytest.MonkeyPatch, took: Sequence[float], begun: int
) -> None:
    """No batch begins that might not end in time: what was done is answered before the deadline, and counted whole."""
    time = Time(10.0)
    monkeypatch.setattr(batches, "monotonic", lambda: time.now)
    monkeypatch.setattr(batches, "deadline", time)

    async def timed() -> Batches:
        for seconds in took:
            time.now += seconds
            yield Batch(10, is_last=False)

    assert await batches.write(timed()) == Written(10 * begun, incomplete=True)
    assert time.now <= 9.0


@pytest.mark.parametrize("error", [DatabaseUnavailable(), CallDeadlineExceeded(), PoolFull(), ConflictRetry()])
async def test_an_error_that_passes_does_not_hide_what_was_done(error: ServiceError) -> None:
    """Once rows were changed, whoever called learns how many, and calls again."""
    assert await batches.write(Rows(10, 10, error, 10).batches()) == Written(20, incomplete=True)


@pytest.mark.parametrize("outcomes", [[DatabaseUnavailable()], [0, 0, DatabaseUnavailable()]])
async def test_an_error_before_anything_was_done_is_the_answer(outcomes: Sequence[int | Exception]) -> None:
    """Otherwise a database that is away would look like slow progress."""
    with pytest.raises(DatabaseUnavailable):
        await batches.write(Rows(*outcomes).batches())


async def test_a_defect_is_never_taken_for_progress() -> None:
    """An error that does not pass reaches the caller however much was done."""
    with pytest.raises(InternalError):
        await batches.write(Rows(10, InternalError()).batches())


async def test_a_process_that_is_about_to_end_answers_what_was_done() -> None:
    """A write does not hold up the end of a process for longer than a batch takes."""
    rows = Rows(*[10] * 100)
    assert await batches.write(rows.batches(), lambda: rows.begun == 3) == Written(30, incomplete=True)
    assert (rows.begun, rows.closed) == (3, True)


async def test_the_last_batch_is_complete_however_little_time_is_left() -> None:
    """Nobody is told to call again where nothing is left to do."""
    with deadline.within(0.2):
        assert await batches.write(Rows(5, seconds=0.1).batches()) == Written(5)


def test_batches_grow_while_they_are_quick_and_shrink_where_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is small, so that something is acknowledged in time; none is larger than allowed."""
    time = Time(0.0)
    monkeypatch.setattr(batches, "monotonic", lambda: time.now)
    pace, sizes = batches.Pace(2_000), []
    for seconds in (0.1, 0.1, 0.1, 0.1, 0.5, 3.0, 3.0, 3.0, 3.0, 3.0, 0.1):
        sizes.append(pace.size)
        time.now += seconds
        pace.step()
    assert sizes == [250, 500, 1_000, 2_000, 2_000, 2_000, 1_000, 500, 250, 250, 250]
    assert batches.Pace(10).size == 10
