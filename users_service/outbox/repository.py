"""All SQL on ``outbox``.

``available_at`` says when an entry may be taken, whether it is new, failed or leased: one index serves all three.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.ids import new_id
from users_service.mysql.driver_text import marked
from users_service.outbox.model import OutboxEntry, Waiting
from users_service.tables import outbox

# Entries that are counted at most: a scrape must not take longer the longer the other service is away.
BACKLOG_COUNTED: Final = 10_000

_SHOWN: Final = tuple(
    outbox.c[name] for name in ("id", "kind", "payload", "attempts", "created_at", "available_at", "leased_until")
)


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
async def waiting(connection: AsyncConnection, kind: str | None, tried: int, limit: int) -> list[Waiting]:
    """Return up to ``limit`` entries of a kind, or of any, that were tried at least so often, those due first."""
    statement = (
        select(*_SHOWN)
        .where(*_chosen((), kind, tried))
        .with_hint(outbox, "FORCE INDEX (idx_available_at)", "mysql")
        .order_by(outbox.c.available_at)
        .limit(limit)
    )
    return [_waiting(row) for row in await connection.execute(statement)]


@named
async def get(connection: AsyncConnection, id_: str) -> Waiting | None:
    """Return an entry, or None where it is done or never was."""
    row = (await connection.execute(select(*_SHOWN).where(outbox.c.id == id_))).one_or_none()
    return None if row is None else _waiting(row)


@named
async def make_due(
    connection: AsyncConnection, ids: Collection[str], kind: str | None, tried: int, *, now: datetime
) -> int:
    """Let entries be tried at once; return how many. One that a relay holds is left to it."""
    free = or_(outbox.c.leased_until.is_(None), outbox.c.leased_until <= now)
    statement = update(outbox).where(*_chosen(ids, kind, tried), free).values(available_at=now, leased_until=None)
    return (await connection.execute(statement)).rowcount


@named
async def cancel(connection: AsyncConnection, ids: Collection[str], kind: str | None, tried: int) -> int:
    """Forget entries, whoever holds them; return how many there were."""
    return (await connection.execute(delete(outbox).where(*_chosen(ids, kind, tried)))).rowcount


def _chosen(ids: Collection[str], kind: str | None, tried: int) -> list[ColumnElement[bool]]:
    conditions = [outbox.c.attempts >= tried]
    if ids:
        conditions.append(outbox.c.id.in_(ids))
    return conditions if kind is None else [*conditions, outbox.c.kind == kind]


def _waiting(row: Row[Any]) -> Waiting:
    payload = _payload(row.payload)
    about = next((payload[name] for name in ("verification_id", "notice", "user_id") if name in payload), "")
    leased_until = None if row.leased_until is None else utc(row.leased_until)
    return Waiting(row.id, row.kind, str(about), row.attempts, utc(row.created_at), utc(row.available_at), leased_until)


@named
async def count(connection: AsyncConnection) -> int:
    """Count the entries that wait."""
    return (await connection.execute(select(func.count()).select_from(outbox))).scalar_one()
