"""Reports of mail providers: what becomes of the delivery, and of the suppression list, in one transaction."""

from __future__ import annotations

from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock
from notifications_service.delivery import events
from notifications_service.delivery.events import MailEvent
from notifications_service.delivery.facts import AddressBook
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.outbox.direct import DirectSeal, SealBroken
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.suppressions.model import Suppression
from notifications_service.suppressions.repository import SuppressionRepository


class Reports:
    """Takes events of mails."""

    def __init__(
        self,
        database: Database,
        stored: DeliveryReads,
        outbox: OutboxRepository,
        suppressions: SuppressionRepository,
        *,
        users: AddressBook,
        seal: DirectSeal,
        hashes: AddressHashes,
        clock: MillisecondClock,
    ) -> None:
        self._database = database
        self._stored = stored
        self._outbox = outbox
        self._suppressions = suppressions
        self._users = users
        self._seal = seal
        self._hashes = hashes
        self._clock = clock

    async def id_of(self, provider_message_id: str) -> str | None:
        """Return the id of the delivery whose mail the far end calls so; None: no such mail is known."""
        return await self._stored.of_message(provider_message_id)

    async def of_address(self, address: str, event: MailEvent) -> Suppression | None:
        """Take an event of a recipient alone; return the suppression that it began or renewed."""
        new = self._suppression(event, address, "")
        if new is None:
            return None
        is_new = await self._database.transaction(lambda session: self._suppressions.put_in(session, new))
        return new if is_new else None

    async def of_delivery(self, id_: str | None, event: MailEvent) -> tuple[Document | None, Suppression | None]:
        """Take an event of a delivery; return the delivery as it is now, and the suppression begun or renewed.

        None for a delivery that is not known, which nothing changes.
        """
        known = None if id_ is None else await self._stored.get(id_)
        if known is None or (entry := events.mailed(known)) is None:
            return known, None
        hashed: bytes = bytes(entry["addressHash"])
        new = self._suppression(event, await self._address(known, hashed), known["_id"])

        async def work(session: ClientSession) -> tuple[Document | None, Suppression | None]:
            row = (await self._stored.get_in(session, [known["_id"]])).get(known["_id"])
            change = None if row is None else events.change_of(row, event, self._clock())
            if change is None:
                return row, None
            await self._outbox.settle_in(session, [change])
            is_new = new is not None and await self._suppressions.put_in(session, new, hashed)
            return (await self._stored.get_in(session, [known["_id"]]))[known["_id"]], new if is_new else None

        return await self._database.transaction(work)

    def _suppression(self, event: MailEvent, address: str, delivery_id: str) -> Suppression | None:
        if event.suppresses is None:
            return None
        new = Suppression(address, event.suppresses, event.at, delivery_id, event.detail)
        # A report of a bounce that comes so late that its suppression has ended begins none.
        return None if new.expires_at is not None and new.expires_at <= self._clock() else new

    async def _address(self, row: Document, hashed: bytes) -> str:
        """Return the address that a mail went to; empty where nobody knows it any longer.

        The suppression holds all the same, by the hash.
        """
        if not (user_id := row.get("userId")):
            return self._given(row)
        try:
            user = (await self._users.addressees([user_id])).get(user_id)
        except ServiceError as error:
            logging.get(__name__).warning("address of a bounce not asked", reason=error.reason)
            return ""
        # The user may have another one by now.
        return user.email if user is not None and hashed in self._hashes.each_of(user.email) else ""

    def _given(self, row: Document) -> str:
        """Return the address that SendDirect was given, for as long as it is kept."""
        try:
            return self._seal.address(row)
        except SealBroken:
            return ""
