"""``users-service rotate-keys``."""

from __future__ import annotations

import sys

import click

from chassis.commands.cli import logs_on_stderr, run
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

    Safe beside live traffic; started again after an interruption, it goes on with what is left. An account that cannot
    be re-encrypted is left as it is, counted and named, and holds up no other; then the exit code is 1.
    """
    settings = load(Settings)
    cipher = TokenCipher(Keyring.parse(settings.secret_keys.get_secret_value()))
    with logs_on_stderr():
        result = run(_rotate(settings, cipher))
    click.echo(f"{result.rotated} accounts re-encrypted under key {cipher.primary}, {result.overtaken} by others")
    left = [line for line in _left(result) if line]
    for line in left:
        click.echo(line, err=True)
    if left:
        sys.exit(1)


def _left(result: Rotated) -> list[str]:
    return [
        result.keyless.told("accounts", "their key is not in SECRET_KEYS"),
        result.unreadable.told("accounts", "they cannot be read, or do not fit encrypted"),
        result.locked.told("accounts", "other transactions hold them; run this again"),
    ]


async def _rotate(settings: Settings, cipher: TokenCipher) -> Rotated:
    async with Database(settings) as database:
        rotation = TokenRotation(database, cipher)
        with progress("accounts", await rotation.estimate()) as advance:
            return await rotation.rotate(advance)
