"""Writes of many rows of the feed: by ids, or all of a user's, batch by batch (docs/decisions/0066)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from bson import ObjectId

from chassis.pooling import batches
from chassis.pooling.batches import Batch, Batches, Pace, Written
from notifications_service.feed import repository
from notifications_service.feed.places import Places
from notifications_service.feed.repository import FeedRepository
from notifications_service.mongodb.codec import Document
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import Mark

# Deletes what else is kept of a user; may be repeated.
ForgetUser = Callable[[str], Awaitable[object]]


class KnownRecipients(Protocol):
    """What is believed of recipients."""

    def forget(self, user_id: str) -> None:
        """Drop the cached answer for a user."""
        ...


class ManyRows:
    """Marks by ids or all that match, and deletes all of a user."""

    def __init__(
        self,
        stored: FeedRepository,
        places: Places,
        recipients: KnownRecipients,
        stopping: Callable[[], bool],
    ) -> None:
        """``stopping``: whether this process is about to end; writes then answer what they have done."""
        self._stored = stored
        self._places = places
        self._recipients = recipients
        self._stopping = stopping
        self._forget: tuple[ForgetUser, ...] = ()

    def also_forget(self, forget: Sequence[ForgetUser]) -> None:
        """Have these called, in order, for a user whose notifications are all deleted, before they are."""
        self._forget = tuple(forget)

    async def mark(self, user_id: str, ids: Sequence[ObjectId], mark: Mark) -> int:
        """Put notifications of a user into a state; return how many were not in it."""
        return await self._stored.mark(user_id, ids, mark.value)

    async def mark_all(self, user_id: str, chosen: Filter, bound: AsOf | datetime | None, mark: Mark) -> Written:
        """Put all that match into a state; return how many were not in it, and whether time was up before the end.

        ``bound``: only those that a read has seen, or that were created then or before. May be repeated, and goes on
        then.
        """
        if chosen.is_contradiction:
            return Written(0)
        return await batches.write(self._marking(user_id, chosen, bound, mark), self._stopping)

    async def _marking(self, user_id: str, chosen: Filter, bound: AsOf | datetime | None, mark: Mark) -> Batches:
        condition = await self._condition(user_id, bound)
        pace, after = Pace(repository.MARK_BATCH), None
        while True:
            changed, after = await self._stored.mark_all(
                user_id, chosen, condition, mark.value, limit=pace.size, after=after
            )
            yield Batch(changed, is_last=after is None)
            pace.step()

    async def _condition(self, user_id: str, bound: AsOf | datetime | None) -> Document:
        if bound is None:
            # No bound is drawn from this process's clock: another writer's may be ahead of it.
            return {}
        if isinstance(bound, datetime):
            return {"createdAt": {"$lte": bound}}
        return bound.condition(await self._stored.seen_lately(user_id, bound))

    async def delete_of_user(self, user_id: str) -> Written:
        """Delete all notifications of a user; return how many there were. May be repeated, and goes on then.

        What else is kept of the user goes first.
        """
        self._recipients.forget(user_id)
        for forget in self._forget:
            await forget(user_id)
        return await batches.write(self._deleting(user_id), self._stopping)

    async def _deleting(self, user_id: str) -> Batches:
        pace = Pace(repository.DELETE_BATCH)
        # First those that wait: what becomes visible meanwhile is among the others then.
        while gone := await self._places.scheduled.delete_of_user(user_id, pace.size):
            pace.step()
            yield Batch(gone, is_last=False)
        for visible in (True, False):
            more = True
            while more:
                gone, more = await self._stored.delete_of_user(user_id, visible=visible, limit=pace.size)
                pace.step()
                # Rows that nobody could see are not counted.
                yield Batch(gone if visible else 0, is_last=False)
        # What is still to be sent of it finds no notification meanwhile, and is cancelled.
        more = True
        while more:
            more = await self._places.delete_deliveries(user_id, pace.size) == pace.size
            yield Batch(0, is_last=not more)
            pace.step()
