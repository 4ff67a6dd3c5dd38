"""Admission: what a session token is worth, and the end of a session whose replaced token comes back."""

from __future__ import annotations

from datetime import datetime

from chassis.logs import logging
from users_service.errors import SessionInvalid
from users_service.mysql.database import Database
from users_service.sessions import lifetime, repository
from users_service.sessions.model import STOLEN, Session
from users_service.sessions.reads import FoundSession, SessionReads, Standing

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
        count = await self.revoke(session, now, STOLEN) if lifetime.is_live(session, now) else 0
        if count:
            log.warning("session revoked: a replaced token was used", session_id=session.id, user_id=session.user_id)
        return count

    async def revoke(self, session: Session, now: datetime, reason: str) -> int:
        """End one session; return how many ended: 0 or 1."""
        return await self._database.transaction(
            lambda connection: repository.revoke(connection, session.id, now, reason)
        )
