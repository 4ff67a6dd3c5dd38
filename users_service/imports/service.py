"""The rules of imports, and the transactions in which users are stored, each whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.errors.v1.error_reason_pb2 import ERROR_REASON_PASSWORD_HASH_UNSUPPORTED
from vibework.users.v1.imported_user_pb2 import ImportedUser

from chassis.clock import Clock
from chassis.slices import Slices
from users_service.errors import PasswordHashUnsupported
from users_service.events import repository as events
from users_service.events.model import UserEventKind
from users_service.imports import repository
from users_service.imports.conflicts import Taken, refused_by
from users_service.imports.judging import Judge
from users_service.imports.model import ImportOutcome, ImportResult, Incoming, Judged, Refusal
from users_service.imports.repository import Raced
from users_service.imports.rows import rows_of
from users_service.mysql.database import Database
from users_service.passwords.hasher import Passwords

# Users of one transaction, and rows that depend on theirs: what it takes is far from any limit on its time.
USERS: Final = 200
ROWS: Final = 600
# How often what somebody else has taken meanwhile is looked for anew.
ATTEMPTS: Final = 3
# Hashes that are looked at in a turn of the event loop.
HASHES: Final = 64


@dataclass(frozen=True)
class ImportService:
    """Takes over users of other systems."""

    database: Database
    passwords: Passwords
    judge: Judge
    clock: Clock
    slices: Slices

    async def import_users(
        self, messages: Sequence[ImportedUser], *, validate_only: bool = False
    ) -> list[ImportOutcome]:
        """Store users, and say of each what became of it, in their order; ``validate_only``: what would.

        Raises PasswordHashingBusy, PasswordHashingUnavailable; some may be stored by then, and when the database fails.
        """
        judged = await self.slices.map(partial(self.judge.judge, now=self.clock()), messages)
        await self._refuse_hashes(judged)
        taken, outcomes = Taken(), list[ImportOutcome]()
        for part in _parts(judged):
            if validate_only:
                outcomes += await self._look(part, taken)
            else:
                outcomes += await self._store(part)
        return outcomes

    async def _refuse_hashes(self, judged: list[Judged]) -> None:
        """Replace users whose hash could never be verified here. One of each kind is verified, if none was before."""
        for number, each in enumerate(judged):
            if number % HASHES == 0:
                await asyncio.sleep(0)
            if isinstance(each, Incoming) and each.password_hash:
                try:
                    await self.passwords.check_importable(each.password_hash)
                except PasswordHashUnsupported:
                    judged[number] = Refusal(each.user.id, ERROR_REASON_PASSWORD_HASH_UNSUPPORTED, "password_hash")

    async def _look(self, part: Sequence[Judged], taken: Taken) -> list[ImportOutcome]:
        """Say what would become of users, after those who have ``taken`` something."""
        found = await self.database.query(partial(repository.find_taken, incoming=_incoming(part)))
        for name in ("ids", "emails", "accounts", "tokens"):
            getattr(taken, name).update(getattr(found, name))
        return [taken.admit(each) for each in part]

    async def _store(self, part: Sequence[Judged]) -> list[ImportOutcome]:
        """Store users in one transaction; where others keep taking what they have, each in one of its own."""
        key = ""
        for _ in range(ATTEMPTS):
            try:
                return await self.database.transaction(partial(self._work, part))
            except Raced as raced:
                [key] = raced.args
        if len(part) > 1:
            return [outcome for each in part for outcome in await self._store([each])]
        return [refused_by(key, each) for each in _incoming(part)]

    async def _work(self, part: Sequence[Judged], connection: AsyncConnection) -> list[ImportOutcome]:
        taken = await repository.find_taken(connection, _incoming(part))
        outcomes = [taken.admit(each) for each in part]
        pairs = zip(part, outcomes, strict=True)
        chosen = [
            each for each, outcome in pairs if isinstance(each, Incoming) and outcome.result is ImportResult.IMPORTED
        ]
        # In the order of their ids, so that imports of the same users wait for each other and lock none out.
        chosen.sort(key=lambda each: each.user.id)
        if chosen:
            await repository.insert_rows(connection, rows_of(chosen))
            await events.record_all(
                connection, UserEventKind.CREATED, [(each.user.id, each.user.revision) for each in chosen], self.clock()
            )
        return outcomes


def _incoming(part: Sequence[Judged]) -> list[Incoming]:
    return [each for each in part if isinstance(each, Incoming)]


def _parts(judged: Sequence[Judged]) -> Iterator[list[Judged]]:
    """Divide users among transactions."""
    part, rows = list[Judged](), 0
    for each in judged:
        own = each.rows if isinstance(each, Incoming) else 0
        if part and (len(part) == USERS or rows + own > ROWS):
            yield part
            part, rows = [], 0
        part.append(each)
        rows += own
    if part:
        yield part
