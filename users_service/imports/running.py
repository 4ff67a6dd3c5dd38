"""Importing a whole file: batches in the order of their lines, some at once, and what became of each line."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vibework.errors.v1 import ErrorReason
from vibework.errors.v1.error_reason_pb2 import ERROR_REASON_INVALID_FIELDS
from vibework.users.v1.imported_user_pb2 import ImportedUser

from chassis.errors import Aborted, DeadlineExceeded, ResourceExhausted, Unavailable
from chassis.logs import logging
from users_service.imports.lines import Line, LineProblem, Lines, parse
from users_service.imports.model import ImportOutcome, ImportResult, Refusal
from users_service.imports.service import ImportService

# Batches under way: while the database stores one, the next is read.
AT_ONCE: Final = 2
# Seconds before a batch that failed for now is tried again: a primary that moves takes so long.
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_PASSING: Final = (Unavailable, ResourceExhausted, Aborted, DeadlineExceeded)
# A line that was refused, as the report has it.
RefusedLine = dict[str, Any]

log = logging.get(__name__)


@dataclass
class ImportRun:
    """An import of a file; ``refused`` hears of each line that was refused, ``advance`` of lines that are done.

    ``done``: the number of the last line that is done with all before it.
    """

    imports: ImportService
    refused: Callable[[RefusedLine], None]
    advance: Callable[[int], None]
    validate_only: bool = False
    done: int = 0
    results: Counter[ImportResult] = field(default_factory=Counter)

    async def run(self, lines: Lines) -> None:
        """Import all lines. Raises what the database raises once it stays away; ``done`` then says how far it came."""
        waiting: deque[tuple[list[Line], asyncio.Task[list[ImportOutcome]]]] = deque()
        try:
            while batch := await asyncio.to_thread(lines.batch):
                waiting.append((batch, asyncio.create_task(self._import(batch))))
                if len(waiting) == AT_ONCE:
                    await self._finish(*waiting.popleft())
            while waiting:
                await self._finish(*waiting.popleft())
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def _finish(self, batch: Sequence[Line], task: asyncio.Task[list[ImportOutcome]]) -> None:
        for line, outcome in zip(batch, await task, strict=True):
            self.results[outcome.result] += 1
            if outcome.refusal is not None:
                self.refused(_told(line, outcome.refusal))
        self.done = batch[-1].number
        self.advance(len(batch))

    async def _import(self, batch: Sequence[Line]) -> list[ImportOutcome]:
        parsed = [parse(line) for line in batch]
        outcomes = iter(await self._stored([each for each in parsed if not isinstance(each, LineProblem)]))
        return [_unread(each) if isinstance(each, LineProblem) else next(outcomes) for each in parsed]

    async def _stored(self, users: Sequence[ImportedUser]) -> list[ImportOutcome]:
        for pause in PAUSES:
            try:
                return await self.imports.import_users(users, validate_only=self.validate_only)
            except _PASSING as error:
                log.warning("import waits", reason=error.reason, seconds=pause)
                await asyncio.sleep(pause)
        return await self.imports.import_users(users, validate_only=self.validate_only)


@dataclass(frozen=True, slots=True)
class Unread(Refusal):
    """The refusal of a line that says no user; ``problem``: why, for people."""

    problem: str = ""


def _unread(problem: LineProblem) -> ImportOutcome:
    refusal = Unread("", ERROR_REASON_INVALID_FIELDS, problem.field, problem.text)
    return ImportOutcome("", ImportResult.REFUSED, refusal)


def _told(line: Line, refusal: Refusal) -> RefusedLine:
    told: RefusedLine = {
        "line": line.number,
        "id": refusal.id,
        "reason": ErrorReason.Name(refusal.reason).removeprefix("ERROR_REASON_"),
        "field": refusal.field,
    }
    if isinstance(refusal, Unread):
        told["problem"] = refusal.problem
    return told
