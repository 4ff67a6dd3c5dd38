"""Replacing a password as it was verified, wherever it is stored."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.credentials import repository
from users_service.credentials.model import Credential


async def replace(connection: AsyncConnection, verified: Credential, new_hash: str, now: datetime) -> bool:
    """Put another hash in the place of the one that was verified; False when that has changed already.

    Until the transaction ends, nobody else changes it. A legacy hash gives way to one among the user's accounts.
    """
    if verified.password_hash is None:
        return False
    if not verified.legacy:
        return await repository.exchange(connection, verified.user_id, verified.password_hash, new_hash, now)
    if not await repository.clear_legacy(connection, verified.user_id, verified.password_hash):
        return False
    await repository.put(connection, verified.user_id, new_hash, now)
    return True
