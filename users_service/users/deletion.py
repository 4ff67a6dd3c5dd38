"""All SQL that deletes the records of a user, in the order of their foreign keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.events.model import UserEventKind
from users_service.events.repository import record
from users_service.keys import as_foreign_key
from users_service.outbox import repository as outbox
from users_service.outbox.model import DELETE_USER_NOTIFICATIONS
from users_service.tables import accounts, sessions
from users_service.users import repository
from users_service.users.model import Deleted, User
from users_service.users.proofs import VoidProofs

# The notifications service may accept notifications for a user for as long as it caches that the user exists. A second
# deletion removes those that were stored after the first one.
SECOND_DELETION: Final = timedelta(minutes=5)


@named
async def delete_everything(connection: AsyncConnection, user: User, now: datetime, void_proofs: VoidProofs) -> Deleted:
    """Delete a user whose row the transaction holds locked, and leave the calls to the notifications service."""
    # Rotated tokens go with their sessions (ON DELETE CASCADE).
    deleted_sessions = await connection.execute(delete(sessions).where(as_foreign_key(sessions.c.user_id, user.id)))
    deleted_accounts = await connection.execute(delete(accounts).where(as_foreign_key(accounts.c.user_id, user.id)))
    await void_proofs(connection, user.id, user.email)
    await repository.delete_user(connection, user.id)
    await record(connection, UserEventKind.DELETED, user.id, None, now)
    for due in (now, now + SECOND_DELETION):
        await outbox.put(connection, DELETE_USER_NOTIFICATIONS, {"user_id": user.id}, now, available_at=due)
    return Deleted(deleted_sessions.rowcount, deleted_accounts.rowcount)
