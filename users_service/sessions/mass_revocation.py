"""Mass revocation: ends the sessions of all users, in short transactions beside live traffic, after a token leak."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from users_service.mysql.database import Database
from users_service.sessions import repository
from users_service.sessions.model import REVOKED

# Sessions of one transaction, which takes a tenth of a second.
BATCH: Final = 2_000


async def revoke_everyone(database: Database, now: datetime, advance: Callable[[int], None], batch: int = BATCH) -> int:
    """End every session that is live, in the order of their creation; return how many ended.

    Started again after an interruption, it ends the rest. ``advance`` gets the numbers of sessions looked at.
    """
    after, ended = "", 0
    while True:
        async with database.connection() as connection:
            ids = await repository.ids_behind(connection, after, batch)
        if not ids:
            return ended
        upto = ids[-1]
        ended += await database.transaction(
            partial(repository.revoke_between, after=after, upto=upto, now=now, reason=REVOKED)
        )
        advance(len(ids))
        after = upto
