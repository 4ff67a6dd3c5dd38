"""The command ``users-service rotate-keys``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import Progress

from chassis.errors import ServiceError
from chassis.keyring import Keyring
from chassis.settings import load
from users_service.accounts.rotation import Rotated, TokenRotation
from users_service.accounts.tokens import TokenCipher
from users_service.database import Database
from users_service.settings import Settings


@click.command("rotate-keys")
def rotate_keys() -> None:
    """Re-encrypt the tokens of all accounts under the first of SECRET_KEYS.

    Safe beside live traffic; started again after an interruption, it goes on with what is left. Exit code 1 where
    tokens are left under a key that SECRET_KEYS does not have.
    """
    settings = load(Settings)
    cipher = TokenCipher(Keyring.parse(settings.secret_keys.get_secret_value()))
    try:
        result = asyncio.run(_rotate(settings, cipher))
    except ServiceError as error:
        click.echo(error.message, err=True)
        sys.exit(1)
    click.echo(f"{result.rotated} accounts re-encrypted under key {cipher.primary}, {result.overtaken} by others")
    if result.unreadable:
        click.echo(f"{result.unreadable} accounts left: their key is not in SECRET_KEYS", err=True)
        sys.exit(1)


async def _rotate(settings: Settings, cipher: TokenCipher) -> Rotated:
    database = Database(settings)
    try:
        rotation = TokenRotation(database, cipher)
        with _progress(await rotation.estimate()) as advance:
            return await rotation.rotate(advance)
    finally:
        await database.close()


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("accounts", total=total)
        yield lambda count: progress.advance(task, count)
