"""Storing of new notifications: with the deliveries of what goes out, and without them what is in the feed alone.

Single creates that arrive together share a command (docs/decisions/0012), or, where they go out, a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bson import ObjectId
from pymongo.errors import BulkWriteError, OperationFailure, WriteError

from chassis.batching.coalesce import Coalescer
from chassis.slices import Slices
from notifications_service.feed.batching import IN_FLIGHT, MARGIN
from notifications_service.feed.repository import FeedRepository
from notifications_service.idempotency import Created, IdempotencyKeys, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.driver_errors import codes
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification import documents
from notifications_service.outbox import model
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.repository import ScheduledRepository


class _Pending:
    """A notification to be stored; two of them are never equal."""

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        self.document = document


class Storing:
    """Stores notifications and their deliveries, both or none; ``timeout``: seconds for a shared command."""

    def __init__(
        self,
        database: Database,
        repository: FeedRepository,
        outbox: OutboxRepository,
        scheduled: ScheduledRepository,
        keys: IdempotencyKeys,
        *,
        timeout: float,
        slices: Slices,
    ) -> None:
        self._database = database
        self._repository = repository
        self._outbox = outbox
        self._scheduled = scheduled
        self._keys = keys
        self._slices = slices
        limit = timeout + MARGIN
        self._alone: Coalescer[_Pending, Exception] = Coalescer(
            self._insert_alone, max_in_flight=IN_FLIGHT, timeout=limit
        )
        self._outgoing: Coalescer[_Pending, Exception] = Coalescer(
            self._insert_outgoing, max_in_flight=IN_FLIGHT, timeout=limit
        )

    async def store(self, document: Document) -> None:
        """Store a notification."""
        if documents.waits(document):
            await self._scheduled.insert(document)
            return
        gathered = self._outgoing if documents.goes_out(document) else self._alone
        if (error := await gathered.get(_Pending(document))) is not None:
            raise error

    async def store_all(self, new: Sequence[Document], key: RequestKey | None, answer: Created) -> Created:
        """Store notifications, all or none, and under ``key`` what is answered; return that, or the first answer.

        Raises RequestIdReused or RequestInFlight.
        """
        waiting = [document for document in new if documents.waits(document)]
        feed = [document for document in new if not documents.waits(document)] if waiting else new
        outgoing = _outgoing(feed)
        made = await self._slices.map(model.of_notification, outgoing.values()) if outgoing else []
        rows = [row for each in made for row in each]
        model.collapse(rows, outgoing)

        async def write(session: ClientSession) -> None:
            await self._write(session, feed, rows)
            if waiting:
                await self._scheduled.insert_in(session, waiting)

        if key is not None:
            answer = await self._keys.once(key, answer, write)
        else:
            await self._database.transaction(write)
        if rows:
            self._outbox.stored()
        return answer

    async def answered(self, key: RequestKey) -> Created | None:
        """Return the answer that a key has got before; None: it has none. Raises RequestIdReused."""
        return await self._keys.answered(key)

    async def _write(self, session: ClientSession, new: Sequence[Document], rows: Sequence[Document]) -> None:
        if new:
            await self._repository.insert_in(session, new)
        if rows:
            await self._outbox.insert_in(session, rows)

    async def _insert_alone(self, pending: list[_Pending]) -> dict[_Pending, Exception]:
        errors = await self._repository.insert_each([item.document for item in pending])
        return {pending[index]: error for index, error in errors.items()}

    async def _insert_outgoing(self, pending: list[_Pending]) -> dict[_Pending, Exception]:
        outgoing = _outgoing([item.document for item in pending])
        rows = {key: model.of_notification(document) for key, document in outgoing.items()}
        model.collapse([row for each in rows.values() for row in each], outgoing)
        if await self._insert_together(list(outgoing.values()), rows) is not None:
            # What is wrong with one is not the others' trouble.
            alone = [await self._insert_together([item.document], rows) for item in pending]
            return {item: error for item, error in zip(pending, alone, strict=True) if error is not None}
        return {}

    async def _insert_together(
        self, new: Sequence[Document], rows: Mapping[ObjectId, Sequence[Document]]
    ) -> Exception | None:
        theirs = [row for document in new for row in rows[document["_id"]]]
        try:
            await self._database.transaction(lambda session: self._write(session, new, theirs))
        except OperationFailure as error:
            return _refused(error)
        self._outbox.stored()
        return None


def _outgoing(new: Sequence[Document]) -> dict[ObjectId, Document]:
    return {document["_id"]: document for document in new if documents.goes_out(document)}


def _refused(error: OperationFailure) -> Exception:
    """Return the error without the values that a driver quotes."""
    code = next(iter(codes(error)), None) if isinstance(error, BulkWriteError) else error.code
    return WriteError("refused", code)
