"""Secrets that go out by mail: left in the outbox with their verification, and handed to the notifications service.

No secret stands readable in the database: an entry of the outbox is sealed, and is gone once the notifications service
has it, which seals it in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.notifications.v1.delivery_service_pb2 import DirectTemplate, SendDirectRequest

from chassis.clock import Clock
from chassis.contract import tokentext
from chassis.contract.ids import uuid_of
from chassis.contract.timestamps import to_proto
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from chassis.logs import logging
from users_service.errors import VerificationDeliveryNotConfigured
from users_service.mysql.database import Database
from users_service.outbox import repository as outbox
from users_service.outbox.model import LONGEST_MAIL, SEND_VERIFICATION, OutboxEntry
from users_service.verifications import repository
from users_service.verifications.model import Purpose, SecretKind, Verification
from users_service.verifications.settings import PLACE

# The key of an entry is gone from the ring, or its page from the settings, or somebody else wrote it.
UNREADABLE: Final = (KeyMissing, CiphertextInvalid, KeyError, ValueError)

log = logging.get(__name__)


class Mailer(Protocol):
    """The notifications service, as asked here."""

    async def send_direct(self, request: SendDirectRequest) -> None:
        """Have a mail sent, once however often it is asked. Raises where it is not known to have been accepted."""
        ...


class SecretMails:
    """Leaves mails with secrets in the outbox, and hands them over later."""

    def __init__(self, keyring: Keyring, urls: Mapping[Purpose, str], *, reachable: bool) -> None:
        """``urls``: pages that take tokens. ``reachable``: whether there is a notifications service."""
        self._cipher = keyring.cipher("outbox-secrets")
        self._urls = urls
        self._reachable = reachable

    def require(self, purpose: Purpose, kind: SecretKind) -> None:
        """Raise VerificationDeliveryNotConfigured where nothing of this purpose and kind can be sent."""
        if not self._reachable or (kind is SecretKind.TOKEN and purpose not in self._urls):
            raise VerificationDeliveryNotConfigured

    async def leave(self, connection: AsyncConnection, verification: Verification, shown: str, locale: str) -> None:
        """Leave the mail of a verification, in the transaction that creates it."""
        sealed = self._cipher.encrypt(shown.encode(), verification.id.encode())
        payload = {
            "verification_id": verification.id,
            "secret": tokentext.write(sealed),
            "locale": locale,
        }
        now = verification.created_at
        await outbox.put(connection, SEND_VERIFICATION, payload, now, available_at=now)

    def request(self, entry: OutboxEntry, verification: Verification) -> SendDirectRequest:
        """Return the call that an entry is about, the same each time. Raises UNREADABLE."""
        sealed = tokentext.read(entry.payload["secret"])
        secret = self._cipher.decrypt(sealed, verification.id.encode()).decode()
        template = DirectTemplate(purpose=verification.purpose.value)
        if verification.kind is SecretKind.CODE:
            template.variables["code"] = secret
        else:
            template.variables["url"] = self._urls[verification.purpose].replace(PLACE, quote(secret, safe=""))
        return SendDirectRequest(
            email_address=verification.identifier,
            template=template,
            locale=entry.payload["locale"],
            expires_at=to_proto(min(verification.expires_at, verification.created_at + LONGEST_MAIL)),
            request_id=str(uuid_of(entry.id)),
        )


@dataclass(frozen=True)
class Courier:
    """Hands the mails of the outbox to the notifications service."""

    mails: SecretMails
    database: Database
    mailer: Mailer
    clock: Clock

    async def carry(self, entry: OutboxEntry) -> None:
        """Have the mail of an entry sent, unless its secret is of no use by now. Raises where it is to be repeated."""
        verification = await self._living(entry.payload.get("verification_id", ""))
        if verification is None:
            log.info("verification not sent: it is replaced, consumed, void or expired", entry=entry.id)
            return
        try:
            request = self.mails.request(entry, verification)
        except UNREADABLE as problem:
            # The end user asks for another one.
            log.warning("verification not sent: its entry cannot be read", entry=entry.id, error=type(problem).__name__)
            return
        await self.mailer.send_direct(request)

    async def _living(self, id_: str) -> Verification | None:
        found = await self.database.query(lambda connection: repository.find(connection, repository.of_id(id_)))
        return found if found is not None and found.is_living(self.clock()) else None
