"""All SQL of seeding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.tables import users


@named
async def has_users(connection: AsyncConnection) -> bool:
    """Say whether there is any user."""
    return (await connection.execute(select(users.c.id).limit(1))).first() is not None


@named
async def insert_rows(connection: AsyncConnection, rows: Mapping[Table, Sequence[Mapping[str, Any]]]) -> None:
    """Store rows, table by table in the order given; all rows of a table name the same columns."""
    for table, values in rows.items():
        if values:
            await connection.execute(insert(table), values)
