"""The first proof of an address: it ends the ways in from before, which whoever had signed up with it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.accounts import repository
from users_service.accounts.repository import WayIn
from users_service.credentials import repository as credentials
from users_service.credentials.model import CREDENTIAL
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.sessions import repository as sessions
from users_service.sessions.model import ADDRESS_PROVED
from users_service.users import repository as users
from users_service.users.email import folded
from users_service.users.model import User


@dataclass(frozen=True, slots=True)
class EndedAccess:
    """What ended with a first proof. ``password``: whether one was removed; ``accounts``: those at providers."""

    session_count: int
    password: bool
    accounts: Sequence[WayIn]


async def prove(
    connection: AsyncConnection, user: User, now: datetime, *, replacing_password: bool = False
) -> tuple[User, EndedAccess | None]:
    """Take the address of a user, whose row the transaction holds locked, as proved by who is about to sign in.

    Returns the user as it is now, and what ended by it; None where the address was proved before. With
    ``replacing_password`` the transaction is to set another one, and the old one ends by that: over shards, whoever
    removes a row and puts it back in one transaction waits for itself (docs/scaling.md).
    """
    if user.email_verified:
        return user, None
    ended = await _end_access(connection, user, now, replacing_password)
    await users.mark_verified(connection, user.id, now)
    proved = replace(user, email_verified=True, revision=user.revision + 1, updated_at=now)
    await record(connection, UserEventKind.CHANGED, user.id, proved.revision, now)
    return proved, ended


async def _end_access(connection: AsyncConnection, user: User, now: datetime, replacing_password: bool) -> EndedAccess:
    """End sessions, password and the provider accounts whose provider has not verified this very address."""
    ways = await repository.list_unproved(connection, user.id, folded(user.email))
    if removed := [way.id for way in ways if not (replacing_password and way.provider == CREDENTIAL)]:
        await repository.delete_many(connection, user.id, removed)
    had_legacy = await credentials.clear_legacy(connection, user.id)
    count = await sessions.revoke_all(connection, user.id, now, ADDRESS_PROVED)
    return EndedAccess(
        session_count=count,
        password=had_legacy or any(way.has_password for way in ways),
        accounts=[way for way in ways if way.provider != CREDENTIAL],
    )
