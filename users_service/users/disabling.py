"""Disabling and enabling of users: who is disabled has no session, and gets none (decision 0092)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.errors import EtagMismatch, InvalidFields
from users_service.errors import UserNotFound
from users_service.events import repository as events
from users_service.events.model import UserEventKind
from users_service.mysql.database import Database
from users_service.mysql.database_clock import DatabaseClock
from users_service.users import repository, states
from users_service.users.model import Disablement, User
from users_service.users.proofs import VoidProofs

# Ends all sessions of a user in the transaction of a connection; returns how many ended.
EndSessions = Callable[[AsyncConnection, str, datetime], Awaitable[int]]


@dataclass(frozen=True)
class UserDisabling:
    """Carries out DisableUser and EnableUser.

    ``end_sessions`` ends the sessions of a user, and ``void_proofs`` the verifications, both in the transaction that
    they are given.
    """

    database: Database
    clock: Clock
    database_clock: DatabaseClock
    end_sessions: EndSessions
    void_proofs: VoidProofs

    async def disable_user(self, id_: str, wanted: Disablement, etag: str) -> tuple[User, int]:
        """Shut a user out, and return it with the number of sessions that ended; in one transaction.

        Of a user who is disabled already reason and end change. Raises UserNotFound, EtagMismatch, or InvalidFields
        for an end that is not to come, by the database's clock: that is the clock by which it passes.
        """

        async def work(connection: AsyncConnection) -> tuple[User, int]:
            if wanted.until is not None and wanted.until <= await self.database_clock(connection):
                raise InvalidFields.of("until", "must be after now", "TIMESTAMP_GT_NOW")
            user, now = await _locked(connection, id_, etag), self.clock()
            if user.disablement != wanted:
                since = user.disabled_at or now
                await states.disable(connection, user.id, wanted, since=since, now=now)
                user = await _recorded(connection, user.id, UserEventKind.DISABLED, now)
            # Also where nothing changes: a process of another version may have stored some meanwhile.
            await self.void_proofs(connection, user.id, user.email)
            return user, await self.end_sessions(connection, user.id, now)

        return await self.database.transaction(work)

    async def enable_user(self, id_: str, etag: str) -> User:
        """Let a user in again, and return it. One who is active stays as is. Raises UserNotFound, EtagMismatch."""

        async def work(connection: AsyncConnection) -> User:
            user, now = await _locked(connection, id_, etag), self.clock()
            if not user.is_disabled:
                return user
            await states.enable(connection, user.id, now)
            return await _recorded(connection, user.id, UserEventKind.ENABLED, now)

        return await self.database.transaction(work)


async def _locked(connection: AsyncConnection, id_: str, etag: str) -> User:
    """Return a user whose row stays locked; ``etag``: that of its state, or empty."""
    user = await repository.read_user(connection, id_, lock=True)
    if user is None:
        raise UserNotFound(id_)
    if etag not in ("", user.etag):
        raise EtagMismatch(user.etag)
    return user


async def _recorded(connection: AsyncConnection, id_: str, kind: UserEventKind, now: datetime) -> User:
    """Return the user as it is now, with an event of what happened."""
    user = await repository.read_user(connection, id_)
    if user is None:
        raise UserNotFound(id_)
    await events.record(connection, kind, user.id, user.revision, now)
    return user
