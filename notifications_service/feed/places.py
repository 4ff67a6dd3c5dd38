"""Places: a notification stands in the feed, or among those that wait for their time.

The move goes one way, from waiting into the feed. So whoever finds it in neither place looks into the feed once more:
it may have moved in between.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bson import ObjectId

from notifications_service.feed.batching import SharedCommands
from notifications_service.feed.repository import FeedRepository
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.repository import ScheduledRepository

# What deliveries keep of their notification; the rest they read when they are sent.
_FOLLOWED: Final = frozenset({"category", "critical", "expiresAt"})


class Places:
    """Finds, changes and deletes notifications by id, wherever they are. One in the feed costs no more than before."""

    def __init__(
        self, shared: SharedCommands, feed: FeedRepository, scheduled: ScheduledRepository, outbox: OutboxRepository
    ) -> None:
        self._shared = shared
        self._feed = feed
        self.scheduled = scheduled
        self._outbox = outbox

    async def get(self, key: ObjectId, user_id: str) -> Document | None:
        """Return a notification, or None. ``user_id``: whose it should be, if known; it may be another's."""
        return (
            await self._shared.get(key, user_id)
            or await self.scheduled.get(key, user_id)
            or await self._shared.get(key, user_id)
        )

    async def update(self, key: ObjectId, changes: Document, conditions: Document) -> Document | None:
        """Change a notification that meets the conditions, and return it as it is now; None: there is none."""
        return (
            await self._update_visible(key, changes, conditions)
            or await self.scheduled.update(key, changes, conditions | documents.due_before(changes.get("expiresAt")))
            or await self._update_visible(key, changes, conditions)
        )

    async def reschedule(
        self, key: ObjectId, changes: Document, at: datetime, conditions: Document, *, lenient: bool
    ) -> Document | None:
        """Change one that waits, its time to ``at``, too; None: none that waits meets the conditions.

        ``lenient``: one in the feed is changed as well, but for its time.
        """
        later = conditions | documents.expiring_after(changes.get("expiresAt"), at)
        found = await self.scheduled.update(key, changes | documents.schedule(at), later)
        return found or (await self._update_visible(key, changes, conditions) if lenient else None)

    async def delete(self, key: ObjectId, conditions: Document) -> bool:
        """Delete one that meets the conditions, and cancel what is to be sent of it; say whether there was one."""
        return (
            await self._delete_visible(key, conditions)
            or await self.scheduled.delete(key, conditions)
            or await self._delete_visible(key, conditions)
        )

    async def delete_deliveries(self, user_id: str, limit: int) -> int:
        """Delete up to ``limit`` of a user's deliveries, whose notifications are deleted; return how many."""
        return await self._outbox.delete_of_user(user_id, limit)

    async def _update_visible(self, key: ObjectId, changes: Document, conditions: Document) -> Document | None:
        found = await self._feed.update(key, changes, conditions)
        if found is not None and not _FOLLOWED.isdisjoint(changes) and documents.goes_out(found):
            await self._outbox.follow(found)
        return found

    async def _delete_visible(self, key: ObjectId, conditions: Document) -> bool:
        deleted = await self._feed.delete(key, conditions)
        if deleted is not None and documents.goes_out(deleted):
            await self._outbox.cancel_of([key], deleted["userId"])
        return deleted is not None
