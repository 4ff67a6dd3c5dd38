"""The SQL of attempt counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.statements import named
from users_service.clock import utc
from users_service.tables import attempt_counters as table


@dataclass(frozen=True, slots=True)
class Counter:
    """The key of a counter and the attempts it allows in a window."""

    scope: str
    subject: bytes
    limit: int


@named
async def increment(
    connection: AsyncConnection, counters: Sequence[Counter], now: datetime, window_ends: datetime
) -> None:
    """Count one attempt on each counter, in one statement; a counter whose window is over begins a new one.

    The rows stay locked until the transaction ends: attempts on one subject pass here one by one.
    """
    rows = ", ".join(f"(:scope{i}, :subject{i}, 1, :window_ends)" for i in range(len(counters)))
    # Assignments take effect from left to right, so the count is decided by the window as it was.
    statement = (
        f"INSERT INTO attempt_counters (scope, subject, attempts, window_ends_at) VALUES {rows} "  # noqa: S608
        "ON DUPLICATE KEY UPDATE attempts = IF(window_ends_at <= :now, 1, attempts + 1), "
        "window_ends_at = IF(window_ends_at <= :now, :window_ends, window_ends_at)"
    )
    values: dict[str, object] = {"now": now, "window_ends": window_ends}
    for i, counter in enumerate(counters):
        values |= {f"scope{i}": counter.scope, f"subject{i}": counter.subject}
    await connection.execute(text(statement), values)


@named
async def exceeded(connection: AsyncConnection, counters: Sequence[Counter]) -> datetime | None:
    """Return when the last window ends of those counters that are over their limit; None where none is."""
    over = [and_(_is(counter), table.c.attempts > counter.limit) for counter in counters]
    ends = (await connection.execute(select(table.c.window_ends_at).where(or_(*over)))).scalars().all()
    return utc(max(ends)) if ends else None


@named
async def settle(connection: AsyncConnection, counter: Counter, *, keep_others: bool) -> None:
    """Take back the attempt just counted, or, unless others are kept, all of them."""
    left = case((table.c.attempts > 1, table.c.attempts - 1), else_=0) if keep_others else 0
    await connection.execute(update(table).where(_is(counter)).values(attempts=left))


def _is(counter: Counter) -> ColumnElement[bool]:
    return and_(table.c.scope == counter.scope, table.c.subject == counter.subject)
