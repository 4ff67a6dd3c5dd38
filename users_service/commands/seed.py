"""``users-service seed``."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import closing
from datetime import datetime
from typing import Final

import click

from chassis.commands.cli import CommandFailed, run
from chassis.commands.progress import progress
from chassis.commands.seeding import MOST, options, unhurried
from chassis.keyring import Keyring
from chassis.settings import load
from users_service.accounts.tokens import TokenCipher
from users_service.mysql.database import Database
from users_service.passwords.hasher import LONGEST, Passwords
from users_service.seed.accounts import Accounts
from users_service.seed.service import Seeding, SeedPlan
from users_service.seed.verifications import Verifications
from users_service.settings import Settings
from users_service.verifications.secrets import SecretHasher

# Of a password, in the contract.
SHORTEST: Final = 8


@click.command("seed")
@click.option("--users", type=click.IntRange(1, MOST), default=1_000, show_default=True, help="How many.")
@click.option("--password", help="Password of all of them, 8 to 128 characters; default: drawn, and printed.")
@options
def seed_users(users: int, password: str | None, seed: int, as_of: datetime, append: bool) -> None:
    """Fill an empty database with made-up users, their sessions, accounts and verifications.

    For development and load tests: all users have one password, so this refuses a database that has users unless
    --append is given. The same seed makes up the same people, at addresses that reach nobody.
    """
    if password is not None and not SHORTEST <= len(password) <= LONGEST:
        raise click.BadParameter(f"{SHORTEST} to {LONGEST} characters", param_hint="--password")
    chosen = password or secrets.token_urlsafe(12)
    stored = run(_seed(unhurried(load(Settings)), chosen, SeedPlan(users, seed, as_of), append=append))
    for table, rows in stored.items():
        click.echo(f"{table}: {rows}")
    click.echo(f"{stored.total()} rows stored; the password of all users that have one: {chosen}")


async def _seed(settings: Settings, password: str, plan: SeedPlan, *, append: bool) -> Counter[str]:
    with closing(Passwords.of(settings)) as passwords:
        password_hash = await passwords.hash(password)
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    accounts, verifications = Accounts(TokenCipher(keyring), password_hash), Verifications(SecretHasher(keyring))
    async with Database(settings) as database:
        seeding = Seeding(database, accounts, verifications)
        if not append and not await seeding.is_empty():
            raise CommandFailed("the database has users already; --append puts made-up ones beside them")
        with progress("users", plan.users) as advance:
            return await seeding.run(plan, advance)
