"""Mass revocation: ends the sessions of all users, in short transactions beside live traffic, after a token leak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from chassis.commands.left import Left
from chassis.errors import Aborted
from users_service.mysql.database import Database
from users_service.sessions import repository
from users_service.sessions.model import REVOKED

# Sessions of one transaction, which takes a tenth of a second.
BATCH: Final = 2_000


@dataclass(slots=True)
class Ended:
    """How many sessions ended, and those that other transactions held all the time."""

    count: int = 0
    locked: Left = field(default_factory=Left)


async def revoke_everyone(
    database: Database, now: datetime, advance: Callable[[int], None], batch: int = BATCH
) -> Ended:
    """End every session that is live, in the order of their creation.

    Started again after an interruption, it ends the rest. ``advance`` gets the numbers of sessions looked at.
    """
    after, ended = "", Ended()
    while True:
        async with database.connection() as connection:
            ids = await repository.ids_behind(connection, after, batch)
        if not ids:
            return ended
        await _revoke(database, after, ids, now, ended)
        advance(len(ids))
        after = ids[-1]


async def _revoke(database: Database, after: str, ids: Sequence[str], now: datetime, ended: Ended) -> None:
    """End these sessions, which follow ``after``; where one is locked, all others of them nevertheless."""
    work = partial(repository.revoke_between, after=after, upto=ids[-1], now=now, reason=REVOKED)
    try:
        ended.count += await database.transaction(work)
    except Aborted:
        if len(ids) == 1:
            ended.locked.add(ids[0])
            return
        half = len(ids) // 2
        await _revoke(database, after, ids[:half], now, ended)
        await _revoke(database, ids[half - 1], ids[half:], now, ended)
