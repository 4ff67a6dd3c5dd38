"""The rules of the feed, and its transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NoReturn, Protocol

from bson import ObjectId
from bson.errors import InvalidBSON
from pymongo.errors import PyMongoError

from chassis.errors import EtagMismatch, ServiceError
from chassis.logs import logging
from chassis.slices import Slices
from notifications_service.clock import MillisecondClock
from notifications_service.errors import NotificationNotFound, NotificationUnreadable
from notifications_service.feed.batching import Counted, SharedCommands
from notifications_service.feed.counts import FeedCounts
from notifications_service.feed.many_rows import ManyRows
from notifications_service.feed.paging import Page, PageKey
from notifications_service.feed.places import Places
from notifications_service.feed.storing import Storing
from notifications_service.feed.updates import Schedule
from notifications_service.idempotency import Created, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents, filters
from notifications_service.notification.documents import Draft
from notifications_service.notification.filters import Filter
from notifications_service.scheduled.repository import ScheduledFilter, ScheduledKey, scheduled_key

# Checks notifications before they are stored, and raises an error for one that must not be.
CheckDocuments = Callable[[Sequence[Document]], None]
CheckDocument = Callable[[Document], None]
CheckBatch = Callable[[Sequence[Document]], Awaitable[None]]


class RecipientCheck(Protocol):
    """Checks that recipients exist, and caches the answers."""

    async def check(self, fields: Mapping[str, str]) -> None:
        """Raise RecipientNotFound where a field names no user."""
        ...

    async def unknown(self, user_ids: Collection[str]) -> set[str]:
        """Return those of the ids that name no user."""
        ...

    def forget(self, user_id: str) -> None:
        """Drop the cached answer for a user."""
        ...


def _accept(_: Sequence[Document]) -> None:
    """Refuse nothing."""


def _accept_one(_: Document) -> None:
    """Refuse nothing."""


async def _accept_batch(_: Sequence[Document]) -> None:
    """Refuse nothing."""


class FeedService:
    """Creates, reads, counts, changes and deletes notifications one by one; ``many``: many of them at once."""

    def __init__(
        self,
        counts: FeedCounts,
        shared: SharedCommands,
        places: Places,
        storing: Storing,
        recipients: RecipientCheck,
        *,
        clock: MillisecondClock,
        slices: Slices,
        many: ManyRows,
    ) -> None:
        self._counts = counts
        self._shared = shared
        self._places = places
        self._storing = storing
        self._recipients = recipients
        self._clock = clock
        self._slices = slices
        self.many = many

    async def create(self, draft: Draft, key: RequestKey | None, check: CheckDocuments = _accept) -> Document:
        """Create a notification, once ``check`` has found that it can be answered.

        Raises RecipientNotFound, UsersServiceUnavailable, RequestIdReused or RequestInFlight.
        """
        if key is None:
            await self._recipients.check({"user_id": draft.user_id})
            document = documents.new(draft, self._clock())
            check([document])
            await self._storing.store(document)
            return document

        async def check_batch(new: Sequence[Document]) -> None:
            check(new)

        return (await self.create_batch({"user_id": draft}, key, check_batch)).documents[0]

    async def create_batch(
        self,
        drafts: Mapping[str, Draft],
        key: RequestKey | None,
        check: CheckBatch = _accept_batch,
        *,
        skip_unknown: bool = False,
        ids_only: bool = False,
    ) -> Created:
        """Create notifications, all or none (``drafts``: field that names the user → draft); errors as ``create``.

        ``skip_unknown``: leave those for unknown users out. ``ids_only``: of what is created, only ids are answered.
        """
        if key is not None and (first := await self._storing.answered(key)) is not None:
            return first
        unknown = await self._unknown(drafts, skip=skip_unknown)
        at = self._clock()
        wanted = [draft for draft in drafts.values() if draft.user_id not in unknown]
        new = await self._slices.map(lambda draft: documents.new(draft, at), wanted)
        await check(new)

        created = Created([documents.ids_of(each) for each in new] if ids_only else new, unknown)
        return await self._storing.store_all(new, key, created)

    async def _unknown(self, drafts: Mapping[str, Draft], *, skip: bool) -> Sequence[str]:
        """Return the users to skip, in the order of the batch. Raises RecipientNotFound where none may be."""
        users = {field: draft.user_id for field, draft in drafts.items()}
        if not skip:
            await self._recipients.check(users)
            return ()
        unknown = await self._recipients.unknown(users.values())
        return [user_id for user_id in dict.fromkeys(users.values()) if user_id in unknown]

    async def get(self, key: ObjectId, user_id: str) -> Document:
        """Return a notification, of that user if one is given. Raises NotificationNotFound."""
        found = await self._places.get(key, user_id)
        if found is None or (user_id and found.get("userId") != user_id):
            raise NotificationNotFound(str(key))
        return found

    async def page(
        self, user_id: str, chosen: Filter, after: PageKey | None, size: int, projection: Document | None
    ) -> Page:
        """Return ``size`` of a user's notifications that match, newest first, after the key ``after``.

        A page that is not the last may have fewer, where they are too large for one answer of the database.
        """
        if chosen.is_contradiction:
            return Page([], is_last=True)
        fields = projection and projection | {"createdAt": 1, "userId": 1}
        # One row more tells whether there is a next page.
        rows, cut, at = await self._shared.page(user_id, chosen, after, size + 1, fields)
        return Page(rows[:size], is_last=len(rows) <= size and not cut, at=at)

    async def scheduled_page(
        self,
        user_id: str,
        chosen: ScheduledFilter,
        after: ScheduledKey | None,
        size: int,
        projection: Document | None,
    ) -> Page:
        """Return ``size`` of a user's that wait for their time and match, the earliest first, after a key."""
        fields = projection and projection | {"userId": 1}
        if fields and "delivery" not in fields:
            # MongoDB takes no part of what is asked for whole.
            fields["delivery.scheduledAt"] = 1
        rows, cut = await self._places.scheduled.page(user_id, chosen, after, size + 1, fields)
        return Page(rows[:size], is_last=len(rows) <= size and not cut, key_of=scheduled_key)

    async def scheduled_count(self, user_id: str, chosen: ScheduledFilter) -> int:
        """Return how many of a user's that wait for their time match."""
        return await self._places.scheduled.count(user_id, chosen)

    async def count(self, user_id: str, chosen: Sequence[Filter]) -> Counted:
        """Return how many of a user's notifications match each filter, all counted at the same time."""
        return await self._shared.count(user_id, tuple(chosen) or (filters.EVERYTHING,))

    async def stats(self, user_id: str, chosen: Filter) -> list[Document]:
        """Return how many there are of each type and state: rows of ``_id`` (their fields) and ``n``."""
        if chosen.is_contradiction:
            return []
        key = {"type": "$type", "archived": "$archived", "read": "$read", "seen": "$seen"}
        return (await self._counts.group([user_id], key, chosen)).rows

    async def note(self, hidden: Sequence[ObjectId], restored: Sequence[ObjectId]) -> None:
        """Flag rows that turned out unreadable, and unflag readable ones, so that counts agree with lists.

        A failure is ignored: the next call that reads such a row tries again.
        """
        try:
            if hidden:
                await self._counts.flag(hidden)
            if restored:
                await self._counts.unflag(restored)
        except (ServiceError, PyMongoError) as error:
            logging.get(__name__).warning("unreadable rows not noted", kind=type(error).__name__)

    async def update(
        self,
        key: ObjectId,
        user_id: str,
        changes: Document,
        etag: str,
        check: CheckDocument = _accept_one,
        *,
        schedule: Schedule | None = None,
    ) -> Document:
        """Change fields. Raises NotificationNotFound, or EtagMismatch if it changed since ``etag`` was read.

        What is said of a channel is stored only with a notification that goes out by it, a time only with one that
        waits, and an expiry only after that time; ``check`` is handed one that is left as it was, and raises what is
        wrong with that.
        """
        conditions, channels = _conditions(user_id, etag), documents.going_out_by(changes)
        try:
            found = await self._changed(key, changes, conditions and conditions | channels, schedule)
        except InvalidBSON:
            raise NotificationUnreadable from None
        if found is None and (channels or schedule or changes.get("expiresAt")):
            check(await self.get(key, user_id))
        return found or await self._raise_why(key, user_id, etag)

    async def _changed(
        self, key: ObjectId, changes: Document, conditions: Document | None, schedule: Schedule | None
    ) -> Document | None:
        if conditions is None:
            return None
        if schedule is None:
            return await self._places.update(key, changes, conditions)
        return await self._places.reschedule(key, changes, schedule.at, conditions, lenient=schedule.lenient)

    async def delete(self, key: ObjectId, user_id: str, etag: str, *, allow_missing: bool) -> None:
        """Delete a notification. Raises NotificationNotFound unless ``allow_missing``, EtagMismatch if it changed."""
        conditions = _conditions(user_id, etag)
        if conditions is not None and await self._places.delete(key, conditions):
            return
        try:
            await self._raise_why(key, user_id, etag)
        except NotificationNotFound:
            if not allow_missing:
                raise

    async def _raise_why(self, key: ObjectId, user_id: str, etag: str) -> NoReturn:
        found = await self.get(key, user_id)
        raise EtagMismatch(documents.etag(found)) if etag else NotificationNotFound(str(key))


def _conditions(user_id: str, etag: str) -> Document | None:
    """Return the conditions on the row beside its id; None where no row can have such an etag."""
    # A row of another system whose list of users contains this one belongs to nobody.
    conditions: Document = {"userId": {"$eq": user_id, "$not": {"$type": "array"}}} if user_id else {}
    if not etag:
        return conditions
    unchanged = documents.etag_query(etag)
    return None if unchanged is None else conditions | unchanged
