"""All SQL that lists the sessions of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from chassis.contract.keyset import TimeAndId
from users_service.mysql.rows import UNFIT, as_text, unreadable
from users_service.sessions.model import Session
from users_service.sessions.repository import COLUMNS, from_row, is_live, newest_first
from users_service.tables import sessions

# Validations do not read why a session ended: theirs have not.
_WITH_REASON: Final = (*COLUMNS, sessions.c.revoked_reason)


@named
async def list_live(
    connection: AsyncConnection, user_id: str, now: datetime, after: TimeAndId | None, limit: int
) -> list[Row[Any]]:
    """Return rows, for ``session_of``, of a user's live sessions, newest first, beginning after a key."""
    live = newest_first(_WITH_REASON, user_id, after).where(is_live(now))
    return list(await connection.execute(live.limit(limit)))


@named
async def list_all(connection: AsyncConnection, user_id: str, after: TimeAndId | None, limit: int) -> list[Row[Any]]:
    """Return rows, for ``session_of``, of a user's sessions, live and ended, newest first, beginning after a key."""
    return list(await connection.execute(newest_first(_WITH_REASON, user_id, after).limit(limit)))


@named
async def count_live(connection: AsyncConnection, user_id: str, now: datetime) -> int:
    """Return how many live sessions a user has."""
    counted = select(func.count()).select_from(sessions).where(sessions.c.user_id == user_id, is_live(now))
    return (await connection.execute(counted)).scalar_one()


def session_of(row: Sequence[Any]) -> Session:
    """Turn a row of a list into a session with the reason for which it ended. Raises RecordUnreadable."""
    session, reason = from_row(row), row[-1]
    try:
        return replace(session, revoked_reason="" if reason is None else as_text(reason))
    except UNFIT as problem:
        raise unreadable("sessions", session.id, problem) from None
