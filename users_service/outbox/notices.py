"""Notices: mails to users about what happened to their accounts, which nobody asked for.

Each is left in the outbox by the transaction of what it tells, and SendDirect has it sent to the user's address,
verified or not. One that cannot be handed over within a day is given up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.outbox import repository
from users_service.outbox.model import SEND_NOTICE, Notice

# A sign-in is from a client that is known where a session of so late had the same user agent and network.
KNOWN_FOR: Final = timedelta(days=90)


class Notices:
    """Leaves notices in the outbox; of a kind that the settings do not name it leaves none."""

    def __init__(self, wanted: Collection[Notice] = ()) -> None:
        self._wanted = frozenset(wanted)

    def wants(self, notice: Notice) -> bool:
        """Say whether notices of this kind are sent."""
        return notice in self._wanted

    async def welcome(self, connection: AsyncConnection, user_id: str, now: datetime) -> None:
        """Greet a new user."""
        await self._leave(connection, Notice.WELCOME, {"user_id": user_id}, now)

    async def password_changed(self, connection: AsyncConnection, user_id: str, now: datetime) -> None:
        """Tell that the password was set, changed or reset."""
        await self._leave(connection, Notice.PASSWORD_CHANGED, {"user_id": user_id}, now)

    async def email_changed(self, connection: AsyncConnection, old_address: str, now: datetime) -> None:
        """Tell the owner of the old address that the user has another one now."""
        await self._leave(connection, Notice.EMAIL_CHANGED, {"email_address": old_address}, now)

    async def new_sign_in(
        self, connection: AsyncConnection, user_id: str, ip_address: str, user_agent: str, now: datetime
    ) -> None:
        """Tell of a sign-in from a client that is not known."""
        client = {"ip_address": ip_address, "user_agent": user_agent}
        await self._leave(connection, Notice.NEW_SIGN_IN, {"user_id": user_id, **client}, now)

    async def _leave(
        self, connection: AsyncConnection, notice: Notice, payload: Mapping[str, str], now: datetime
    ) -> None:
        if notice in self._wanted:
            told = {"notice": notice.value, "left_at": now.isoformat(), **payload}
            await repository.put(connection, SEND_NOTICE, told, now, available_at=now)
