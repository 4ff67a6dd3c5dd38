"""The rules of sessions: how a token is validated and replaced, and how a session is extended and ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.contract.keyset import TimeAndId, cut
from chassis.logs import logging
from users_service.errors import SessionInvalid, SessionNotFound
from users_service.mysql.database import Database
from users_service.mysql.rows import readable
from users_service.paging import key_of
from users_service.replicas.reads import Query
from users_service.sessions import lifetime, repository, tokens
from users_service.sessions.model import Session
from users_service.sessions.reads import FoundSession, SessionReads, Standing
from users_service.users.model import User

log = logging.get(__name__)

# Why a session ended, in sessions.revoked_reason.
SIGNED_OUT = "signed_out"
REVOKED = "revoked"
STOLEN = "stolen"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The outcome of a refresh."""

    session: Session
    extended: bool
    # Set when the token was replaced.
    token: str = field(repr=False)
    now: datetime


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
        reads: SessionReads,
        clock: Clock,
        read_user: Callable[[str], Awaitable[User | None]],
        *,
        query: Query,
    ) -> None:
        """``read_user``: finds a user by id; ``query``: carries out lists."""
        self._database = database
        self._query = query
        self._reads = reads
        self._clock = clock
        self._read_user = read_user

    async def validate(self, token: str) -> tuple[Session, datetime]:
        """Return the live session of a token, and the time at which it was read. Raises SessionInvalid."""
        now = self._clock()
        return (await self._admit(token, now)).session, now

    async def user_of(self, session: Session) -> User:
        """Return the user of a session. Raises SessionInvalid when it is gone, and the session with it."""
        user = await self._read_user(session.user_id)
        if user is None:
            raise SessionInvalid
        return user

    async def refresh(self, token: str, *, rotate: bool) -> Refreshed:
        """Extend the session if that is due, and replace its token if that is asked for. Raises SessionInvalid.

        If two calls replace the same token at the same time, only one of them does. To the other the token is in its
        grace period, so it extends the session without replacing the token.
        """
        now = self._clock()
        found = await self._admit(token, now)
        replacement = tokens.generate() if rotate and found.standing is Standing.CURRENT else ""
        return await self._database.transaction(lambda connection: _refresh(connection, found, replacement, now))

    async def list_sessions(self, user_id: str, *, current_token: str, after: TimeAndId | None, size: int) -> Page:
        """Return a page of a user's live sessions, newest first, beginning after the key ``after``."""
        now = self._clock()
        current_id = await self._identify(current_token, now)
        # One more than asked for tells whether there is another page.
        found = await self._query(lambda connection: repository.list_live(connection, user_id, now, after, size + 1))
        rows, last = cut(found, size, partial(key_of, descending=True))
        return Page(readable(repository.from_row, rows), last, current_id, now)

    async def _identify(self, token: str, now: datetime) -> str:
        """Return the id of the token's session; empty for a token that is not valid."""
        try:
            return (await self._admit(token, now)).session.id if token else ""
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
        found = await self._reads.get(token, now)
        if found is None:
            return 0
        if found.standing is Standing.REPLACED:
            return await self._revoke_stolen(found.session, now)
        _check_owner(found.session, user_id, asked=None)
        return await self._revoke(found.session, now, SIGNED_OUT)

    async def revoke_others(self, token: str) -> int:
        """End all sessions of the token's user except its own; return how many ended. Raises SessionInvalid."""
        now = self._clock()
        kept = (await self._admit(token, now)).session
        return await self._database.transaction(
            lambda connection: repository.revoke_all(connection, kept.user_id, now, REVOKED, except_session_id=kept.id)
        )

    async def revoke_all(self, user_id: str) -> int:
        """End all sessions of a user; return how many ended."""
        now = self._clock()
        return await self._database.transaction(
            lambda connection: repository.revoke_all(connection, user_id, now, REVOKED)
        )

    async def _admit(self, token: str, now: datetime) -> FoundSession:
        """Return the live session of a token; raise SessionInvalid, which never tells why."""
        found = await self._reads.get(token, now)
        if found is None:
            raise SessionInvalid
        if found.standing is Standing.REPLACED:
            await self._revoke_stolen(found.session, now)
            raise SessionInvalid
        if not lifetime.is_live(found.session, now):
            raise SessionInvalid
        return found

    async def _revoke_stolen(self, session: Session, now: datetime) -> int:
        # Either the user or the thief holds the newer token, and nobody can tell which: both have to sign in again.
        count = await self._revoke(session, now, STOLEN) if lifetime.is_live(session, now) else 0
        if count:
            log.warning("session revoked: a replaced token was used", session_id=session.id, user_id=session.user_id)
        return count

    async def _revoke(self, session: Session, now: datetime, reason: str) -> int:
        return await self._database.transaction(
            lambda connection: repository.revoke(connection, session.id, now, reason)
        )


def _check_owner(session: Session | None, user_id: str, *, asked: str | None) -> None:
    """Raise SessionNotFound unless the session is the user's; ``asked``: the id of the request, if it named one."""
    if session is None or (user_id and session.user_id != user_id):
        raise SessionNotFound(asked)


async def _refresh(connection: AsyncConnection, found: FoundSession, replacement: str, now: datetime) -> Refreshed:
    session_id, old_hash = found.session.id, found.session.token_hash
    replaced = replacement != "" and await repository.replace_token(
        connection, session_id, old_hash, tokens.digest(replacement), now
    )
    extended = await repository.extend(connection, session_id, now)
    if not extended and not await repository.touch(connection, session_id, now):
        raise SessionInvalid
    session = await repository.get(connection, session_id)
    if session is None:
        raise SessionInvalid
    return Refreshed(session, extended, replacement if replaced else "", now)
