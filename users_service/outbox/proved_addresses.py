"""Addresses whose owners have proved anew that they get mail there: a bounce from before no longer counts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.outbox import repository
from users_service.outbox.model import LIFT_BOUNCE


class ProvedAddresses:
    """Leaves it in the outbox that an address was proved; ``reachable``: whether there is whom to tell."""

    def __init__(self, *, reachable: bool) -> None:
        self._reachable = reachable

    async def proved(self, connection: AsyncConnection, user_id: str, address: str, now: datetime) -> None:
        """Have the suppression of an address lifted that a bounce began before ``now``, once this has committed."""
        if self._reachable:
            payload = {"user_id": user_id, "email_address": address, "proved_at": now.isoformat()}
            await repository.put(connection, LIFT_BOUNCE, payload, now, available_at=now)
