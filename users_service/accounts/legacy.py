"""The password that the source's own system kept in ``users``: it counts until it moves to ``accounts``."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.tables import users


@named
async def get_hash(connection: AsyncConnection, user_id: str) -> str | None:
    """Read the hash; None where there is none, or no such user."""
    statement = select(users.c.password_hash).where(users.c.id == user_id)
    return (await connection.execute(statement)).scalar_one_or_none()


@named
async def clear(connection: AsyncConnection, user_id: str) -> None:
    """Remove the hash. The user's etag and time of change stay: for callers the user is the same."""
    statement = (
        update(users)
        .where(users.c.id == user_id, users.c.password_hash.is_not(None))
        .values(password_hash=None, updated_at=users.c.updated_at)
    )
    await connection.execute(statement)
