"""Locks that MySQL keeps for a connection (``GET_LOCK``): one process at a time does a thing to a database."""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named


def lock_name(purpose: str, database: str) -> str:
    """Name a lock: they are the whole server's, and their names at most 64 characters long."""
    return f"vibework.{purpose}." + hashlib.sha256(database.encode()).hexdigest()[:32]


@named
async def acquire(connection: AsyncConnection, name: str, seconds: int) -> bool:
    """Take a lock, waiting for at most ``seconds``; answer whether it is ours. It ends with the connection."""
    taken = await connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": seconds})
    return bool(taken)


@named
async def release(connection: AsyncConnection, name: str) -> None:
    """Give a lock back before the connection ends."""
    await connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
