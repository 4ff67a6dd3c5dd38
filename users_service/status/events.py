"""Events section: how far the order of users' events goes, and whether any wait for their place in it."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.report import Section
from users_service.events import repository
from users_service.mysql.database_clock import database_now


async def events(connection: AsyncConnection) -> Section:
    """Return the last number, up to which one history is gone, and since when the oldest event waits for its number."""
    state = await repository.look(connection)
    since, now = await repository.waiting_since(connection), await database_now(connection)
    row = {
        # Nothing is there before a server of this version has looked.
        "last": state.last.seq if state else 0,
        "purged_up_to": state.purged if state else 0,
        "waiting_estimate": len(state.pending) if state else None,
        "waiting_seconds": 0.0 if since is None else max(0.0, (now - since).total_seconds()),
    }
    return Section("events", [row])
