"""All SQL on ``user_events`` and ``event_sequence``.

An event is written by the transaction of what it tells, without a number. A sequencer numbers those that it sees
committed, in one statement, so that nobody waits for a process that is gone (docs/decisions/0096).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named
from chassis.contract.timestamps import micros
from users_service.events.model import OrderState, Place, Stretch, UserEvent, UserEventKind
from users_service.mysql.commits import note
from users_service.mysql.compiled import CompiledStatement, Row
from users_service.mysql.driver_errors import DEADLOCK, DUPLICATE_KEY, LOCK_WAIT_TIMEOUT, error_number
from users_service.tables import user_events as events

# What ``commits.note`` is told where an event was recorded.
RECORDED: Final = "user_events"
# Events that get their numbers in one statement, at most.
BATCH: Final = 256
# Lists of ids are padded to one of these lengths, so that the server sees few different statements.
_LENGTHS: Final = (1, 4, 16, 64, BATCH)
_OVERTAKEN: Final = frozenset({DUPLICATE_KEY, DEADLOCK, LOCK_WAIT_TIMEOUT})

_NAMES = ("user_id", "kind", "revision", "session_id", "occurred_at")
_INSERT = CompiledStatement(insert(events).values({name: bindparam(name) for name in _NAMES}))


# Each is one statement, and so of one moment: an event that has no number here is pending here, or is committed later.
# The index is named because servers read small tables as a whole, and sort them.
_LOOK = CompiledStatement(
    text(
        f"""
        SELECT s.epoch, s.purged, l.seq, l.sequenced_at, p.id FROM event_sequence s
        LEFT JOIN (
          SELECT seq, sequenced_at FROM user_events FORCE INDEX (uniq_seq)
          WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1
        ) l ON TRUE
        LEFT JOIN (
          SELECT id FROM user_events FORCE INDEX (uniq_seq) WHERE seq IS NULL ORDER BY id LIMIT {BATCH}
        ) p ON TRUE
        WHERE s.id = 1
        """  # noqa: S608 - a constant
    )
)
_FOLLOWING = CompiledStatement(
    text(
        """
        SELECT s.epoch, s.purged, e.seq, e.sequenced_at, e.user_id, e.kind, e.revision, e.session_id, e.occurred_at
        FROM event_sequence s
        LEFT JOIN (
          SELECT seq, sequenced_at, user_id, kind, revision, session_id, occurred_at
          FROM user_events FORCE INDEX (uniq_seq) WHERE seq >= :seq ORDER BY seq LIMIT :most
        ) e ON TRUE
        WHERE s.id = 1
        """
    )
)


def _along_seq(statement: Select[Any]) -> Select[Any]:
    return statement.with_hint(events, "FORCE INDEX (uniq_seq)", "mysql")


def _numbering(length: int) -> CompiledStatement:
    ids = ", ".join(f":id_{number}" for number in range(length))
    # By the primary key: a scan would wait for events of transactions that are still open.
    return CompiledStatement(
        text(
            f"UPDATE user_events FORCE INDEX (PRIMARY) SET seq = :last + FIELD(id, {ids}), "  # noqa: S608 - marks only
            f"sequenced_at = UTC_TIMESTAMP(6) WHERE id IN ({ids}) AND seq IS NULL"
        )
    )


_NUMBER: Final = {length: _numbering(length) for length in _LENGTHS}


@named
async def record(
    connection: AsyncConnection,
    kind: UserEventKind,
    user_id: str,
    revision: int | None,
    now: datetime,
    *,
    session_id: str | None = None,
) -> None:
    """Record what happened to a user, in the transaction that did it, behind the lock of the user's row.

    ``revision``: that of the user afterwards; None where the user is gone.
    """
    values = {
        "user_id": user_id,
        "kind": kind.value,
        "revision": revision,
        "session_id": session_id,
        "occurred_at": now,
    }
    await _INSERT.on(connection, values)
    note(connection, RECORDED)


@named
async def record_all(
    connection: AsyncConnection, kind: UserEventKind, users: Iterable[tuple[str, int]], now: datetime
) -> None:
    """Record that the same happened to several users, of each the id and the revision afterwards; one statement."""
    rows = [
        {"user_id": user_id, "kind": kind.value, "revision": revision, "session_id": None, "occurred_at": now}
        for user_id, revision in users
    ]
    await connection.execute(insert(events), rows)
    note(connection, RECORDED)


@named
async def look(connection: AsyncConnection) -> OrderState | None:
    """Return how far the order goes, and at most ``BATCH`` committed events without a number.

    None where ``event_sequence`` has no row yet.
    """
    rows = (await _LOOK.on(connection, {})).rows
    if not rows:
        return None
    epoch, purged, seq, sequenced_at, _ = rows[0]
    last = Place(epoch, purged, 0) if seq is None else Place(epoch, seq, micros(sequenced_at))
    return OrderState(last, purged, sorted(row[4] for row in rows if row[4] is not None))


@named
async def begin_history(connection: AsyncConnection, epoch: bytes) -> None:
    """Write the row of ``event_sequence`` where there is none: of a history with an ``epoch`` of its own."""
    there = text("SELECT COALESCE(MIN(seq), 1) - 1 FROM user_events")
    purged = (await connection.execute(there)).scalar_one()
    statement = text("INSERT IGNORE INTO event_sequence (id, epoch, purged) VALUES (1, :epoch, :purged)")
    await connection.execute(statement, {"epoch": epoch, "purged": purged})


@named
async def number(connection: AsyncConnection, state: OrderState) -> bool:
    """Give the pending events the next numbers, in the order of their ids; one statement, outside of a transaction.

    Returns whether each of them got its number here. Where another sequencer was faster some have theirs, or none got
    one: then it is to be looked anew. May be repeated.
    """
    ids = state.pending
    length = next(length for length in _LENGTHS if length >= len(ids))
    padded = [*ids, *[ids[-1]] * (length - len(ids))]
    values = {"last": state.last.seq} | {f"id_{position}": id_ for position, id_ in enumerate(padded)}
    try:
        return (await _NUMBER[length].on(connection, values)).count == len(ids)
    except DBAPIError as error:
        if error_number(error) in _OVERTAKEN:
            return False
        raise


@named
async def following(connection: AsyncConnection, seq: int, limit: int) -> Stretch | None:
    """Return the event with a number, if it is still there, and those after it, ``limit`` in all at most.

    None where ``event_sequence`` has no row yet.
    """
    rows = (await _FOLLOWING.on(connection, {"seq": seq, "most": limit})).rows
    if not rows:
        return None
    epoch, purged = rows[0][:2]
    found = sorted((row for row in rows if row[2] is not None), key=lambda row: int(row[2]))
    return Stretch(epoch, purged, [_event_of(row) for row in found])


def _event_of(row: Row) -> UserEvent:
    epoch, _, seq, sequenced_at, user_id, kind, revision, session_id, occurred_at = row
    place = Place(epoch, seq, micros(sequenced_at))
    return UserEvent(place, user_id, kind, revision, session_id or "", utc(occurred_at))


@named
async def waiting_since(connection: AsyncConnection) -> datetime | None:
    """Return when the event happened that has waited longest for a number; None where none waits."""
    statement = _along_seq(select(events.c.occurred_at).where(events.c.seq.is_(None)))
    oldest = (await connection.execute(statement.order_by(events.c.id).limit(1))).scalar_one_or_none()
    return None if oldest is None else utc(oldest)


@named
async def count_older(connection: AsyncConnection, before: datetime) -> int:
    """Count the events that got their numbers before a time."""
    statement = _along_seq(select(func.count()).select_from(events))
    older = statement.where(events.c.seq.is_not(None), events.c.sequenced_at < before)
    return int((await connection.execute(older)).scalar_one() or 0)


@named
async def remove_older(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Remove the first events of the order that got their numbers before a time; return how many, ``limit`` at most.

    What was removed is noted in the same transaction, so that nobody takes a gap for the whole.
    """
    first = _along_seq(select(events.c.seq, events.c.sequenced_at).where(events.c.seq.is_not(None)))
    rows = (await connection.execute(first.order_by(events.c.seq).limit(limit))).all()
    upto = 0
    for seq, sequenced_at in rows:
        if utc(sequenced_at) >= before:
            break
        upto = seq
    if not upto:
        return 0
    noted = text("UPDATE event_sequence SET purged = :upto WHERE id = 1 AND purged < :upto")
    if (await connection.execute(noted, {"upto": upto})).rowcount != 1:
        return 0
    removed = text("DELETE e FROM user_events e FORCE INDEX (uniq_seq) WHERE e.seq <= :upto")
    return (await connection.execute(removed, {"upto": upto})).rowcount
