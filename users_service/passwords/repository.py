"""Where the hash of a user's password is stored: read by email, and held on to while a session is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.statements import named
from users_service.accounts import repository as accounts_repository
from users_service.accounts.model import CREDENTIAL
from users_service.tables import accounts, users

# Made once: to put such a statement together takes longer than to carry it out.
_CREDENTIALS = select(users.c.id, accounts.c.password, users.c.password_hash).select_from(
    users.outerjoin(accounts, and_(accounts.c.user_id == users.c.id, accounts.c.provider == CREDENTIAL))
)
_BY_EMAIL = _CREDENTIALS.where(users.c.email_normalized == bindparam("wanted"))
_BY_USER = _CREDENTIALS.where(users.c.id == bindparam("wanted"))
# A shared lock: sign-ins of one user go on side by side, a change of the password waits for them.
_HELD = (
    select(accounts.c.password)
    .where(accounts.c.provider == CREDENTIAL, accounts.c.account_id == bindparam("user_id"))
    .with_for_update(read=True)
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A user and the hash of the password, None where there is none."""

    user_id: str
    password_hash: str | None = field(repr=False)
    # Still where the source's own system keeps it, in users.password_hash.
    legacy: bool


@named
async def read_by_email(connection: AsyncConnection, normalized: str) -> Credential | None:
    """Return the credential of the user with that address; None when nobody has it."""
    return await _read(connection, _BY_EMAIL, normalized)


@named
async def read_by_user(connection: AsyncConnection, user_id: str) -> Credential | None:
    """Return the credential of a user; None when there is no such user."""
    return await _read(connection, _BY_USER, user_id)


async def _read(connection: AsyncConnection, statement: Select[Any], wanted: str) -> Credential | None:
    row = (await connection.execute(statement, {"wanted": wanted})).one_or_none()
    if row is None:
        return None
    user_id, password, legacy = row
    return Credential(user_id, password or legacy, legacy=not password and bool(legacy))


@named
async def hold(connection: AsyncConnection, verified: Credential, replacement: str | None, now: datetime) -> bool:
    """Keep the hash that was verified from changing until the transaction ends; False when it has changed already.

    ``replacement`` takes its place. A legacy hash moves to the user's accounts either way.
    """
    if verified.password_hash is None:
        return False
    if verified.legacy:
        return await _move(connection, verified, replacement or verified.password_hash, now)
    if replacement is not None:
        return await accounts_repository.replace_password(
            connection, verified.user_id, verified.password_hash, replacement, now
        )
    return await _is_still(connection, verified)


async def _move(connection: AsyncConnection, verified: Credential, password_hash: str, now: datetime) -> bool:
    # The user is the same to callers, so the time of the last change stays.
    statement = (
        update(users)
        .where(users.c.id == verified.user_id, users.c.password_hash == verified.password_hash)
        .values(password_hash=None, updated_at=users.c.updated_at)
    )
    if (await connection.execute(statement)).rowcount == 0:
        return False
    await accounts_repository.put_password(connection, verified.user_id, password_hash, now)
    return True


async def _is_still(connection: AsyncConnection, verified: Credential) -> bool:
    row = await connection.execute(_HELD, {"user_id": verified.user_id})
    return row.scalar_one_or_none() == verified.password_hash
