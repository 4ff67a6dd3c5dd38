"""All SQL of exports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, String, and_, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.accounts.repository import COLUMNS as ACCOUNT_COLUMNS
from users_service.mysql.session_state import leads_to_vitess
from users_service.sessions.repository import COLUMNS as SESSION_COLUMNS
from users_service.tables import accounts, sessions, users, verifications
from users_service.users.repository import COLUMNS as USER_COLUMNS
from users_service.verifications.model import MAX_ATTEMPTS
from users_service.verifications.repository import COLUMNS as VERIFICATION_COLUMNS

# Sessions of one user that an import takes.
MOST_SESSIONS: Final = 100


@named
async def page_of_users(connection: AsyncConnection, after: str, limit: int) -> list[Row[Any]]:
    """Return the users with the next ids: the columns of a user, then the hash that the source's own system keeps."""
    chosen = select(*USER_COLUMNS, users.c.password_hash).where(users.c.id > after)
    return list(await connection.execute(chosen.order_by(users.c.id).limit(limit)))


def _owned_by(table: Any) -> ColumnElement[bool]:
    # As the foreign key compares.
    return type_coerce(table.c.user_id, String) == type_coerce(users.c.id, String)


@named
async def accounts_between(connection: AsyncConnection, first: str, last: str) -> list[Row[Any]]:
    """Return the accounts of the users from one id to another, in order: the owner, password and address, then all."""
    statement = (
        select(users.c.id.label("owner"), accounts.c.password, accounts.c.verified_email, *ACCOUNT_COLUMNS)
        .select_from(users.join(accounts, _owned_by(accounts)))
        .where(users.c.id >= first, users.c.id <= last)
        .order_by(users.c.id, accounts.c.created_at, accounts.c.id)
    )
    return list(await connection.execute(statement))


@named
async def sessions_between(connection: AsyncConnection, first: str, last: str, now: datetime) -> list[Row[Any]]:
    """Return the live sessions of the users from one id to another, oldest first: owner, columns, and a place.

    Of more than ``MOST_SESSIONS`` of one user, the newest.
    """
    place = func.row_number().over(partition_by=users.c.id, order_by=(sessions.c.created_at.desc(), sessions.c.id))
    ranked = (
        select(users.c.id.label("owner"), *SESSION_COLUMNS, place.label("place"))
        .select_from(users.join(sessions, _owned_by(sessions)))
        .where(users.c.id >= first, users.c.id <= last, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
        .subquery()
    )
    columns = [ranked.c.owner, *(ranked.c[column.name] for column in SESSION_COLUMNS), ranked.c.place]
    chosen = select(*columns).order_by(ranked.c.owner, ranked.c.created_at, ranked.c.id)
    if not await leads_to_vitess(connection):
        # Vitess would put it where no window function may be.
        chosen = chosen.where(ranked.c.place <= MOST_SESSIONS)
    return [row for row in await connection.execute(chosen) if row.place <= MOST_SESSIONS]


@named
async def outstanding_verifications(
    connection: AsyncConnection, user_id: str, identifier: str, now: datetime
) -> list[Row[Any]]:
    """Return the verifications that can still be consumed for a user, and for nobody in particular at the address."""
    outstanding = and_(
        verifications.c.consumed_at.is_(None),
        verifications.c.expires_at > now,
        verifications.c.attempts < MAX_ATTEMPTS,
    )
    rows: list[Row[Any]] = []
    # Two statements, each along an index of its own.
    for chosen in (
        verifications.c.user_id == user_id,
        and_(verifications.c.identifier == identifier, verifications.c.user_id == ""),
    ):
        rows += await connection.execute(select(*VERIFICATION_COLUMNS).where(chosen, outstanding))
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def account_columns(row: Row[Any]) -> dict[str, Any]:
    """Return the columns of the account in a row of ``accounts_between``, by their names."""
    return {column.name: value for column, value in zip(ACCOUNT_COLUMNS, row[-len(ACCOUNT_COLUMNS) :], strict=True)}


def of_page(rows: Sequence[Row[Any]]) -> tuple[str, str]:
    """Return the first and the last id of a page of users."""
    return rows[0].id, rows[-1].id
