"""Issuing of sessions: the only place where a session and its token are created."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.contract.ids import new_id
from chassis.errors import ConflictRetry
from users_service.errors import UserDisabled, UserNotFound
from users_service.sessions import lifetime, repository, tokens
from users_service.sessions.model import AuthenticationMethod, ClientDetails, Session
from users_service.users import repository as users

# How often a session is stored anew because the user was enabled between the two statements, or the end has passed.
READINGS: Final = 2


async def issue(
    connection: AsyncConnection,
    user_id: str,
    client: ClientDetails,
    now: datetime,
    *,
    method: AuthenticationMethod,
    do_not_remember: bool,
) -> tuple[Session, str]:
    """Store a session for the user and return it with its token, of which only a hash is stored.

    Call it once whoever asks has proved to be the user, since it tells of the state. Raises UserDisabled, UserNotFound
    or ConflictRetry; the transaction must then be rolled back.
    """
    session, token = new_session(user_id, client, now, method=method, do_not_remember=do_not_remember)
    for _ in range(READINGS):
        if await repository.insert_session(connection, session):
            return session, token
        await _check_state(connection, user_id)
    raise ConflictRetry


async def _check_state(connection: AsyncConnection, user_id: str) -> None:
    user = await users.read_user(connection, user_id)
    if user is None:
        raise UserNotFound(user_id)
    if user.is_disabled:
        raise UserDisabled


def new_session(
    user_id: str, client: ClientDetails, now: datetime, *, method: AuthenticationMethod, do_not_remember: bool
) -> tuple[Session, str]:
    """Make a session that is not stored yet, and its token."""
    token = tokens.generate()
    session = Session(
        id=new_id("sess"),
        user_id=user_id,
        token_hash=tokens.digest(token),
        created_at=now,
        expires_at=lifetime.first_end(now, do_not_remember=do_not_remember),
        absolute_expires_at=lifetime.absolute_end(now, do_not_remember=do_not_remember),
        extended_at=now,
        last_seen_at=now,
        revoked_at=None,
        do_not_remember=do_not_remember,
        ip_address=client.ip_address,
        user_agent=client.user_agent,
        authentication_method=method,
    )
    return session, token
