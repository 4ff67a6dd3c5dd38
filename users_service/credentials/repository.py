"""Where the hash of a user's password is stored: read by email, and replaced only as it was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.accounts import repository as accounts_repository
from users_service.accounts.model import CREDENTIAL
from users_service.mysql.compiled import Prepared
from users_service.tables import accounts, users
from users_service.users import repository as users_repository
from users_service.users.model import User

# Made once: to put such a statement together takes longer than to carry it out.
_OWNED = users.outerjoin(accounts, and_(accounts.c.user_id == users.c.id, accounts.c.provider == CREDENTIAL))
_CREDENTIALS = select(users.c.id, accounts.c.password, users.c.password_hash).select_from(_OWNED)
_BY_USER = Prepared(_CREDENTIALS.where(users.c.id == bindparam("wanted")))
_BY_EMAIL = Prepared(
    _CREDENTIALS.add_columns(*users_repository.COLUMNS).where(users.c.email_normalized == bindparam("wanted"))
)
# Where a hash is still a user's: for statements that act only then.
UNCHANGED: Final = (
    accounts.c.provider == CREDENTIAL,
    accounts.c.account_id == bindparam("user_id"),
    accounts.c.password == bindparam("password_hash"),
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and the hash of the password, None where there is none."""

    user_id: str
    password_hash: str | None = field(repr=False)
    # Still where the source's own system keeps it, in users.password_hash.
    legacy: bool


@named
async def read_by_email(connection: AsyncConnection, normalized: str) -> tuple[User, Credential] | None:
    """Return the user with that address, and the credential; None when nobody has it."""
    row = (await _BY_EMAIL.on(connection, {"wanted": normalized})).one_or_none()
    return None if row is None else (users_repository.user_of(row[3:]), _credential(row[:3]))


@named
async def read_by_user(connection: AsyncConnection, user_id: str) -> Credential | None:
    """Return the credential of a user; None when there is no such user."""
    row = (await _BY_USER.on(connection, {"wanted": user_id})).one_or_none()
    return None if row is None else _credential(row)


def _credential(row: Sequence[Any]) -> Credential:
    user_id, password, legacy = row
    return Credential(user_id, password or legacy, legacy=not password and bool(legacy))


@named
async def replace(connection: AsyncConnection, verified: Credential, new_hash: str, now: datetime) -> bool:
    """Put another hash in the place of the one that was verified; False when that has changed already.

    Until the transaction ends, nobody else changes it. A legacy hash gives way to one among the user's accounts.
    """
    if verified.password_hash is None:
        return False
    if verified.legacy:
        return await _move(connection, verified, new_hash, now)
    return await accounts_repository.replace_password(
        connection, verified.user_id, verified.password_hash, new_hash, now
    )


async def _move(connection: AsyncConnection, verified: Credential, new_hash: str, now: datetime) -> bool:
    # The user is the same to callers, so the time of the last change stays.
    statement = (
        update(users)
        .where(users.c.id == verified.user_id, users.c.password_hash == verified.password_hash)
        .values(password_hash=None, updated_at=users.c.updated_at)
    )
    if (await connection.execute(statement)).rowcount == 0:
        return False
    await accounts_repository.put_password(connection, verified.user_id, new_hash, now)
    return True
