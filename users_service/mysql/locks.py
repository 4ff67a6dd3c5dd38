"""Named locks of MySQL (``GET_LOCK``), which a connection holds: for commands that one process may run at a time."""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named


def lock_name(purpose: str, database: str) -> str:
    """Name a lock; names are shared by the whole server, and have at most 64 characters."""
    return f"vibework.{purpose}." + hashlib.sha256(database.encode()).hexdigest()[:32]


@named
async def acquire(connection: AsyncConnection, name: str, seconds: int) -> bool:
    """Take a lock, waiting for at most ``seconds``; return whether it is ours. It ends with the connection."""
    taken = await connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": seconds})
    return bool(taken)


@named
async def release(connection: AsyncConnection, name: str) -> None:
    """Give a lock back before the connection ends."""
    await connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
