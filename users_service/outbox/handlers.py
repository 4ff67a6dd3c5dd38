"""The calls that entries of the outbox are about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vibework.notifications.v1.delivery_service_pb2 import SendDirectRequest

from chassis.clock import Clock
from chassis.contract.ids import uuid_of
from chassis.contract.timestamps import to_proto
from chassis.logs import logging
from users_service.notifications_client import NotificationsClient, RecipientUnknown
from users_service.outbox.model import LONGEST_MAIL, OutboxEntry

# Attempts after which a user who is not known is gone: one who has just been created may not be known everywhere.
GONE_AFTER: Final = 5


@dataclass(frozen=True)
class NoticeCourier:
    """Hands notices to the notifications service."""

    client: NotificationsClient
    clock: Clock

    async def carry(self, entry: OutboxEntry) -> None:
        """Have a notice sent. Raises where it is to be repeated."""
        left_at = datetime.fromisoformat(entry.payload["left_at"])
        if self.clock() >= left_at + LONGEST_MAIL:
            logging.get(__name__).warning("notice not sent within a day", entry=entry.id)
            return
        try:
            await self.client.send_direct(_request(entry, left_at))
        except RecipientUnknown:
            if entry.attempts < GONE_AFTER:
                raise
            logging.get(__name__).info("notice not sent: its user is gone", entry=entry.id)


async def lift_bounce(client: NotificationsClient, entry: OutboxEntry) -> None:
    """Have a bounce of before the proof forgotten. Raises where it is to be repeated."""
    proved_at = datetime.fromisoformat(entry.payload["proved_at"])
    await client.lift_bounce(entry.payload["email_address"], proved_at, entry.id)


def _request(entry: OutboxEntry, left_at: datetime) -> SendDirectRequest:
    """Return the call that an entry is about, the same each time."""
    request = SendDirectRequest(expires_at=to_proto(left_at + LONGEST_MAIL), request_id=str(uuid_of(entry.id)))
    for name, value in entry.payload.items():
        if name in {"user_id", "email_address"}:
            setattr(request, name, value)
        elif name == "notice":
            request.template.purpose = value
        elif name != "left_at":
            request.template.variables[name] = value
    request.template.variables["time"] = f"{left_at:%Y-%m-%d %H:%M} UTC"
    return request
