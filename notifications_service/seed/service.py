"""Seeding: fills the collection with made-up notifications, a thousand in a call, several calls at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pymongo.errors import BulkWriteError

from chassis.commands import fake_people
from chassis.commands.cli import CommandFailed
from chassis.commands.seeding import store_all
from notifications_service.mongodb.codec import Document
from notifications_service.seed import content, history
from notifications_service.seed.recipients import RandomRecipients
from notifications_service.seed.repository import SeedRepository

PER_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """The seed data to make: a number of notifications of a seed for these users, up to a time (naive UTC).

    ``reach``: how far back they go.
    """

    notifications: int
    seed: int
    as_of: datetime
    reach: timedelta
    user_ids: Sequence[str]


class Seeding:
    """Makes the data of a plan and stores it."""

    def __init__(self, repository: SeedRepository) -> None:
        self._repository = repository

    async def run(self, plan: SeedPlan, advance: Callable[[int], None]) -> None:
        """Store everything; ``advance`` hears of notifications as they are stored.

        Raises CommandFailed where notifications of the same plan are there already.
        """

        async def store(batch: list[Document]) -> None:
            await self._repository.insert(batch)
            advance(len(batch))

        try:
            await store_all(batches(plan), store)
        except BulkWriteError:
            raise CommandFailed(f"notifications of seed {plan.seed} are there already: name another --seed") from None

    async def is_empty(self) -> bool:
        """Say whether there are no notifications yet."""
        return not await self._repository.has_any()


def batches(plan: SeedPlan) -> Iterator[list[Document]]:
    """Make up the notifications of the plan, in order; the same ones for the same plan."""
    chance = fake_people.source(plan.seed)
    recipients = RandomRecipients(list(plan.user_ids), chance)
    for start in range(0, plan.notifications, PER_BATCH):
        drawn = recipients.draw(min(PER_BATCH, plan.notifications - start))
        yield [
            history.document(
                chance,
                content.draft(chance, user_id),
                fake_people.moment(chance, plan.as_of - plan.reach, plan.as_of, lateness=1.5),
                plan.as_of,
            )
            for user_id in drawn
        ]
