"""The SQL of attempt counters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import Boolean, ColumnElement, and_, bindparam, case, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from users_service.mysql.compiled import CompiledStatement
from users_service.mysql.session_state import leads_to_vitess
from users_service.tables import attempt_counters as table

# The ends of scopes. The table's key has them in this order, and so rows are locked: whoever floods an account from one
# address waits at the row of that address, and not at that of the account.
ADDRESS: Final = "address"
ACCOUNT: Final = "identifier"


@dataclass(frozen=True, slots=True)
class Counter:
    """The key of a counter and the attempts it allows in a window."""

    scope: str
    subject: bytes
    limit: int

    @property
    def kind(self) -> str:
        """Whose attempts it counts: ``account`` or ``address``."""
        return "address" if self.scope.endswith(f":{ADDRESS}") else "account"


@named
async def increment(
    connection: AsyncConnection, counters: Sequence[Counter], now: datetime, window_ends: datetime
) -> bool:
    """Count one attempt on each counter, in one statement on MySQL; a counter whose window is over begins a new one.

    Returns whether all are within their limits; if not, the transaction must not be committed. The rows stay locked
    until it ends, so attempts on one subject are counted one after the other.
    """
    within = True
    for some in await _at_once(connection, counters):
        values = _values(some) | _limits(some) | {"now": now, "window_ends": window_ends}
        within &= (await _increment(len(some)).on(connection, values)).last_id == 0
    return within


@named
async def exceeded(connection: AsyncConnection, counters: Sequence[Counter]) -> tuple[Counter, datetime] | None:
    """Return the counter over its limit whose window ends last, with that end; None where none is over it."""
    answer = await _exceeded(len(counters)).on(connection, _values(counters) | _limits(counters))
    ends = {scope: utc(end) for scope, end in answer.rows}
    over = [(counter, ends[counter.scope]) for counter in counters if counter.scope in ends]
    return max(over, key=lambda found: found[1], default=None)


@named
async def settle(connection: AsyncConnection, counters: Sequence[Counter], kept: Collection[Counter]) -> None:
    """Take the last attempt back on the counters that are ``kept``, and all attempts on the others."""
    for some in await _at_once(connection, counters):
        keeps = {f"keeps{i}": counter in kept for i, counter in enumerate(some)}
        await _settle(len(some)).on(connection, _values(some) | keeps)


async def _at_once(connection: AsyncConnection, counters: Sequence[Counter]) -> list[Sequence[Counter]]:
    """Divide counters into those of one statement: all of them, but over shards one, in one order for everybody.

    A statement locks the rows of several shards in no order, and no shard sees a deadlock with another one.
    """
    if not await leads_to_vitess(connection):
        return [counters]
    return [[counter] for counter in sorted(counters, key=lambda each: (each.scope, each.subject))]


def _values(counters: Sequence[Counter]) -> dict[str, object]:
    values: dict[str, object] = {}
    for i, counter in enumerate(counters):
        values[f"scope{i}"], values[f"subject{i}"] = counter.scope, counter.subject
    return values


def _limits(counters: Sequence[Counter]) -> dict[str, object]:
    return {f"limit{i}": counter.limit for i, counter in enumerate(counters)}


# Made once for each number of counters: building such a statement takes longer than carrying it out.


@cache
def _increment(number: int) -> CompiledStatement:
    rows = ", ".join(f"(:scope{i}, :subject{i}, 1, :window_ends)" for i in range(number))
    limit = " ".join(f"WHEN :scope{i} THEN :limit{i}" for i in range(number))
    # Assignments take effect from left to right, so the count depends on the window as it was before. The answer of
    # the server includes the value of LAST_INSERT_ID(…), or 0 where it was not called: so it tells without another
    # statement that a counter is over its limit.
    counted = f"IF(attempts < CASE scope {limit} END, attempts + 1, LAST_INSERT_ID(attempts + 1))"
    statement = (
        f"INSERT INTO attempt_counters (scope, subject, attempts, window_ends_at) VALUES {rows} "  # noqa: S608
        f"ON DUPLICATE KEY UPDATE attempts = IF(window_ends_at <= :now, 1, {counted}), "
        "window_ends_at = IF(window_ends_at <= :now, :window_ends, window_ends_at)"
    )
    return CompiledStatement(text(statement))


@cache
def _exceeded(number: int) -> CompiledStatement:
    over = [and_(_is(i), table.c.attempts > bindparam(f"limit{i}")) for i in range(number)]
    return CompiledStatement(select(table.c.scope, table.c.window_ends_at).where(or_(*over)))


@cache
def _settle(number: int) -> CompiledStatement:
    less = case((table.c.attempts > 1, table.c.attempts - 1), else_=0)
    kept = or_(*(and_(_is(i), bindparam(f"keeps{i}", type_=Boolean)) for i in range(number)))
    counted = or_(*(_is(i) for i in range(number)))
    return CompiledStatement(update(table).where(counted).values(attempts=case((kept, less), else_=0)))


def _is(number: int) -> ColumnElement[bool]:
    return and_(table.c.scope == bindparam(f"scope{number}"), table.c.subject == bindparam(f"subject{number}"))
