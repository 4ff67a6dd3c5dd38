"""The migration runner: brings a database to a step, up or down, and reports its state.

A step is checked twice: in a dry run before anything is changed (``rehearsal``), and operation by operation while it
runs (``online``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pymongo.errors import OperationFailure

from chassis.commands.cli import CommandFailed
from chassis.commands.migrations import DropRefused, LockLimits, MigrationRefused, Say, WouldLock, WouldLose
from chassis.logs.tracebacks import summary
from chassis.schema import listed
from notifications_service.clock import MillisecondClock
from notifications_service.migrations import ids, indexes, keeping, mending, steps
from notifications_service.migrations.lock import lock
from notifications_service.migrations.online import Online
from notifications_service.migrations.rehearsal import Rehearsal
from notifications_service.migrations.state import (
    RECORDS,
    SERVICE,
    Records,
    indexes_of,
    needed_indexes,
    recorded,
    stand,
    title_of,
)
from notifications_service.migrations.steps import Step
from notifications_service.notification import schema

COLLECTION: Final = RECORDS
# Seconds that a process waits for another one that migrates.
PATIENCE: Final = 120.0
_DEFAULT: Final = LockLimits()
# Errors whose texts name only indexes and collections, and never contain a value.
_TELLING: Final = frozenset({26, 48, 67, 85, 86})


class StepFailed(CommandFailed):
    """A step was not carried out to its end; one line that says where in its file, and why, without any value."""


class ValidatorInTheWay(CommandFailed):
    """An existing collection has a validator that is not ours; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Status:
    """One step and when it was applied; ``changed``: its file is not the one that was applied.

    ``known``: this version has the step; else a newer one has applied it.
    """

    number: int
    name: str
    applied_at: datetime | None
    changed: bool
    known: bool = True

    @property
    def title(self) -> str:
        """Return number and name."""
        return title_of(self.number, {"name": self.name})


class Runner:
    """Carries out steps on one database and records them in the collection ``migrations``."""

    def __init__(
        self,
        database: Any,
        report: Say,
        clock: MillisecondClock,
        *,
        patience: float = PATIENCE,
        limits: LockLimits = _DEFAULT,
    ) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._records = database[COLLECTION]
        self._report = report
        self._patience = patience
        self._steps = steps.load()

    async def up(self, retention_days: int | None, target: int | None = None) -> int:
        """Apply the missing steps up to ``target``, then the retention; return how many steps were applied.

        ``retention_days``: None where it is not set. Where no step is missing, indexes and options that the database
        has lost are put back; a database that is newer than this version stays as it is. Raises ``Locked`` when another
        process migrates for too long, ``MigrationRefused`` where a step would block a big collection,
        ``IndexInTheWay``, ``ValidatorInTheWay``, ``IdInTheWay`` or ``WouldExpire`` before anything is changed, and
        ``StepFailed``.
        """
        async with lock(self._database, self._patience):
            records = await recorded(self._database)
            if max(records, default=0) > len(self._steps):
                return await self._leave_newer(records)
            last = len(self._steps) if target is None else target
            missing = [step for step in self._steps if step.number not in records and step.number <= last]
            await self._check(records, missing, retention_days)
            if not records:
                await ids.convert(self._database, self._report)
            for step in missing:
                await self._carry_out(step, step.up, Online(self._database, self._limits))
                await self._records.insert_one(_record(step, self._clock()))
                self._report(f"applied {step.title}")
            await self._finish(len(records) + len(missing), retention_days)
        return len(missing)

    async def down(self, target: int | None = None, *, drop_data: bool = False) -> int:
        """Take back every applied step above ``target`` (None: the last one), newest first; return how many.

        ``drop_data``: also drop collections that hold documents. Raises as ``up`` does, or ``DropRefused``.
        """
        async with lock(self._database, self._patience):
            records = await recorded(self._database)
            if unknown := self._unknown(records):
                raise CommandFailed(
                    f"step {listed(unknown)} of the database is newer than this version, which cannot take it back: "
                    "use the version that brought it"
                )
            if target is None:
                target = max(records, default=1) - 1
            surplus = [step for step in reversed(self._steps) if step.number in records and step.number > target]
            guarded = Online(self._database, self._limits, keeps_documents=not drop_data)
            if not drop_data:
                await self._refuse_losses(guarded, surplus)
            for step in surplus:
                await self._carry_out(step, step.down, guarded)
                await self._records.delete_one({"_id": step.number})
                self._report(f"took back {step.title}")
        return len(surplus)

    async def status(self) -> list[Status]:
        """Return every step in order with what is recorded of it; those that this version does not know come last."""
        records = await recorded(self._database)
        own = [_status(step, records.get(step.number)) for step in self._steps]
        others = [record for number, record in records.items() if number > len(self._steps)]
        return own + [
            Status(record["_id"], str(record.get("name", "")), record.get("appliedAt"), changed=False, known=False)
            for record in others
        ]

    async def _leave_newer(self, records: Records) -> int:
        state = stand(self._steps, records, await needed_indexes(self._database))
        if problem := state.problem(SERVICE):
            raise CommandFailed(problem)
        self._report(f"step {listed(state.unknown)} of the database is newer than this version: nothing to do")
        return 0

    def _unknown(self, records: Records) -> tuple[str, ...]:
        return tuple(title_of(number, records[number]) for number in records if number > len(self._steps))

    async def _check(self, records: Records, missing: Sequence[Step], retention_days: int | None) -> None:
        """Raise where something prevents the missing steps, before anything is changed."""
        if not records:
            await self._check_others(missing)
            await ids.check(self._database)
        if records or missing:
            found = await indexes_of(self._database, schema.COLLECTION)
            await keeping.check(self._database, found, retention_days, self._clock())

    async def _check_others(self, missing: Sequence[Step]) -> None:
        """Check existing collections of other systems: what the steps would replace, and what would make them fail."""
        rehearsal = Rehearsal(self._database)
        for step in missing:
            await rehearsal.carry_out(step.up)
        for name, index in rehearsal.indexes:
            found = await indexes_of(self._database, name)
            indexes.check(name, index, found)
        await self._refuse_validators(rehearsal.validators)

    async def _refuse_validators(self, wanted: dict[str, Any]) -> None:
        for name, validator in wanted.items():
            there = (await mending.options_of(self._database)).get(name, {}).get("validator")
            if there and there != validator:
                raise ValidatorInTheWay(
                    f"the collection {name} has a validator that is not this service's, which would be replaced. "
                    "Nothing was changed. Take it off (collMod with an empty validator), and run this again"
                )

    async def _finish(self, applied: int, retention_days: int | None) -> None:
        if applied == len(self._steps):
            for repair in await mending.repairs(self._database):
                await self._repair(repair)
        if applied:
            found = await indexes_of(self._database, schema.COLLECTION)
            await keeping.keep(self._database, found, retention_days, self._report, self._clock())

    async def _repair(self, repair: mending.Repair) -> None:
        if repair.carry_out is None:
            self._report(repair.title)
            return
        await repair.carry_out()
        self._report(f"restored {repair.title}")

    async def _refuse_losses(self, guarded: Online, surplus: Sequence[Step]) -> None:
        rehearsal = Rehearsal(self._database)
        for step in surplus:
            await rehearsal.carry_out(step.down)
        full = [name for name in dict.fromkeys(rehearsal.dropped) if await guarded.holds_documents(name)]
        if full:
            raise DropRefused(WouldLose(full))

    async def _carry_out(self, step: Step, work: Callable[[Any], Awaitable[None]], database: Online) -> None:
        try:
            await work(database)
        except WouldLock as reason:
            raise MigrationRefused(f"step {step.title}", reason) from None
        except WouldLose as reason:
            raise DropRefused(reason) from None
        except CommandFailed:
            raise
        except Exception as error:
            where = steps.place_in_steps(error)
            raise StepFailed(f"step {step.title} failed{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say what went wrong; in the server's words where these hold no value of a document or command."""
    if not isinstance(error, OperationFailure):
        return summary(error)
    details = error.details or {}
    words = details.get("errmsg", "") if error.code in _TELLING else details.get("codeName", "")
    return f"MongoDB answered error {error.code} ({words})"


def _record(step: Step, at: datetime) -> dict[str, Any]:
    return {"_id": step.number, "name": step.name, "checksum": step.checksum, "appliedAt": at}


def _status(step: Step, record: dict[str, Any] | None) -> Status:
    if record is None:
        return Status(step.number, step.name, None, changed=False)
    return Status(step.number, step.name, record["appliedAt"], changed=record["checksum"] != step.checksum)
