"""The rules of the feed, and its transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol

from bson import ObjectId, Timestamp
from bson.errors import InvalidBSON
from pymongo.errors import PyMongoError

from chassis.errors import EtagMismatch, ServiceError
from chassis.logs import logging
from chassis.pooling import batches
from chassis.pooling.batches import Batch, Batches, Pace, Written
from chassis.slices import Slices
from notifications_service.clock import MillisecondClock
from notifications_service.errors import NotificationNotFound, NotificationUnreadable
from notifications_service.feed import repository
from notifications_service.feed.batching import Counted, SharedCommands
from notifications_service.feed.places import Places
from notifications_service.feed.repository import FeedRepository, PageKey, page_key
from notifications_service.feed.storing import Storing
from notifications_service.feed.updates import Schedule
from notifications_service.idempotency import Created, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.notification import as_of, documents, filters
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.documents import Draft
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import Mark
from notifications_service.scheduled.repository import ScheduledFilter, ScheduledKey, scheduled_key

# Checks notifications before they are stored, and raises an error for one that must not be.
CheckDocuments = Callable[[Sequence[Document]], None]
CheckDocument = Callable[[Document], None]
CheckBatch = Callable[[Sequence[Document]], Awaitable[None]]
# Deletes what else is kept of a user; may be repeated.
ForgetUser = Callable[[str], Awaitable[object]]


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


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order; ``is_last``: none come after them; ``at``: the cluster time of reading, where it is known."""

    rows: list[Document]
    is_last: bool
    at: Timestamp | None = None
    key_of: Callable[[Document], PageKey] = page_key

    @property
    def seen(self) -> AsOf | None:
        """What the read of this page has seen; None where that is not known."""
        return None if self.at is None else as_of.seen_by(self.at, self.rows)

    def end(self, taken: int) -> PageKey | None:
        """Return the key after which the next page begins if this one shows ``taken`` rows; None: there is none."""
        if self.is_last and taken == len(self.rows):
            return None
        return self.key_of(self.rows[taken - 1])


class FeedService:
    """Creates, reads, counts, marks and deletes notifications."""

    def __init__(
        self,
        repository: FeedRepository,
        shared: SharedCommands,
        places: Places,
        storing: Storing,
        recipients: RecipientCheck,
        *,
        clock: MillisecondClock,
        slices: Slices,
        stopping: Callable[[], bool],
    ) -> None:
        """``stopping``: whether this process is about to end; writes of many rows then answer what they have done."""
        self._repository = repository
        self._shared = shared
        self._places = places
        self._storing = storing
        self._recipients = recipients
        self._clock = clock
        self._slices = slices
        self._stopping = stopping
        self._forget: tuple[ForgetUser, ...] = ()

    def also_forget(self, forget: Sequence[ForgetUser]) -> None:
        """Have these called, in order, for a user whose notifications are all deleted, before they are."""
        self._forget = tuple(forget)

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
        found = await self._places.get(key)
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
        fields = projection and projection | {"delivery.scheduledAt": 1, "userId": 1}
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
        return (await self._repository.group([user_id], key, chosen)).rows

    async def note(self, hidden: Sequence[ObjectId], restored: Sequence[ObjectId]) -> None:
        """Flag rows that turned out unreadable, and unflag readable ones, so that counts agree with lists.

        A failure is ignored: the next call that reads such a row tries again.
        """
        try:
            if hidden:
                await self._repository.flag(hidden)
            if restored:
                await self._repository.unflag(restored)
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

    async def mark(self, user_id: str, ids: Sequence[ObjectId], mark: Mark) -> int:
        """Put notifications of a user into a state; return how many were not in it."""
        return await self._repository.mark(user_id, ids, mark.value)

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
            changed, after = await self._repository.mark_all(
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
        return bound.condition(await self._repository.seen_lately(user_id, bound))

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
                gone, more = await self._repository.delete_of_user(user_id, visible=visible, limit=pace.size)
                pace.step()
                # Rows that nobody could see are not counted.
                yield Batch(gone if visible else 0, is_last=False)
        # What is still to be sent of it finds no notification meanwhile, and is cancelled.
        more = True
        while more:
            more = await self._places.delete_deliveries(user_id, pace.size) == pace.size
            yield Batch(0, is_last=not more)
            pace.step()

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
