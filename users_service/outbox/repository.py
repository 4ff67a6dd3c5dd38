"""All SQL on ``outbox``.

``available_at`` says when an entry may be taken, whether it is new, failed or leased: one index serves all three.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.ids import new_id
from users_service.mysql.driver_text import marked
from users_service.outbox.model import OutboxEntry
from users_service.tables import outbox

# Entries that are counted at most: a scrape must not take longer the longer the other service is away.
BACKLOG_COUNTED: Final = 10_000


@named
async def put(
    connection: AsyncConnection, kind: str, payload: Mapping[str, str], now: datetime, *, available_at: datetime
) -> None:
    """Add a call, to be made at ``available_at`` or later, once this transaction has committed."""
    await connection.execute(
        insert(outbox).values(
            id=new_id("out"), kind=kind, payload=json.dumps(payload), available_at=available_at, created_at=now
        )
    )


@named
async def lease(connection: AsyncConnection, now: datetime, until: datetime, limit: int) -> list[OutboxEntry]:
    """Lease at most ``limit`` due entries, the longest waiting first; no other relay gets them before ``until``.

    Entries that another relay is leasing at this moment are skipped.
    """
    due = (
        select(outbox.c.id, outbox.c.kind, outbox.c.payload, outbox.c.attempts)
        .where(outbox.c.available_at <= now)
        .order_by(outbox.c.available_at)
        .limit(limit)
        # Without the hint a server sorts a backlog of some thousand entries, and locks all of them for each relay.
        .with_hint(outbox, "FORCE INDEX (idx_available_at)", "mysql")
        .with_for_update(skip_locked=True)
    )
    with marked(connection):
        # An entry that cannot be read must not prevent the other calls.
        rows = (await connection.execute(due)).all()
    if rows:
        ids = [row.id for row in rows]
        values = {"attempts": outbox.c.attempts + 1, "available_at": until, "leased_until": until}
        await connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(values))
    return [OutboxEntry(row.id, row.kind, _payload(row.payload), row.attempts + 1, until) for row in rows]


def _payload(text: str) -> dict[str, str]:
    """Return the payload of a call; empty where another system wrote it, so that only this call fails."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@named
async def remove(connection: AsyncConnection, ids: Collection[str]) -> None:
    """Forget entries whose calls succeeded, whoever holds them by now: the calls are idempotent."""
    if ids:
        await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


@named
async def postpone(connection: AsyncConnection, entry: OutboxEntry, available_at: datetime) -> bool:
    """Release an entry, to be tried again later; return False where the lease had expired and another relay has it."""
    statement = (
        update(outbox)
        .where(outbox.c.id == entry.id, outbox.c.leased_until == entry.leased_until)
        .values(available_at=available_at, leased_until=None)
    )
    return (await connection.execute(statement)).rowcount == 1


@named
async def backlog(connection: AsyncConnection) -> tuple[int, datetime | None]:
    """Return the number of entries, at most 10,000, and when the oldest of them was added."""
    some = select(outbox.c.created_at).order_by(outbox.c.available_at).limit(BACKLOG_COUNTED).subquery()
    statement = select(func.count(), func.min(some.c.created_at))
    number, oldest = (await connection.execute(statement)).one()
    return number, None if oldest is None else utc(oldest)


@named
async def count(connection: AsyncConnection) -> int:
    """Count the entries that wait."""
    return (await connection.execute(select(func.count()).select_from(outbox))).scalar_one()
