"""Facts of a batch of deliveries, read when it is claimed: a constant number of reads for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from bson import ObjectId

from notifications_service.clock import MillisecondClock
from notifications_service.errors import UsersServiceUnavailable
from notifications_service.mongodb.codec import Document
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.direct import DirectSeal, SealBroken
from notifications_service.outbox.model import Reason
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.model import Category, Preferences
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.push_subscriptions.model import PushTarget
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.suppressions.repository import Reasons, SuppressionRepository
from notifications_service.users_client import Addressee

EMAIL: Final = "email"


class AddressBook(Protocol):
    """The users service, as asked here."""

    @property
    def is_away(self) -> bool:
        """Whether it is not worth asking now."""
        ...

    async def addressees(self, user_ids: Sequence[str]) -> dict[str, Addressee | None]:
        """Return those of the users that exist; None: one that cannot be read. Raises UsersServiceUnavailable."""
        ...


class NotificationReader(Protocol):
    """The notifications, as read here."""

    async def get_many(
        self, keys: Sequence[ObjectId], projection: Document | None = None, *, users: Collection[str] = ()
    ) -> dict[ObjectId, Document]:
        """Return those of these users' notifications that exist, and are kept still."""
        ...


@dataclass(frozen=True, slots=True)
class DigestContent:
    """What a digest has to say: the newest of its notifications, and how many there are; ``left``: why none is left."""

    notifications: Sequence[Document]
    total: int
    left: Reason | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides about a batch; ``users`` None: the users service could not be asked."""

    notifications: Mapping[ObjectId, Document]
    users: Mapping[str, Addressee | None] | None
    preferences: Mapping[str, Preferences]
    categories: Mapping[str, Category]
    # By normalised address.
    suppressed: Mapping[str, Reasons]
    subscriptions: Mapping[str, Sequence[PushTarget]]
    # Those that SendDirect was given, by delivery; one whose seal is broken is not there.
    addresses: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Of those digests that are complete, by delivery.
    digests: Mapping[str, DigestContent] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FactSources:
    """Reads facts."""

    notifications: NotificationReader
    users: AddressBook
    preferences: PreferencesRepository
    categories: CategoriesRepository
    suppressions: SuppressionRepository
    subscriptions: PushSubscriptionRepository
    seal: DirectSeal
    digests: DigestRepository
    clock: MillisecondClock

    async def of(self, channel: str, rows: Sequence[Document]) -> Facts:
        """Return the facts for rows of a channel. Raises DatabaseUnavailable and the like."""
        users = sorted({row["userId"] for row in rows if row.get("userId")})
        keys = sorted({row["notificationId"] for row in rows if "notificationId" in row})
        categories = {row.get("category", "") for row in rows}
        notifications, known, preferences, named, subscriptions = await asyncio.gather(
            self.notifications.get_many(keys, users=users),
            self._addressees(users),
            self.preferences.of_users(users),
            self.categories.by_names(categories),
            self._subscribed(channel, users),
        )
        addresses = self._opened(rows)
        suppressed = await self._suppressed(channel, known or {}, addresses.values())
        return Facts(notifications, known, preferences, named, suppressed, subscriptions, addresses)

    def _opened(self, rows: Sequence[Document]) -> dict[str, str]:
        opened: dict[str, str] = {}
        for row in rows:
            with suppress(SealBroken):
                opened[row["_id"]] = self.seal.address(row)
        return {key: address for key, address in opened.items() if address}

    async def _addressees(self, users: Sequence[str]) -> Mapping[str, Addressee | None] | None:
        try:
            return await self.users.addressees(users) if users else {}
        except UsersServiceUnavailable:
            return None

    async def _suppressed(
        self, channel: str, users: Mapping[str, Addressee | None], given: Collection[str]
    ) -> Mapping[str, Reasons]:
        addresses = {*given, *(user.email for user in users.values() if user is not None and user.email)}
        if channel != EMAIL or not addresses:
            return {}
        return await self.suppressions.active(addresses, self.clock())

    async def _subscribed(self, channel: str, users: Collection[str]) -> Mapping[str, Sequence[PushTarget]]:
        return {} if channel == EMAIL else await self.subscriptions.of_users(users)
