"""Exports of one person: records of both services, and an end that only a whole export has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1.user_service_pb2 import ExportUserResponse

from chassis.clock import Clock
from chassis.contract.keyset import TimeAndId
from chassis.errors import ShuttingDown
from users_service.accounts.messages import fill as fill_account
from users_service.accounts.repository import account_of, list_by_user
from users_service.errors import NotificationsServiceUnavailable, UserNotFound
from users_service.exports import repository
from users_service.mysql.database import Database
from users_service.sessions.listing import list_all, session_of
from users_service.sessions.messages import fill as fill_session
from users_service.users.email import folded
from users_service.users.messages import fill as fill_user
from users_service.users.model import User
from users_service.verifications.messages import fill as fill_verification
from users_service.verifications.repository import verification_of

# Rows that are read at once.
PAGE: Final = 100

ExportedRecords = AsyncIterator[ExportUserResponse]
# Reads a page of rows after a key.
_ReadPage = Callable[[AsyncConnection, TimeAndId | None], Awaitable[Sequence[Any]]]


class OtherRecords(Protocol):
    """Reads what the notifications service keeps of a user."""

    def of_user(self, user_id: str, email: str) -> ExportedRecords:
        """Yield records. Raises NotificationsServiceUnavailable."""
        ...


@dataclass(frozen=True)
class UserExports:
    """Exports of one person.

    ``others``: reads the records of the notifications service; None: there is none to ask. ``stopping``: whether this
    process is about to end.
    """

    database: Database
    read_user: Callable[[str], Awaitable[User | None]]
    others: OtherRecords | None
    clock: Clock
    stopping: Callable[[], bool]

    async def export_user(self, id_: str) -> ExportedRecords:
        """Yield everything that is kept of a user, and last an ``end``.

        Raises UserNotFound, also where the user is deleted meanwhile, NotificationsServiceUnavailable, ShuttingDown, or
        RecordUnreadable; what was yielded by then is no export.
        """
        user, count = await self._user(id_), 0
        async with aclosing(self._records(user)) as records:  # type: ignore[type-var]
            async for record in records:
                if self.stopping():
                    raise ShuttingDown
                yield record
                count += 1
        await self._user(id_)
        yield ExportUserResponse(end=ExportUserResponse.End(record_count=count))

    async def _user(self, id_: str) -> User:
        user = await self.read_user(id_)
        if user is None:
            raise UserNotFound(id_)
        return user

    async def _records(self, user: User) -> ExportedRecords:
        record = ExportUserResponse()
        fill_user(record.user, user)
        yield record
        for part in (self._accounts(user), self._sessions(user), self._verifications(user), self._others(user)):
            async for record in part:
                yield record

    async def _accounts(self, user: User) -> ExportedRecords:
        async for row in self._pages(lambda connection, after: list_by_user(connection, user.id, PAGE, after)):
            record = ExportUserResponse()
            fill_account(record.account, account_of(row))
            yield record

    async def _sessions(self, user: User) -> ExportedRecords:
        now = self.clock()
        async for row in self._pages(lambda connection, after: list_all(connection, user.id, after, PAGE)):
            record = ExportUserResponse()
            fill_session(record.session, session_of(row), now)
            yield record

    async def _verifications(self, user: User) -> ExportedRecords:
        now, identifier = self.clock(), folded(user.email)
        rows = await self.database.query(
            lambda connection: repository.outstanding_verifications(connection, user.id, identifier, now)
        )
        for row in rows:
            record = ExportUserResponse()
            fill_verification(record.verification, verification_of(row))
            yield record

    async def _others(self, user: User) -> ExportedRecords:
        if self.others is None:
            raise NotificationsServiceUnavailable
        async for record in self.others.of_user(user.id, user.email):
            yield record

    async def _pages(self, read: _ReadPage) -> AsyncIterator[Any]:
        """Yield rows in the order in which they are read; what cannot be read fails whoever reads it."""
        after: TimeAndId | None = None
        while True:
            found = await self.database.query(lambda connection, after=after: read(connection, after))  # type: ignore[misc]
            for row in found:
                yield row
            if len(found) < PAGE:
                return
            after = found[-1].created_at, found[-1].id
