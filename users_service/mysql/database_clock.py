"""The database's clock, by which processes decide what must not depend on whose own clock is right (decision 0064)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import utc
from chassis.context.statements import named

# Returns the time in UTC, aware, with microseconds, as the server of a connection has it.
DatabaseClock = Callable[[AsyncConnection], Awaitable[datetime]]


@named
async def database_now(connection: AsyncConnection) -> datetime:
    """Return the time by the clock of the database's server."""
    return utc((await connection.execute(text("SELECT UTC_TIMESTAMP(6)"))).scalar_one())
