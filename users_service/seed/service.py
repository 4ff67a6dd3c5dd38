"""Seeding: fills the database with made-up users, some hundred in a transaction, several transactions at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError

from chassis.commands import fake_people
from chassis.commands.cli import CommandFailed
from chassis.commands.seeding import store_all
from users_service import tables
from users_service.mysql.database import Database
from users_service.seed import people, repository, sessions
from users_service.seed.accounts import Accounts
from users_service.seed.verifications import Verifications
from users_service.users.repository import row_of

# Users of one transaction: about 1,200 rows.
USERS_PER_BATCH: Final = 250

RowsByTable = dict[Table, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """The seed data to make: a number of users of a seed, with all their records, as of a time (UTC)."""

    users: int
    seed: int
    as_of: datetime


class Seeding:
    """Makes the data of a plan and stores it."""

    def __init__(self, database: Database, accounts: Accounts, verifications: Verifications) -> None:
        self._database = database
        self._accounts = accounts
        self._verifications = verifications

    async def is_empty(self) -> bool:
        """Say whether there are no users yet."""
        async with self._database.connection() as connection:
            return not await repository.has_users(connection)

    async def run(self, plan: SeedPlan, advance: Callable[[int], None]) -> Counter[str]:
        """Store everything; ``advance`` hears of users as they are stored. Returns the rows stored, by table.

        Raises CommandFailed where users of the same seed are there already.
        """
        stored: Counter[str] = Counter()

        async def store(batch: RowsByTable) -> None:
            await self._database.transaction(partial(repository.insert_rows, rows=batch))
            stored.update({table.name: len(rows) for table, rows in batch.items()})
            advance(len(batch[tables.users]))

        try:
            await store_all(self.batches(plan), store)
        except IntegrityError:
            raise CommandFailed(f"users of seed {plan.seed} are there already: name another --seed") from None
        return stored

    def batches(self, plan: SeedPlan) -> Iterator[RowsByTable]:
        """Make the rows of the plan, in order; equal plans give equal rows, except for encryption and secrets."""
        chance = fake_people.source(plan.seed)
        for start in range(0, plan.users, USERS_PER_BATCH):
            # Users first: other rows refer to them.
            batch: RowsByTable = {table: [] for table in _TABLES}
            for number in range(start, min(start + USERS_PER_BATCH, plan.users)):
                user = people.user(chance, plan.seed, number + 1, plan.as_of)
                batch[tables.users].append(row_of(user))
                batch[tables.sessions] += sessions.rows(chance, user, plan.as_of)
                batch[tables.accounts] += self._accounts.rows(chance, user, plan.as_of)
                batch[tables.verifications] += self._verifications.rows(chance, user, plan.as_of)
            yield batch


_TABLES: Final = (tables.users, tables.sessions, tables.accounts, tables.verifications)
