"""Voiding of verifications that were made for a user, or sent to the user's address, before the user changed."""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection


class VoidProofs(Protocol):
    """Removes every verification of a user and of addresses, in the transaction of the connection."""

    async def __call__(self, connection: AsyncConnection, user_id: str, /, *emails: str) -> Any:
        """Remove them; ``emails``: the user's address, and the one before or to come where it changes."""
        ...
