"""All SQL on stored passwords: ``accounts.password``, and ``users.password_hash`` of the source's own system.

A hash in ``users`` is valid until the first sign-in moves it to ``accounts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, insert, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from chassis.contract.ids import new_id
from users_service.credentials.model import CREDENTIAL, Credential
from users_service.mysql.compiled import CompiledStatement
from users_service.tables import accounts, users
from users_service.users import repository as users_repository
from users_service.users.model import User

# Made once: building such a statement takes longer than carrying it out.
_OWNED = users.outerjoin(accounts, and_(accounts.c.user_id == users.c.id, accounts.c.provider == CREDENTIAL))
_CREDENTIALS = select(users.c.id, accounts.c.password, users.c.password_hash).select_from(_OWNED)
_BY_USER = CompiledStatement(_CREDENTIALS.where(users.c.id == bindparam("wanted")))
_BY_EMAIL = CompiledStatement(
    _CREDENTIALS.add_columns(*users_repository.COLUMNS).where(users.c.email_normalized == bindparam("wanted"))
)
# The condition that a hash is still the user's.
UNCHANGED: Final = (
    accounts.c.user_id == bindparam("user_id"),
    accounts.c.provider == CREDENTIAL,
    accounts.c.account_id == bindparam("user_id"),
    accounts.c.password == bindparam("password_hash"),
)


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
async def store(connection: AsyncConnection, user_id: str, password_hash: str, now: datetime) -> None:
    """Give a user whom this transaction has made the first password."""
    await connection.execute(insert(accounts).values(_row(user_id, password_hash, now)))


@named
async def put(connection: AsyncConnection, user_id: str, password_hash: str, now: datetime) -> None:
    """Set the password of a user whose row is locked, whether or not there is one yet; one statement."""
    statement = mysql.insert(accounts).values(_row(user_id, password_hash, now))
    statement = statement.on_duplicate_key_update(
        password=password_hash, revision=accounts.c.revision + 1, updated_at=now
    )
    await connection.execute(statement)


def _row(user_id: str, password_hash: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("acct"),
        "user_id": user_id,
        "provider": CREDENTIAL,
        "account_id": user_id,
        "password": password_hash,
        "revision": 1,
        "created_at": now,
        "updated_at": now,
    }


@named
async def exchange(connection: AsyncConnection, user_id: str, old_hash: str, new_hash: str, now: datetime) -> bool:
    """Set the password where its hash is still ``old_hash``; return whether it was."""
    mine = (accounts.c.user_id == user_id, accounts.c.provider == CREDENTIAL, accounts.c.account_id == user_id)
    statement = (
        update(accounts)
        .where(*mine, accounts.c.password == old_hash)
        .values(password=new_hash, revision=accounts.c.revision + 1, updated_at=now)
    )
    return (await connection.execute(statement)).rowcount == 1


@named
async def clear_legacy(connection: AsyncConnection, user_id: str, old_hash: str | None = None) -> bool:
    """Remove the hash from ``users``, if given only where it is still ``old_hash``; return whether one was removed.

    The user's etag and time of change stay, since for callers the user is the same.
    """
    column = users.c.password_hash
    statement = (
        update(users)
        .where(users.c.id == user_id, column.is_not(None) if old_hash is None else column == old_hash)
        .values(password_hash=None, updated_at=users.c.updated_at)
    )
    return (await connection.execute(statement)).rowcount == 1
