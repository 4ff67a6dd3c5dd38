"""``users-service rotate-keys``."""

from __future__ import annotations

import sys

import click

from chassis.commands.cli import run
from chassis.commands.progress import progress
from chassis.keyring import Keyring
from chassis.settings import load
from users_service.accounts.rotation import Rotated, TokenRotation
from users_service.accounts.tokens import TokenCipher
from users_service.mysql.database import Database
from users_service.settings import Settings


@click.command("rotate-keys")
def rotate_keys() -> None:
    """Re-encrypt the tokens of all accounts under the first of SECRET_KEYS.

    Safe beside live traffic; started again after an interruption, it goes on with what is left. Exit code 1 where
    tokens are left under a key that SECRET_KEYS does not have.
    """
    settings = load(Settings)
    cipher = TokenCipher(Keyring.parse(settings.secret_keys.get_secret_value()))
    result = run(_rotate(settings, cipher))
    click.echo(f"{result.rotated} accounts re-encrypted under key {cipher.primary}, {result.overtaken} by others")
    if result.unreadable:
        click.echo(f"{result.unreadable} accounts left: their key is not in SECRET_KEYS", err=True)
        sys.exit(1)


async def _rotate(settings: Settings, cipher: TokenCipher) -> Rotated:
    async with Database(settings) as database:
        rotation = TokenRotation(database, cipher)
        with progress("accounts", await rotation.estimate()) as advance:
            return await rotation.rotate(advance)
