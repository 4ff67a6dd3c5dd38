"""Bringing a database to a step: up, down, and saying where it stands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chassis.migrations import Limits, MigrationRefused, WouldLock
from notifications_service import documents, retention
from notifications_service.migrations.lock import lock
from notifications_service.migrations.online import Online
from notifications_service.migrations.steps import Step, load

COLLECTION: Final = "migrations"
# Seconds that a process waits for another one that migrates.
PATIENCE: Final = 120.0
_DEFAULT: Final = Limits()

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Status:
    """One step and when it was applied; ``changed``: its file is not the one that was applied."""

    step: Step
    applied_at: datetime | None
    changed: bool


class Runner:
    """Carries out steps on one database and records them in the collection ``migrations``."""

    def __init__(self, database: Any, report: Report, patience: float = PATIENCE, limits: Limits = _DEFAULT) -> None:
        self._database = database
        # What steps are given.
        self._online = database if limits.allow_locking else Online(database, limits)
        self._records = database[COLLECTION]
        self._report = report
        self._patience = patience
        self._steps = load()

    async def up(self, retention_days: int, target: int | None = None) -> int:
        """Apply what is missing, up to ``target``, then the retention; return how many steps were applied.

        Raises ``Locked`` when another process migrates for too long, ``MigrationRefused`` where a big collection
        would not bear a step.
        """
        async with lock(self._database, self._patience):
            applied = await self._applied()
            last = len(self._steps) if target is None else target
            missing = [step for step in self._steps if step.number not in applied and step.number <= last]
            for step in missing:
                await self._carry_out(step, step.up)
                await self._records.insert_one(_record(step))
                self._report(f"applied {step.title}")
            await self._retain(retention_days)
        return len(missing)

    async def down(self, target: int | None = None) -> int:
        """Take back every applied step above ``target`` (None: the last one), newest first; return how many."""
        async with lock(self._database, self._patience):
            applied = await self._applied()
            if target is None:
                target = max(applied, default=1) - 1
            surplus = [step for step in reversed(self._steps) if step.number in applied and step.number > target]
            for step in surplus:
                await self._carry_out(step, step.down)
                await self._records.delete_one({"_id": step.number})
                self._report(f"took back {step.title}")
        return len(surplus)

    async def status(self) -> list[Status]:
        """Return every step in order with what is recorded of it."""
        applied = await self._applied()
        return [_status(step, applied.get(step.number)) for step in self._steps]

    async def _carry_out(self, step: Step, work: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await work(self._online)
        except WouldLock as reason:
            raise MigrationRefused(f"step {step.title}", reason) from None

    async def _applied(self) -> dict[int, dict[str, Any]]:
        return {record["_id"]: record async for record in self._records.find()}

    async def _retain(self, days: int) -> None:
        if not await self._applied():
            return
        before = await retention.stored_seconds(self._database[documents.COLLECTION])
        if before != days * retention.DAY:
            await retention.store(self._database, days)
            was = "none" if before is None else f"{before / retention.DAY:g}"
            self._report(f"retention: {was} → {days} days")


def _record(step: Step) -> dict[str, Any]:
    return {"_id": step.number, "name": step.name, "checksum": step.checksum, "appliedAt": documents.now()}


def _status(step: Step, record: dict[str, Any] | None) -> Status:
    if record is None:
        return Status(step, None, changed=False)
    return Status(step, record["appliedAt"], changed=record["checksum"] != step.checksum)
