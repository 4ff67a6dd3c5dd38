"""``notifications-service seed``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import click

from chassis.commands.cli import CommandFailed, run
from chassis.commands.progress import progress
from chassis.commands.seeding import MOST, options, unhurried
from chassis.peers.clients import open_peer_channel
from chassis.settings import load
from notifications_service.commands.connection import opened
from notifications_service.mongodb.database import Database
from notifications_service.notification import retention, schema
from notifications_service.seed.recipients import UserList
from notifications_service.seed.repository import SeedRepository
from notifications_service.seed.service import Seeding, SeedPlan
from notifications_service.settings import Settings

# The sweeper takes what is past the retention; the oldest ones are to be there for a while.
SHORTER: Final = timedelta(hours=12)


@click.command("seed")
@click.option("--notifications", type=click.IntRange(1, MOST), default=10_000, show_default=True, help="How many.")
@click.option(
    "--users", type=click.IntRange(1, MOST), default=10_000, show_default=True, help="For how many users at most."
)
@options
def seed_notifications(notifications: int, users: int, seed: int, as_of: datetime, append: bool) -> None:
    """Fill an empty database with made-up notifications for users that the users service (USERS_ADDRESS) lists.

    For development and load tests: a few users get very many, most get some. The same seed makes up the same
    notifications for the same users. Nothing of it is ever sent.
    """
    number = run(_seed(unhurried(load(Settings)), notifications, users, seed, as_of, append=append))
    click.echo(f"{notifications} notifications stored for {number} users")


async def _seed(settings: Settings, notifications: int, users: int, seed: int, as_of: datetime, *, append: bool) -> int:
    async with opened(settings) as database:
        seeding = Seeding(SeedRepository(database))
        if not append and not await seeding.is_empty():
            raise CommandFailed("the database has notifications already; --append puts more beside them")
        user_ids = await _user_ids(settings, users)
        plan = SeedPlan(notifications, seed, as_of.replace(tzinfo=None), await _reach(database), user_ids)
        with progress("notifications", notifications) as advance:
            await seeding.run(plan, advance)
        return len(user_ids)


async def _user_ids(settings: Settings, most: int) -> list[str]:
    channel = open_peer_channel(settings, settings.users_address)
    async with channel:
        found = await UserList(channel).ids(most)
    if not found:
        raise CommandFailed(f"the users service at {settings.users_address} has no users: `users-service seed` first")
    return found


async def _reach(database: Database) -> timedelta:
    with database.limits():
        seconds = await retention.stored_seconds(database.collection(schema.COLLECTION))
    if seconds is None:
        raise retention.not_migrated()
    return max(timedelta(hours=1), timedelta(seconds=seconds) - SHORTER)
