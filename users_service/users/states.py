"""The state of users: active or disabled, by the database's clock, which all processes share (decision 0092).

An end that has passed has ended it: nothing has to be written for that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, literal_column, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.tables import users
from users_service.users.model import Disablement

NOW: Final[ColumnElement[Any]] = literal_column("UTC_TIMESTAMP(6)")

# Also where the row of a user is joined to others.
IS_DISABLED: Final = and_(
    users.c.disabled_at.is_not(None), or_(users.c.disabled_until.is_(None), users.c.disabled_until > NOW)
)
IS_ACTIVE: Final = or_(users.c.disabled_at.is_(None), users.c.disabled_until <= NOW)

# The time since which a user is disabled as the statement is carried out, NULL for whoever is active.
DISABLED_SINCE: Final = "IF(users.disabled_until <= UTC_TIMESTAMP(6), NULL, users.disabled_at)"


@named
async def disable(
    connection: AsyncConnection, id_: str, wanted: Disablement, *, since: datetime, now: datetime
) -> None:
    """Disable a user whose row the transaction holds locked; ``since``: when that began."""
    values = {
        "disabled_at": since,
        "is_disabled": True,
        "disabled_until": wanted.until,
        "disabled_reason": wanted.reason or None,
    }
    await _change(connection, id_, values, now)


@named
async def enable(connection: AsyncConnection, id_: str, now: datetime) -> None:
    """Enable a user whose row the transaction holds locked."""
    values = {"disabled_at": None, "is_disabled": False, "disabled_until": None, "disabled_reason": None}
    await _change(connection, id_, values, now)


async def _change(connection: AsyncConnection, id_: str, values: dict[str, Any], now: datetime) -> None:
    changed = {**values, "revision": users.c.revision + 1, "updated_at": now}
    await connection.execute(update(users).where(users.c.id == id_).values(changed))
