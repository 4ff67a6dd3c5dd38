"""SendDirect: a mail to a user or an address, past feed, preferences and quiet hours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from chassis.keyring import Keyring
from notifications_service.clock import MillisecondClock
from notifications_service.errors import ChannelNotConfigured, TemplateUnknown
from notifications_service.idempotency import Created, IdempotencyKeys, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification.documents import Type
from notifications_service.outbox.direct import DirectSeal, NewDirect, without_sealed
from notifications_service.outbox.repository import OutboxRepository


class DirectRecipients(Protocol):
    """Checks that recipients exist."""

    async def check(self, fields: Mapping[str, str]) -> None:
        """Raise RecipientNotFound where a field names no user, or UsersServiceUnavailable."""
        ...


class DirectMails:
    """Queues mails; ``purposes``: those of the server's templates, None where email is not set up here."""

    def __init__(
        self,
        database: Database,
        outbox: OutboxRepository,
        keys: IdempotencyKeys,
        recipients: DirectRecipients,
        keyring: Keyring,
        *,
        purposes: Collection[str] | None,
        clock: MillisecondClock,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._keys = keys
        self._recipients = recipients
        self._seal = DirectSeal(keyring)
        self._mac = keyring.mac("direct-requests")
        self._purposes = purposes
        self._clock = clock

    def key(self, request_id: str, fingerprint: bytes) -> RequestKey | None:
        """Return the key of a request; None without an id. It is stored keyed, since codes could be guessed by it."""
        if not request_id:
            return None
        newest, *earlier = self._mac.tags(fingerprint)
        return RequestKey("SendDirect", request_id, newest, earlier)

    async def send(self, new: NewDirect, key: RequestKey | None) -> Document:
        """Queue a mail and return its delivery, without what is sealed; a repeat returns that of the first call.

        Raises ChannelNotConfigured, TemplateUnknown, RecipientNotFound, UsersServiceUnavailable, RequestIdReused or
        RequestInFlight.
        """
        if key is not None and (first := await self._keys.answered(key)) is not None:
            return first.documents[0]
        if self._purposes is None:
            raise ChannelNotConfigured(Type.EMAIL.value)
        if new.content.purpose and new.content.purpose not in self._purposes:
            raise TemplateUnknown(new.content.purpose)
        if new.user_id:
            await self._recipients.check({"user_id": new.user_id})
        row = self._seal.stored(new, self._clock())
        shown = without_sealed(row)

        async def write(session: ClientSession) -> None:
            await self._outbox.insert_in(session, [row])

        if key is not None:
            shown = (await self._keys.once(key, Created([shown]), write)).documents[0]
        else:
            await self._database.transaction(write)
        self._outbox.stored()
        return shown
