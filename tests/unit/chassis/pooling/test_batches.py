"""Writes of many rows, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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


async def test_time_that_is_nearly_up_ends_a_write_between_two_batches() -> None:
    """No batch begins that might not end in time: what was done is answered before the deadline, and counted whole."""
    rows = Rows(*[10] * 1_000, seconds=0.02)
    with deadline.within(0.4):
        done = await batches.write(rows.batches())
        assert not deadline.has_passed()
    assert done == Written(10 * rows.begun, incomplete=True)
    assert 0 < rows.begun < 1_000
    assert rows.closed


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
