"""The purge: removes expired rows, in small batches beside live traffic, one process at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.cli import CommandFailed
from chassis.commands.left import Left
from chassis.context.statements import named
from users_service.events import repository as events
from users_service.mysql import locks
from users_service.mysql.database import Database
from users_service.mysql.driver_errors import DEADLOCK, LOCK_WAIT_TIMEOUT, REFERRED_TO, error_number

BATCH: Final = 1_000
# How long one batch may take, and how often it is tried where live traffic locks the rows.
BATCH_SECONDS: Final = 30.0
ATTEMPTS: Final = 5
# AIP-155 leaves the time to the service; the contract says 24 hours.
REQUEST_IDS_KEPT: Final = timedelta(hours=24)
# For so long a watch may be resumed, as the contract says. They go in their order, not by a rule of a column.
EVENTS: Final = "user_events"
EVENTS_KEPT: Final = timedelta(days=7)


class PurgeRunning(CommandFailed):
    """Another process purges this database at this moment."""

    def __init__(self) -> None:
        super().__init__("another process is purging this database")


@dataclass(frozen=True, slots=True)
class Rule:
    """A retention rule: rows of ``table`` are removed once ``column``, which leads an index, is before the cut-off."""

    table: str
    column: str
    # How long such rows are kept whatever the caller keeps for audit; None: as long as the caller says.
    kept: timedelta | None = None

    def count(self) -> TextClause:
        """Return the statement that counts the rows to remove."""
        return text(f"SELECT COUNT(*) FROM {self.table} WHERE {self.column} < :cut")  # noqa: S608 - fixed names

    def delete(self) -> TextClause:
        """Return the statement that removes a batch, oldest first: along the index, touching no other rows."""
        return text(f"DELETE FROM {self.table} WHERE {self.column} < :cut ORDER BY {self.column} LIMIT :batch")  # noqa: S608

    def single(self) -> TextClause:
        """Return the statement that removes one row."""
        return text(SINGLE.format(table=self.table, column=self.column))

    def next(self) -> TextClause:
        """Return the statement that reads the next ids, in their order."""
        return text(NEXT.format(table=self.table, column=self.column))


RULES: Final = (
    # The replaced tokens of a session go with it (ON DELETE CASCADE).
    Rule("sessions", "expires_at"),
    Rule("sessions", "revoked_at"),
    # Consumed ones expire within a day too.
    Rule("verifications", "expires_at"),
    Rule("attempt_counters", "window_ends_at", kept=timedelta()),
    Rule("idempotency_keys", "created_at", kept=REQUEST_IDS_KEPT),
)

# By id and time, for rows that must be removed one by one.
SINGLE: Final = "DELETE FROM {table} WHERE id = :id AND {column} < :cut"
NEXT: Final = "SELECT id FROM {table} WHERE id > :after AND {column} < :cut ORDER BY id LIMIT :batch"

# Called with the table and the number of rows just removed.
OnBatch = Callable[[str, int], None]


class Purge:
    """Purges the database of the service."""

    def __init__(self, database: Database, *, keep: timedelta, batch: int = BATCH) -> None:
        """``keep``: how long sessions and verifications stay after their end; ``batch``: rows per transaction."""
        self._database = database
        self._keep = keep
        self._batch = batch
        # Rows that the last run left, because tables of other systems refer to them, by table.
        self.left: dict[str, Left] = {}
        self._held: set[tuple[str, str]] = set()

    @named
    async def count(self, now: datetime) -> int:
        """Count the rows that ``run`` would remove."""
        async with self._database.session() as connection:
            counts = [await connection.scalar(rule.count(), {"cut": self._cut(rule, now)}) for rule in RULES]
            return int(sum(counts)) + await events.count_older(connection, now - EVENTS_KEPT)

    async def run(self, now: datetime, on_batch: OnBatch = lambda _table, _rows: None) -> dict[str, int]:
        """Remove what ended before ``now`` less the time kept, and return how many rows of each table that were.

        A row that another system's table refers to is left, counted in ``left``, and holds up no other. Raises
        PurgeRunning.
        """
        self.left, self._held = {}, set()
        removed = dict.fromkeys((*(rule.table for rule in RULES), EVENTS), 0)
        async with self._alone() as connection:
            for rule in RULES:
                async for rows in self._batches(connection, rule, self._cut(rule, now)):
                    removed[rule.table] += rows
                    on_batch(rule.table, rows)
            async for rows in self._events(connection, now - EVENTS_KEPT):
                removed[EVENTS] += rows
                on_batch(EVENTS, rows)
        return removed

    def _cut(self, rule: Rule, now: datetime) -> datetime:
        return now - (self._keep if rule.kept is None else rule.kept)

    async def _batches(self, connection: AsyncConnection, rule: Rule, cut: datetime) -> AsyncIterator[int]:
        rows = self._batch
        while rows == self._batch:
            started = time.monotonic()
            try:
                rows = await _delete(connection, rule.delete(), {"cut": cut, "batch": self._batch})
            except IntegrityError as error:
                if error_number(error) != REFERRED_TO:
                    raise
                async for row in self._one_by_one(connection, rule, cut):
                    yield row
                return
            yield rows
            if rows == self._batch:
                # It rests as long as the batch took, so that the server has at least half of its time for others.
                await asyncio.sleep(time.monotonic() - started)

    async def _events(self, connection: AsyncConnection, cut: datetime) -> AsyncIterator[int]:
        rows = self._batch
        while rows == self._batch:
            started = time.monotonic()
            rows = await _committed(connection, partial(events.remove_older, connection, cut, self._batch))
            yield rows
            if rows == self._batch:
                await asyncio.sleep(time.monotonic() - started)

    async def _one_by_one(self, connection: AsyncConnection, rule: Rule, cut: datetime) -> AsyncIterator[int]:
        """Remove the rows of a rule, going past those that a foreign key of another system's table holds."""
        after = ""
        while ids := await next_ids(connection, rule, {"after": after, "cut": cut, "batch": self._batch}):
            for id_ in ids:
                yield await self._one(connection, rule, id_, cut)
            after = ids[-1]

    async def _one(self, connection: AsyncConnection, rule: Rule, id_: str, cut: datetime) -> int:
        if (rule.table, id_) in self._held:
            # By another rule of the table.
            return 0
        try:
            return await _delete(connection, rule.single(), {"id": id_, "cut": cut})
        except IntegrityError as error:
            if error_number(error) != REFERRED_TO:
                raise
        self._held.add((rule.table, id_))
        self.left.setdefault(rule.table, Left()).add(id_)
        return 0

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[AsyncConnection]:
        name = locks.lock_name("purge", self._database.name)
        async with self._database.session() as connection:
            if not await locks.acquire(connection, name, 0):
                raise PurgeRunning
            try:
                yield connection
            finally:
                # The pool would keep the lock with the connection.
                await connection.rollback()
                await locks.release(connection, name)


@named
async def _delete(connection: AsyncConnection, statement: TextClause, values: dict[str, Any]) -> int:
    async def delete() -> int:
        result: CursorResult[Any] = await connection.execute(statement, values)
        return result.rowcount

    return await _committed(connection, delete)


async def _committed(connection: AsyncConnection, work: Callable[[], Awaitable[int]]) -> int:
    """Carry out a batch and commit it, again where live traffic holds its rows."""
    for attempt in range(ATTEMPTS):
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                rows = await work()
                await connection.commit()
                return rows
        except OperationalError as error:
            await connection.rollback()
            if error_number(error) not in (DEADLOCK, LOCK_WAIT_TIMEOUT) or attempt + 1 == ATTEMPTS:
                raise
        except IntegrityError:
            await connection.rollback()
            raise
    raise AssertionError("the last attempt returns or raises")


@named
async def next_ids(connection: AsyncConnection, rule: Rule, values: dict[str, Any]) -> list[str]:
    """Read the next ids of rows to remove one by one."""
    found = list((await connection.execute(rule.next(), values)).scalars())
    await connection.rollback()
    return found
