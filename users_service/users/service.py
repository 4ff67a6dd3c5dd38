"""The rules of users, and the transactions in which they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1.user_service_pb2 import CreateUserRequest, CreateUserResponse

from chassis.clock import Clock
from chassis.contract import etags
from chassis.contract.keyset import TimeAndId, cut
from chassis.errors import EtagMismatch
from users_service.errors import RecordUnreadable, UserNotFound
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.idempotency import Idempotency
from users_service.mysql.database import Database
from users_service.mysql.rows import readable
from users_service.outbox.notices import Notices
from users_service.paging import key_of
from users_service.passwords.hasher import Passwords
from users_service.replicas.reads import Query
from users_service.users import repository
from users_service.users.deletion import delete_everything
from users_service.users.email import folded, normalize
from users_service.users.messages import fill
from users_service.users.model import Deleted, User, UserChanges, UserFilter, UserOrder, new_user
from users_service.users.proofs import VoidProofs
from users_service.users.reads import UserReads

# No etag was given: the user may be in any state.
ANY_STATE: Final = ""
# That of no row, whose revisions have 32 bits.
NO_REVISION: Final = -(2**63)

StorePassword = Callable[[AsyncConnection, str, str, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list of users. ``last`` is the key of the last one; None on the last page."""

    users: Sequence[User]
    last: TimeAndId | None
    total: int | None


@dataclass(frozen=True, slots=True)
class UserBatch:
    """The users with the requested ids, in that order, and the ids of users that are missing or cannot be read."""

    users: Sequence[User]
    missing: Sequence[str]
    unreadable: Sequence[str]


@dataclass(frozen=True)
class UserService:
    """Creates, reads, changes and deletes users.

    ``query`` carries out lists and counts; ``on_deleted`` is called after each deletion has committed;
    ``store_password`` stores the hash of a new user's password, and ``void_proofs`` ends the verifications of
    addresses, both in the transaction that they are given.
    """

    database: Database
    query: Query
    reads: UserReads
    idempotency: Idempotency
    passwords: Passwords
    notices: Notices
    clock: Clock
    on_deleted: Callable[[], None]
    store_password: StorePassword
    void_proofs: VoidProofs

    async def create_user(self, request: CreateUserRequest) -> CreateUserResponse:
        """Create a user, with a password account where the request has a password or its hash.

        Raises EmailTaken, PasswordCompromised, PasswordHashUnsupported, PasswordHashingBusy, RequestIdReused,
        RequestInFlight.
        """
        if answer := await self.idempotency.remembered(request, CreateUserResponse):
            return answer
        password_hash = await self._password_hash(request)

        async def work(connection: AsyncConnection) -> CreateUserResponse:
            now = self.clock()
            user = _requested(request, now=now)
            await repository.insert_user(connection, user)
            await record(connection, UserEventKind.CREATED, user.id, user.revision, now)
            if password_hash:
                await self.store_password(connection, user.id, password_hash, now)
            await self.notices.welcome(connection, user.id, now)
            response = CreateUserResponse()
            fill(response.user, user)
            return response

        return await self.idempotency.run(request, CreateUserResponse, work)

    async def _password_hash(self, request: CreateUserRequest) -> str:
        """Return the hash to store, made before a transaction is open; empty: no password."""
        if request.password:
            self.passwords.check_choice(request.password, "password")
            return await self.passwords.hash(request.password)
        if request.password_hash:
            await self.passwords.check_importable(request.password_hash)
        return request.password_hash

    async def get_user(self, id_: str) -> User:
        """Return a user. Raises UserNotFound."""
        user = await self.reads.get(id_)
        if user is None:
            raise UserNotFound(id_)
        return user

    async def get_user_by_email(self, email: str) -> User:
        """Return the user of an address in any case. Raises UserNotFound."""
        user = await self.reads.get_by_email(normalize(email))
        if user is None:
            # An address is personal data: callers log metadata.
            raise UserNotFound(None)
        return user

    async def batch_get_users(self, ids: Sequence[str]) -> UserBatch:
        """Return the users with these ids, and the ids of users that are missing or cannot be read."""
        found = await self.reads.get_many(ids)
        users = [user for id_ in ids if isinstance(user := found.get(id_), User)]
        missing = dict.fromkeys(id_ for id_ in ids if id_ not in found)
        unreadable = dict.fromkeys(id_ for id_ in ids if isinstance(found.get(id_), RecordUnreadable))
        return UserBatch(users, list(missing), list(unreadable))

    async def list_users(
        self, wanted: UserFilter, *, order: UserOrder, after: TimeAndId | None, size: int, with_total: bool
    ) -> Page:
        """Return a page of users, beginning after the key ``after``."""

        async def work(connection: AsyncConnection) -> tuple[list[Row[Any]], int | None]:
            # One more than asked for tells whether there is another page.
            rows = await repository.list_users(connection, wanted, size + 1, after=after, order=order)
            return rows, await repository.count_users(connection, wanted) if with_total else None

        rows, total = await self.query(work)
        rows, last = cut(rows, size, partial(key_of, descending=order.descending, by=order.by))
        return Page(readable(repository.user_of, rows), last, total)

    async def count_users(self, wanted: UserFilter) -> int:
        """Count users."""
        return await self.query(lambda connection: repository.count_users(connection, wanted))

    async def update_user(self, id_: str, changes: UserChanges, etag: str) -> User:
        """Change a user and return it; a change of address ends the verifications of both addresses.

        Raises UserNotFound, EtagMismatch, EmailTaken.
        """
        revision = None if etag == ANY_STATE else _revision(etag)

        async def work(connection: AsyncConnection) -> User:
            # Locked before the change: verifications of the old address are made and consumed under the same lock.
            before = await repository.read_user(connection, id_, lock=True) if changes.email is not None else None
            now = self.clock()
            changed = await repository.change_user(connection, id_, changes, now, revision=revision)
            user = await repository.read_user(connection, id_)
            if user is None:
                raise UserNotFound(id_)
            if not changed:
                raise EtagMismatch(user.etag)
            await record(connection, UserEventKind.CHANGED, user.id, user.revision, now)
            if before is not None and folded(before.email) != folded(user.email):
                await self.void_proofs(connection, user.id, before.email, user.email)
                await self.notices.email_changed(connection, before.email, now)
            return user

        return await self.database.transaction(work)

    async def delete_user(self, id_: str, etag: str, *, allow_missing: bool) -> Deleted:
        """Delete a user with all records. Raises UserNotFound unless ``allow_missing``, EtagMismatch."""

        async def work(connection: AsyncConnection) -> Deleted:
            user = await repository.read_user(connection, id_, lock=True)
            if user is None and allow_missing:
                return Deleted(sessions=0, accounts=0)
            if user is None:
                raise UserNotFound(id_)
            if etag not in (ANY_STATE, user.etag):
                raise EtagMismatch(user.etag)
            return await delete_everything(connection, user, self.clock(), self.void_proofs)

        deleted = await self.database.transaction(work)
        self.on_deleted()
        return deleted


def _requested(request: CreateUserRequest, *, now: datetime) -> User:
    return new_user(request.email, now, email_verified=request.email_verified, name=request.name, image=request.image)


def _revision(etag: str) -> int:
    """Return the revision in an etag; ``NO_REVISION`` for text that is none of ours."""
    revision, *_ = etags.read(etag, 1) or (None,)
    return NO_REVISION if revision is None else revision
