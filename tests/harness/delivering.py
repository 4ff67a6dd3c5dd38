"""Delivery without a server: the outbox on a database, a worker with a far end that does what a test says, and a clock.

What reads and decides is the production's own. Only the far end and the users service are made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from bson import ObjectId
from pydantic import SecretStr

from chassis.keyring import Keyring
from chassis.slices import Slices
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock, in_milliseconds
from notifications_service.delivery.assembly import new_sources
from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.delivery.channels.settings import MessageSettings
from notifications_service.delivery.channels.templates import Templates
from notifications_service.delivery.composing import MailMaker
from notifications_service.delivery.numbers import Numbers
from notifications_service.delivery.outlets import EmailOutlet
from notifications_service.delivery.rules import DeliveryRules
from notifications_service.delivery.service import DeliveryService
from notifications_service.delivery.worker import Worker
from notifications_service.errors import UsersServiceUnavailable
from notifications_service.feed.repository import FeedRepository
from notifications_service.feed.storing import Storing
from notifications_service.idempotency import Created, IdempotencyKeys
from notifications_service.mongodb.database import Database
from notifications_service.notification import documents, schema
from notifications_service.notification.documents import Draft, Type
from notifications_service.notification.retention import Retention
from notifications_service.outbox import schema as outbox_schema
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.direct import DirectSeal
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.preferences.settings import UnsubscribeSettings
from notifications_service.preferences.unsubscribe import UnsubscribeLinks
from notifications_service.scheduled.repository import ScheduledRepository
from notifications_service.users_client import Addressee
from tests.harness.clocks import FrozenClock
from tests.harness.notifications import SECRET_KEYS

ACCEPTED: Final = Outcome(provider_message_id="queued")
ATTEMPTS: Final = 3
UNSUBSCRIBE_URL: Final = "https://example.com/unsubscribe?token={token}"
LEASE: Final = timedelta(seconds=30)
CONNECTIONS: Final = 4

Answer = Callable[[Mail], Outcome]


class FarEnd:
    """A ``MailSender`` that keeps what it is given; ``answer`` says what becomes of each mail."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.answer: Answer = lambda _: ACCEPTED
        # Not set: mails wait here.
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self._now = 0

    async def send(self, mail: Mail, seconds: float) -> Outcome:
        """Take a mail."""
        self.mails.append(mail)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            async with asyncio.timeout(seconds):
                await self.open.wait()
            return self.answer(mail)
        finally:
            self._now -= 1

    def sent(self) -> list[str]:
        """Return the ids of deliveries for which a mail came, in order."""
        return [mail.delivery_id for mail in self.mails]


class KnownUsers:
    """The users service: everybody is there, verified, at an address of their own, unless a test says otherwise."""

    def __init__(self) -> None:
        self.others: dict[str, Addressee | None] = {}
        self.gone: set[str] = set()
        self.is_away = self.refuses = False
        self.calls = 0

    async def addressees(self, user_ids: Sequence[str]) -> dict[str, Addressee | None]:
        """Return the users that there are."""
        self.calls += 1
        if self.refuses:
            raise UsersServiceUnavailable
        usual = {key: Addressee(key, f"{key}@example.com", is_verified=True) for key in user_ids}
        return {key: user for key, user in (usual | self.others).items() if key in usual and key not in self.gone}


@dataclass
class Delivering:
    """A database with an outbox, and what a worker of it needs."""

    database: Database
    clock: FrozenClock = field(default_factory=FrozenClock)
    far_end: FarEnd = field(default_factory=FarEnd)
    users: KnownUsers = field(default_factory=KnownUsers)
    numbers: Numbers = field(default_factory=Numbers)
    secret_keys: str = SECRET_KEYS

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.now: MillisecondClock = in_milliseconds(self.clock)
        self.outbox = OutboxRepository(self.database, self.now)
        self.digests = DigestRepository(self.database, self.outbox, self.now)
        self.rows = self.database.collection(outbox_schema.COLLECTION)
        self.notifications = self.database.collection(schema.COLLECTION)
        retention = Retention(self.notifications, self.now)
        self.feed = FeedRepository(self.database, retention, self.now)
        reads = DeliveryReads(self.database, retention, self.now)
        self.by_hand = DeliveryService(self.database, reads, self.outbox, clock=self.now, stopping=lambda: False)
        keys = IdempotencyKeys(self.database, self.now)
        scheduled = ScheduledRepository(self.database, self.outbox, self.now)
        self.storing = Storing(
            self.database, self.feed, self.outbox, scheduled, keys, timeout=LEASE.total_seconds(), slices=Slices()
        )
        self.keyring = Keyring.parse(self.secret_keys)
        self.links = UnsubscribeSettings(unsubscribe_url=UNSUBSCRIBE_URL, unsubscribe_keys=SecretStr(SECRET_KEYS))
        templates = Templates(MessageSettings(email_from="us@example.com"))
        self.seal = DirectSeal(self.keyring)
        self.maker = MailMaker(templates, UnsubscribeLinks(self.links), self.seal)

    def worker(self, far_end: FarEnd | None = None, *, lease: timedelta = LEASE, rate: float = 0) -> Worker:
        """Make a worker of email; another far end tells it from others of the same database."""
        hashes, end = AddressHashes(self.keyring), far_end or self.far_end
        outlet = EmailOutlet(end, self.maker, hashes, self.now, concurrency=CONNECTIONS)
        sources = new_sources(self.database, self.feed, self.users, self.keyring, self.now)
        return Worker(
            outlet,
            self.outbox,
            sources,
            DeliveryRules("email", ATTEMPTS),
            poll=timedelta(milliseconds=10),
            lease=lease,
            numbers=self.numbers,
            admit=self.outbox.rate("email", rate).take if rate else None,
        )

    async def create(self, user_id: str, **further: Any) -> ObjectId:
        """Store a notification that goes out by email; return its id."""
        category = further.pop("category", "")
        draft = Draft(user_id, "Title", "Message", Type.EMAIL, category, further=further)
        document = documents.new(draft, self.now())
        await self.storing.store(document)
        key: ObjectId = document["_id"]
        return key

    async def create_many(self, user_ids: Sequence[str], category: str = "") -> None:
        """Store a notification that goes out by email for each of the users."""
        drafts = (Draft(user_id, "Title", "Message", Type.EMAIL, category) for user_id in user_ids)
        new = [documents.new(draft, self.now()) for draft in drafts]
        await self.storing.store_all(new, None, Created(new))

    async def delivery(self, key: ObjectId) -> dict[str, Any]:
        """Return the delivery of a notification."""
        row = await self.rows.find_one({"notificationId": key})
        assert row is not None
        return row

    async def summed(self, key: ObjectId) -> str:
        """Return the state that a notification sums up of its deliveries."""
        row = await self.notifications.find_one({"_id": key})
        assert row is not None
        state: str = row["delivery"]["state"]
        return state

    async def pass_until_due(self, key: ObjectId) -> None:
        """Let time pass until a delivery is due."""
        due: datetime = (await self.delivery(key))["dueAt"]
        self.clock.advance(max(timedelta(), due - self.now()) + timedelta(milliseconds=1))
