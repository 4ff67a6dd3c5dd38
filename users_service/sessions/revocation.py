"""Revocation of all sessions of a user, in short transactions, since there may be very many (docs/decisions/0066)."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from chassis.contract.keyset import TimeAndId
from chassis.pooling.batches import Batches, Pace
from users_service.mysql.database import Database
from users_service.sessions import repository
from users_service.sessions.model import REVOKED

# Sessions of one transaction at most, which takes a tenth of a second.
BATCH: Final = 2_000


async def revoking(database: Database, user_id: str, now: datetime, except_session_id: str | None = None) -> Batches:
    """End the sessions of a user but the one excepted, a batch at a time, newest first."""
    after: TimeAndId | None = None
    pace = Pace(BATCH)
    while True:
        work = partial(
            repository.revoke_next,
            user_id=user_id,
            now=now,
            reason=REVOKED,
            limit=pace.size,
            after=after,
            except_session_id=except_session_id,
        )
        batch, after = await database.transaction(work)
        yield batch
        pace.step()
