"""Issuing of sessions: the only place where a session and its token are created."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.contract.ids import new_id
from users_service.sessions import lifetime, repository, tokens
from users_service.sessions.model import ClientDetails, Session


async def issue(
    connection: AsyncConnection, user_id: str, client: ClientDetails, do_not_remember: bool, now: datetime
) -> tuple[Session, str]:
    """Store a session for the user and return it with its token, of which only a hash is stored."""
    session, token = new_session(user_id, client, do_not_remember, now)
    await repository.insert_session(connection, session)
    return session, token


def new_session(user_id: str, client: ClientDetails, do_not_remember: bool, now: datetime) -> tuple[Session, str]:
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
    )
    return session, token
