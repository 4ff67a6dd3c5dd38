"""Idempotent requests (AIP-155): the first answer to a `request_id` is kept, in the collection `idempotency_keys`.

The key is written in the same transaction as the notifications, and the database keeps it unique: of two concurrent
calls one wins. An error is never remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bson import Binary
from pymongo.errors import DuplicateKeyError

from chassis.context.statements import named
from chassis.contract.idempotency import RequestIdReused, RequestInFlight
from chassis.errors import ConflictRetry
from chassis.pooling.detached import proceed
from notifications_service.clock import MillisecondClock
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.notification import schema

TransactionBody = Callable[[ClientSession], Awaitable[None]]
# Writes in a transaction, and returns the documents that are the answer.
MakeAnswer = Callable[[ClientSession], Awaitable[Sequence[Document]]]

# The TTL of the collection, in the migrations: what `request_id` promises.
KEPT_HOURS: Final = 24


class RequestKey:
    """The identity of one request: method and id, and the fingerprint of its body."""

    __slots__ = ("earlier", "fingerprint", "id")

    def __init__(self, method: str, request_id: str, fingerprint: bytes, earlier: Collection[bytes] = ()) -> None:
        """``earlier``: fingerprints of the same body that other keys made, where they are keyed."""
        self.earlier = earlier
        # A UUID is the same in capitals.
        self.id = f"{method}:{request_id.lower()}"
        self.fingerprint = fingerprint


@dataclass(frozen=True, slots=True)
class Created:
    """What a call created, whole or by its ids alone, and the users whom it skipped because nobody knows them."""

    documents: Sequence[Document]
    unknown: Sequence[str] = ()


class IdempotencyKeys:
    """Stores and finds first answers."""

    def __init__(self, database: Database, clock: MillisecondClock) -> None:
        self._database = database
        self._clock = clock
        self._keys = database.collection(schema.IDEMPOTENCY_KEYS)

    @named
    async def answered(self, key: RequestKey) -> Created | None:
        """Return the first answer, or None if there is none yet. Raises RequestIdReused for another body."""
        rows = (await self._database.find(schema.IDEMPOTENCY_KEYS, {"_id": key.id}, limit=1, hint="_id_")).rows
        if not rows:
            return None
        found = rows[0]
        if bytes(found["fingerprint"]) not in {key.fingerprint, *key.earlier}:
            raise RequestIdReused
        return Created(found["answer"], found.get("unknown", ()))

    @named
    async def once(self, key: RequestKey, answer: Created, write: TransactionBody) -> Created:
        """Carry out ``write`` and keep ``answer`` in one transaction, or return the first answer if there is one.

        Raises RequestIdReused, or RequestInFlight while another call with this key has not ended.
        """

        async def work(session: ClientSession) -> None:
            await self._keys.insert_one(_row(key, answer, self._clock()), session=session)
            proceed()
            await write(session)

        try:
            await self._database.transaction(work)
        except DuplicateKeyError:
            return await self._first(key)
        except ConflictRetry:
            raise RequestInFlight from None
        return answer

    @named
    async def once_made(self, key: RequestKey, make: MakeAnswer) -> Created:
        """Carry out ``make`` as ``once`` does ``write``, and keep what it returns: it is known only then."""

        async def work(session: ClientSession) -> Created:
            answer = Created(await make(session))
            proceed()
            await self._keys.insert_one(_row(key, answer, self._clock()), session=session)
            return answer

        try:
            return await self._database.transaction(work)
        except DuplicateKeyError:
            return await self._first(key)
        except ConflictRetry:
            raise RequestInFlight from None

    async def _first(self, key: RequestKey) -> Created:
        first = await self.answered(key)
        if first is None:
            # The key has just expired, or the duplicate was another key.
            raise RequestInFlight
        return first


def _row(key: RequestKey, answer: Created, at: datetime) -> Document:
    row = {"_id": key.id, "fingerprint": Binary(key.fingerprint), "answer": list(answer.documents), "createdAt": at}
    return row | {"unknown": list(answer.unknown)} if answer.unknown else row
