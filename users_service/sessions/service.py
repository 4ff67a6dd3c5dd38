"""The rules of sessions: how a token is validated, and how sessions are listed and ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.contract.keyset import TimeAndId, cut
from chassis.pooling import batches
from chassis.pooling.batches import Written
from users_service.errors import SessionInvalid, SessionNotFound
from users_service.mysql.database import Database
from users_service.mysql.rows import readable
from users_service.paging import key_of
from users_service.replicas.reads import Query
from users_service.sessions import listing, repository
from users_service.sessions.admission import Admission
from users_service.sessions.model import REVOKED, SIGNED_OUT, Session
from users_service.sessions.reads import Standing
from users_service.sessions.revocation import revoking
from users_service.users.model import User


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a user's sessions. ``last`` is the key of the last one; None on the last page."""

    sessions: Sequence[Session]
    last: TimeAndId | None
    # The session of the token in the request; empty when there is none.
    current_id: str
    now: datetime


class SessionService:
    """Sessions of users, by token, by id and by user."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        clock: Clock,
        read_user: Callable[[str], Awaitable[User | None]],
        *,
        query: Query,
        stopping: Callable[[], bool],
    ) -> None:
        """``read_user``: finds a user by id; ``query``: carries out lists.

        ``stopping``: whether this process is about to end; writes of many rows then answer what they have done.
        """
        self._database = database
        self._query = query
        self._admission = admission
        self._clock = clock
        self._read_user = read_user
        self._stopping = stopping

    async def validate(self, token: str, user_id: str = "") -> tuple[Session, datetime]:
        """Return the live session of a token, of that user if one is named, and the time at which it was read.

        Raises SessionInvalid.
        """
        now = self._clock()
        return (await self._admission.admit(token, now, user_id)).session, now

    async def user_of(self, session: Session) -> User:
        """Return the user of a session. Raises SessionInvalid when it is gone, and the session with it."""
        user = await self._read_user(session.user_id)
        if user is None:
            raise SessionInvalid
        return user

    async def list_sessions(
        self, user_id: str, *, current_token: str, after: TimeAndId | None, size: int, include_ended: bool
    ) -> Page:
        """Return a page of a user's sessions, live or all, newest first, beginning after the key ``after``."""
        now = self._clock()
        current_id = await self._identify(current_token, now, user_id)

        async def work(connection: AsyncConnection) -> list[Row[Any]]:
            # One more than asked for tells whether there is another page.
            if include_ended:
                return await listing.list_all(connection, user_id, after, size + 1)
            return await listing.list_live(connection, user_id, now, after, size + 1)

        rows, last = cut(await self._query(work), size, partial(key_of, descending=True))
        return Page(readable(listing.session_of, rows), last, current_id, now)

    async def _identify(self, token: str, now: datetime, user_id: str) -> str:
        """Return the id of the token's session; empty for a token that is not valid, or not the user's."""
        try:
            return (await self._admission.admit(token, now, user_id)).session.id if token else ""
        except SessionInvalid:
            return ""

    async def revoke(self, session_id: str, user_id: str) -> int:
        """End a session, of that user if one is named; return how many ended.

        Raises SessionNotFound for a session that never was, or is another user's.
        """
        now = self._clock()

        async def work(connection: AsyncConnection) -> int:
            count = await repository.revoke(connection, session_id, now, REVOKED, user_id)
            if count == 0:
                _check_owner(await repository.get(connection, session_id), user_id, asked=session_id)
            return count

        return await self._database.transaction(work)

    async def sign_out(self, token: str, user_id: str) -> int:
        """End the session of a token; return how many ended: 0 also for a token that never was.

        Raises SessionNotFound when a user is named and the session is another's.
        """
        now = self._clock()
        found = await self._admission.find(token)
        if found is None:
            return 0
        # Before all else: what is another user's is not there for this call, and stays as it is.
        _check_owner(found.session, user_id, asked=None)
        if found.standing is Standing.REPLACED:
            return await self._admission.revoke_stolen(found.session, now)
        return await self._admission.revoke(found.session, now, SIGNED_OUT)

    async def revoke_others(self, token: str) -> Written:
        """End all sessions of the token's user except its own. May be repeated, and goes on then.

        Raises SessionInvalid.
        """
        now = self._clock()
        kept = (await self._admission.admit(token, now)).session
        return await batches.write(revoking(self._database, kept.user_id, now, kept.id), self._stopping)

    async def revoke_all(self, user_id: str) -> Written:
        """End all sessions of a user. May be repeated, and goes on then."""
        return await batches.write(revoking(self._database, user_id, self._clock()), self._stopping)


def _check_owner(session: Session | None, user_id: str, *, asked: str | None) -> None:
    """Raise SessionNotFound unless the session is the user's; ``asked``: the id of the request, if it named one."""
    if session is None or (user_id and session.user_id != user_id):
        raise SessionNotFound(asked)
