"""The rules of push subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pymongo.errors import DuplicateKeyError

from chassis.contract.keyset import TimeAndId
from notifications_service.errors import ChannelNotConfigured, PushKeyUnknown, PushSubscriptionNotFound
from notifications_service.idempotency import IdempotencyKeys, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.push_subscriptions.keys import PushKey, PushKeys
from notifications_service.push_subscriptions.model import NewSubscription
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository

CHANNEL: Final = "push"


class SubscriberCheck(Protocol):
    """Checks that users exist."""

    async def check(self, fields: Mapping[str, str]) -> None:
        """Raise RecipientNotFound where a field names no user."""
        ...


@dataclass(frozen=True, slots=True)
class Lookup:
    """Names one subscription: by its id or, where that is empty, by its endpoint."""

    id: str = ""
    endpoint: str = ""


class PushSubscriptionService:
    """Keeps where users' push messages go."""

    def __init__(
        self,
        repository: PushSubscriptionRepository,
        request_ids: IdempotencyKeys,
        recipients: SubscriberCheck,
        keys: PushKeys,
    ) -> None:
        self._repository = repository
        self._request_ids = request_ids
        self._recipients = recipients
        self._keys = keys

    @property
    def key(self) -> PushKey:
        """The key that browsers subscribe with. Raises ChannelNotConfigured."""
        if (newest := self._keys.newest) is None:
            raise ChannelNotConfigured(CHANNEL)
        return newest

    async def register(self, new: NewSubscription, request: RequestKey | None) -> Document:
        """Store a subscription, or renew the one with its endpoint, and return the row.

        Raises ChannelNotConfigured, PushKeyUnknown, RecipientNotFound, UsersServiceUnavailable, RequestIdReused or
        RequestInFlight.
        """
        if request is not None and (first := await self._request_ids.answered(request)) is not None:
            return first.documents[0]
        self._check_key(new.key_id)
        await self._recipients.check({"user_id": new.user_id})
        row = await self._put(new) if request is None else await self._put_once(new, request)
        await self._repository.trim(new.user_id)
        return row

    def _check_key(self, key_id: str) -> None:
        if self._keys.newest is None:
            raise ChannelNotConfigured(CHANNEL)
        if key_id not in self._keys.by_id:
            raise PushKeyUnknown(key_id)

    async def _put(self, new: NewSubscription) -> Document:
        try:
            return await self._repository.put(new)
        except DuplicateKeyError:
            # Another call has just stored this endpoint; now it is there to be renewed.
            return await self._repository.put(new)

    async def _put_once(self, new: NewSubscription, request: RequestKey) -> Document:
        async def put(session: ClientSession) -> list[Document]:
            return [await self._repository.put(new, session)]

        return (await self._request_ids.once_made(request, put)).documents[0]

    async def page(self, user_id: str, after: TimeAndId | None, limit: int) -> list[Document]:
        """Return up to ``limit`` of a user's rows, newest first, after the key ``after``."""
        return await self._repository.page(user_id, after, limit)

    async def delete(self, user_id: str, lookup: Lookup, *, allow_missing: bool) -> None:
        """Delete a user's subscription. Raises PushSubscriptionNotFound unless ``allow_missing``."""
        if lookup.id:
            found = await self._repository.delete(user_id, lookup.id)
        else:
            found = await self._repository.delete_endpoint(user_id, lookup.endpoint)
        if not (found or allow_missing):
            raise PushSubscriptionNotFound(lookup.id or None)
