"""Reads of sessions by token: the hot path of the pair, so reads that arrive together become one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from chassis.batching.coalesce import Coalescer
from chassis.clock import utc
from users_service.errors import RecordUnreadable
from users_service.mysql.database import Database
from users_service.mysql.database_clock import DatabaseClock
from users_service.mysql.point_reads import PointRead
from users_service.mysql.rows import UNFIT, or_error, unreadable
from users_service.sessions import repository, tokens
from users_service.sessions.lifetime import in_grace
from users_service.sessions.model import Session

COLUMNS = ", ".join(f"sessions.{column.name}" for column in repository.COLUMNS)
BY_TOKEN = f"SELECT {COLUMNS} FROM sessions WHERE token_hash IN"  # noqa: S608 - fixed names
BY_REPLACED_TOKEN = (
    f"SELECT {COLUMNS}, rotated.token_hash, rotated.rotated_at FROM rotated_session_tokens rotated "  # noqa: S608
    "JOIN sessions ON sessions.id = rotated.session_id WHERE rotated.token_hash IN"
)


class Standing(Enum):
    """The standing of a token: whether it is its session's current one."""

    CURRENT = auto()
    # Replaced a moment ago, and still valid.
    GRACE = auto()
    # Replaced longer ago: whoever uses it has stolen it, or somebody has stolen its successor.
    REPLACED = auto()


@dataclass(frozen=True, slots=True)
class FoundSession:
    """The session of a token, live or ended, and the token's standing."""

    session: Session
    standing: Standing


class SessionReads:
    """Reads sessions by token, many at a time."""

    def __init__(self, database: Database, database_clock: DatabaseClock) -> None:
        self._database = database
        self._database_clock = database_clock
        self._by_token = PointRead(database, "sessions.read_by_token", BY_TOKEN)
        self._by_replaced_token = PointRead(database, "sessions.read_by_replaced_token", BY_REPLACED_TOKEN)
        self._current = Coalescer(self._read_current, max_in_flight=1)
        self._replaced = Coalescer(self._read_replaced)

    async def get(self, token: str) -> FoundSession | None:
        """Return the session that the token belongs or belonged to; None for a token that never was.

        Raises RecordUnreadable for a row, and only for that one.
        """
        token_hash = tokens.digest(token)
        session = await self._current.get(token_hash)
        if session is not None:
            return FoundSession(session, Standing.CURRENT)
        # Read after the other: so a token that is replaced between the two reads is found here.
        replaced = await self._replaced.get(token_hash)
        if replaced is None:
            return None
        session, rotated_at = replaced
        # Not by this process's clock: a session must not end as stolen because two clocks differ.
        now = await self._database.query(self._database_clock)
        return FoundSession(session, Standing.GRACE if in_grace(rotated_at, now) else Standing.REPLACED)

    async def _read_current(self, hashes: list[bytes]) -> dict[bytes, Session | RecordUnreadable]:
        return {row[2]: or_error(repository.from_row, row) for row in await self._by_token.read(hashes)}

    async def _read_replaced(self, hashes: list[bytes]) -> dict[bytes, tuple[Session, datetime] | RecordUnreadable]:
        return {row[-2]: or_error(_replaced, row) for row in await self._by_replaced_token.read(hashes)}


def _replaced(row: Sequence[Any]) -> tuple[Session, datetime]:
    session = repository.from_row(row)
    try:
        return session, utc(row[-1])
    except UNFIT as problem:
        raise unreadable("rotated_session_tokens", session.id, problem) from None
