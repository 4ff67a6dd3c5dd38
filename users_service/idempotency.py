"""Idempotent requests (AIP-155): the first answer to a ``request_id`` is kept, and repeats get it again.

The transaction that does the work inserts a row into ``idempotency_keys``. Its unique key makes repeats wait, and both
become visible together or not at all, so a failure is not remembered. Answers are encrypted, since they may hold a
session token; fingerprints are keyed, since requests may hold a password.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.context.statements import named
from chassis.contract.idempotency import RequestIdReused, RequestInFlight, request_fingerprint
from chassis.errors import ServiceError
from chassis.keyring import KeyMissing, Keyring
from users_service.errors import EncryptionKeyMissing
from users_service.mysql.database import Database, Work
from users_service.mysql.driver_errors import DUPLICATE_KEY, LOCK_WAIT_TIMEOUT, error_number
from users_service.tables import idempotency_keys as keys

R = TypeVar("R", bound=Message)


class IsLost(Protocol):
    """Tells of an answer that was kept whether a crash has taken what it tells of (``accounts.halves``)."""

    async def __call__(self, connection: AsyncConnection, answer: Message, *, lock: bool) -> bool:
        """Return it; ``lock``: certain, for as long as the transaction lasts."""
        ...


class _SeemsLost(Exception):
    """The work that an answer tells of may be lost; raised so that nothing stays locked."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.kept = kept


async def _never(connection: AsyncConnection, answer: Message, *, lock: bool) -> bool:  # noqa: ARG001
    return False


class Idempotency:
    """Runs the work of a request that has a field ``request_id`` once."""

    def __init__(self, database: Database, keyring: Keyring, clock: Clock, is_lost: IsLost = _never) -> None:
        """``is_lost``: tells which answers are as if they had not been kept."""
        self._is_lost = is_lost
        self._database = database
        self._cipher = keyring.cipher("idempotent-answers")
        self._mac = keyring.mac("idempotent-requests")
        self._clock = clock

    async def run(self, request: Message, answer: type[R], work: Work[R | ServiceError]) -> R:
        """Carry out ``work`` in one transaction, or return the answer that a request of the same id had.

        Without a ``request_id`` this is ``Database.transaction``, whose rules hold for ``work`` in any case. Raises
        RequestIdReused for an id that came with another body, and RequestInFlight while the first request is still
        being carried out. An error that ``work`` returns is raised after the commit of what it wrote, and, like one
        that it raises, not remembered.
        """
        if not _request_id(request):
            result = await self._database.transaction(work)
        else:
            result = await self._once(request, answer, work)
        if isinstance(result, ServiceError):
            raise result
        return result

    async def _once(self, request: Message, answer: type[R], work: Work[R | ServiceError]) -> R | ServiceError:
        try:
            return await self._database.transaction(partial(self._carry_out, request, answer, work))
        except _SeemsLost as found:
            kept: R = found.kept
        # In a transaction of its own: over shards, whoever locks a lookup's row cannot write it.
        if not await self._database.transaction(lambda connection: self._is_lost(connection, kept, lock=True)):
            return kept
        return await self._database.transaction(partial(self._carry_out, request, answer, work, take_over=True))

    async def _carry_out(
        self,
        request: Message,
        answer: type[R],
        work: Work[R | ServiceError],
        connection: AsyncConnection,
        *,
        take_over: bool = False,
    ) -> R | ServiceError:
        if not await self._claim(connection, request):
            if take_over:
                # Of several who do, all hold the key already, for reading: one of them goes on.
                await self._lock(connection, request)
            kept = await self._read(connection, request, answer)
            if not await self._is_lost(connection, kept, lock=False):
                return kept
            if not take_over:
                raise _SeemsLost(kept)
        done = await work(connection)
        if isinstance(done, ServiceError):
            await self._release(connection, request)
        else:
            await self._keep(connection, request, done)
        return done

    async def remembered(self, request: Message, answer: type[R]) -> R | None:
        """Return the answer kept for the request, or None; to be called before expensive work is repeated."""
        if not _request_id(request):
            return None

        async def look(connection: AsyncConnection) -> R | None:
            kept = await self._find(connection, request, answer)
            return None if kept is None or await self._is_lost(connection, kept, lock=False) else kept

        return await self._database.query(look)

    @named
    async def _claim(self, connection: AsyncConnection, request: Message) -> bool:
        row = {
            "method": _method(request),
            "request_id": _request_id(request),
            "fingerprint": self._mac.sign(request_fingerprint(request)),
            "created_at": self._clock(),
        }
        try:
            await connection.execute(insert(keys).values(row))
        except IntegrityError as error:
            if error_number(error) != DUPLICATE_KEY:
                raise
            return False
        except OperationalError as error:
            if error_number(error) == LOCK_WAIT_TIMEOUT:
                raise RequestInFlight from None
            raise
        return True

    @named
    async def _lock(self, connection: AsyncConnection, request: Message) -> None:
        await connection.execute(select(keys.c.method).where(*_key(request)).with_for_update())

    async def _read(self, connection: AsyncConnection, request: Message, answer: type[R]) -> R:
        found = await self._find(connection, request, answer)
        if found is None:
            # Purged between the two statements.
            raise RequestInFlight
        return found

    @named
    async def _find(self, connection: AsyncConnection, request: Message, answer: type[R]) -> R | None:
        statement = select(keys.c.fingerprint, keys.c.response).where(*_key(request))
        row = (await connection.execute(statement)).one_or_none()
        if row is None:
            return None
        try:
            stored = self._cipher.decrypt(row.response, _associated(request))
        except KeyMissing as error:
            raise EncryptionKeyMissing from error
        if not self._mac.verify(request_fingerprint(request), row.fingerprint):
            raise RequestIdReused
        return answer.FromString(stored)

    @named
    async def _keep(self, connection: AsyncConnection, request: Message, done: Message) -> None:
        response = self._cipher.encrypt(done.SerializeToString(), _associated(request))
        await connection.execute(update(keys).where(*_key(request)).values(response=response))

    @named
    async def _release(self, connection: AsyncConnection, request: Message) -> None:
        await connection.execute(delete(keys).where(*_key(request)))


def _method(request: Message) -> str:
    return request.DESCRIPTOR.name.removesuffix("Request")


def _request_id(request: Message) -> str:
    # UUIDs in capitals are the same UUIDs (RFC 9562, 4).
    return str(getattr(request, "request_id")).lower()  # noqa: B009 - not every message has it


def _key(request: Message) -> tuple[ColumnElement[bool], ...]:
    return keys.c.method == _method(request), keys.c.request_id == _request_id(request)


def _associated(request: Message) -> bytes:
    return f"{_method(request)}/{_request_id(request)}".encode()
