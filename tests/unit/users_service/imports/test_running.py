"""An import of a file goes on in the order of its lines, waits for what passes, and says how far it came."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any, cast

import pytest
from vibework.errors.v1.error_reason_pb2 import ERROR_REASON_EMAIL_TAKEN
from vibework.users.v1.imported_user_pb2 import ImportedUser

from chassis.errors import ConflictRetry, DatabaseUnavailable
from users_service.imports import lines, running
from users_service.imports.lines import Lines
from users_service.imports.model import ImportOutcome, ImportResult, Refusal
from users_service.imports.running import ImportRun
from users_service.imports.service import ImportService

FILE = b'{"id": "a"}\n{"id": "b"}\nnothing\n{"id": "taken"}\n{"id": "c"}\n'


class Imports:
    """Stands in for the service; `fails`: errors of its first calls, one after the other."""

    def __init__(self, *fails: Exception) -> None:
        self.fails = list(fails)
        self.asked: list[list[str]] = []

    async def import_users(self, users: Sequence[ImportedUser], *, validate_only: bool) -> list[ImportOutcome]:
        """Import all but those whose id is taken; the first batch takes longest."""
        assert not validate_only
        self.asked.append([user.id for user in users])
        for _ in range(10 - len(self.asked)):
            await asyncio.sleep(0)
        if self.fails:
            raise self.fails.pop(0)
        return [_outcome(user.id) for user in users]


def _outcome(id_: str) -> ImportOutcome:
    if id_ == "taken":
        return ImportOutcome(id_, ImportResult.REFUSED, Refusal(id_, ERROR_REASON_EMAIL_TAKEN, "email"))
    return ImportOutcome(id_, ImportResult.IMPORTED)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines a batch, and pauses of no time."""
    monkeypatch.setattr(lines, "LINES", 2)
    monkeypatch.setattr(running, "PAUSES", (0.0, 0.0))


def new_run(imports: Imports) -> tuple[ImportRun, list[dict[str, Any]], list[int]]:
    """Make a run; return it with the lists of what is refused and how far it was at each advance."""
    refused: list[dict[str, Any]] = []
    done: list[int] = []
    run = ImportRun(cast("ImportService", imports), refused.append, lambda _: done.append(run.done))
    return run, refused, done


async def test_lines_are_done_in_their_order() -> None:
    """Whoever goes on behind the line that was named leaves none out, though batches are stored at once."""
    run, refused, done = new_run(Imports())
    await run.run(Lines(io.BytesIO(FILE)))
    assert done == [2, 4, 5]
    assert [(each["line"], each["reason"], each["field"]) for each in refused] == [
        (3, "INVALID_FIELDS", ""),
        (4, "EMAIL_TAKEN", "email"),
    ]
    assert run.results == {ImportResult.IMPORTED: 3, ImportResult.REFUSED: 2}


async def test_what_passes_is_waited_for() -> None:
    """A primary that moves, or a conflict with other writers, ends no import."""
    imports = Imports(DatabaseUnavailable(), ConflictRetry())
    run, _, done = new_run(imports)
    await run.run(Lines(io.BytesIO(FILE)))
    assert done == [2, 4, 5]
    assert len(imports.asked) == 5


async def test_a_database_that_stays_away_ends_it_where_it_was() -> None:
    """What is named as done is done, and no task is left behind."""
    run, _, done = new_run(Imports(*[DatabaseUnavailable() for _ in range(9)]))
    with pytest.raises(DatabaseUnavailable):
        await run.run(Lines(io.BytesIO(FILE)))
    assert (run.done, done) == (0, [])
    assert len(asyncio.all_tasks()) == 1
