"""Admission: what a session token is worth, and the end of a session whose replaced token comes back."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.logs import logging
from users_service.errors import SessionInvalid
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.mysql.database import Database
from users_service.sessions import lifetime, repository
from users_service.sessions.model import STOLEN, Session
from users_service.sessions.reads import FoundSession, SessionReads, Standing
from users_service.users import repository as users

log = logging.get(__name__)


class Admission:
    """Decides whether a token opens its session."""

    def __init__(self, database: Database, reads: SessionReads) -> None:
        self._database = database
        self._reads = reads

    async def find(self, token: str) -> FoundSession | None:
        """Return the session that the token belongs or belonged to, live or ended; None for one that never was."""
        return await self._reads.get(token)

    async def admit(self, token: str, now: datetime, user_id: str = "") -> FoundSession:
        """Return the live session of a token, of that user if one is named; raise SessionInvalid, never telling why."""
        return await self.judge(await self.find(token), now, user_id)

    async def judge(self, found: FoundSession | None, now: datetime, user_id: str = "") -> FoundSession:
        """Do as ``admit`` does, with what was found. A session of another user than the one named stays as it is."""
        if found is None or (user_id and found.session.user_id != user_id):
            raise SessionInvalid
        if found.standing is Standing.REPLACED:
            await self.revoke_stolen(found.session, now)
            raise SessionInvalid
        if not lifetime.is_live(found.session, now):
            raise SessionInvalid
        return found

    async def revoke_stolen(self, session: Session, now: datetime) -> int:
        """End a session whose replaced token was used too late; return how many ended: 0 or 1."""
        # Either the user or the thief holds the newer token, and nobody can tell which: both have to sign in again.
        if not lifetime.is_live(session, now):
            return 0
        count = await self._database.transaction(partial(_end_as_stolen, session, now))
        if count:
            log.warning("session revoked: a replaced token was used", session_id=session.id, user_id=session.user_id)
        return count

    async def revoke(self, session: Session, now: datetime, reason: str) -> int:
        """End one session; return how many ended: 0 or 1."""
        return await self._database.transaction(
            lambda connection: repository.revoke(connection, session.id, now, reason, session.user_id)
        )


async def _end_as_stolen(session: Session, now: datetime, connection: AsyncConnection) -> int:
    """End a session and record it, behind the lock of the user's row."""
    user = await users.read_user(connection, session.user_id, lock=True)
    count = await repository.revoke(connection, session.id, now, STOLEN, session.user_id)
    if count and user is not None:
        kind = UserEventKind.SESSION_STOLEN
        await record(connection, kind, user.id, user.revision, now, session_id=session.id)
    return count
