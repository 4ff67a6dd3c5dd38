"""``users-service import``."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from time import monotonic
from typing import BinaryIO, Final

import click

from chassis.clock import utc_now
from chassis.commands.cli import CommandFailed, logs_on_stderr, run, told
from chassis.commands.seeding import unhurried
from chassis.errors import ServiceError
from chassis.keyring import Keyring
from chassis.settings import load
from chassis.slices import Slices
from users_service.imports.assembly import new_service
from users_service.imports.lines import Lines
from users_service.imports.model import ImportResult
from users_service.imports.running import ImportRun, RefusedLine
from users_service.mysql.database import Database
from users_service.passwords.hasher import Passwords
from users_service.settings import Settings

# Seconds between two signs of life.
EVERY: Final = 5.0
# The exit code where all lines were looked at, and some refused.
SOME_REFUSED: Final = 3


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--from-line", type=click.IntRange(1), default=1, show_default=True, help="Begin with this line.")
@click.option("--validate-only", is_flag=True, help="Only say what would happen.")
def import_users(file: BinaryIO, from_line: int, validate_only: bool) -> None:
    """Take over the users of FILE (-: standard input): on each line an ImportedUser in JSON, as `export` writes it.

    Each user is stored whole or not at all. Lines that are refused are printed, each as a line of JSON with `line`,
    `id`, `reason` and `field`; progress and all else goes to the standard error output. Users who are there already,
    by id, stay as they are, so an import may be repeated. One that ends early names the line from which to go on.

    Exit codes: 0 all are there now, 3 some lines were refused, 1 the import ended early.
    """
    with logs_on_stderr():
        progress = ImportProgress()
        run(_import(unhurried(load(Settings)), file, from_line, progress, validate_only=validate_only))
    progress.sum_up()
    if progress.refused:
        sys.exit(SOME_REFUSED)


class ImportProgress:
    """Says every five seconds, and at the end, how far the import is and how fast it goes."""

    def __init__(self) -> None:
        self._started = self._said = monotonic()
        self.lines = 0
        self.run: ImportRun | None = None

    @property
    def refused(self) -> int:
        """How many lines were refused."""
        return 0 if self.run is None else self.run.results[ImportResult.REFUSED]

    def advance(self, lines: int) -> None:
        """Hear of lines that are done."""
        self.lines += lines
        if monotonic() - self._said >= EVERY and self.run is not None:
            self._said = monotonic()
            click.echo(f"line {self.run.done:,}: {self._so_far()}", err=True)

    def sum_up(self) -> None:
        """Say what became of all lines."""
        click.echo(self._so_far(), err=True)

    def _so_far(self) -> str:
        seconds = max(monotonic() - self._started, 0.001)
        results = {} if self.run is None else self.run.results
        counts = ", ".join(
            f"{results.get(result, 0):,} {words}"
            for result, words in (
                (ImportResult.IMPORTED, "imported"),
                (ImportResult.ALREADY_THERE, "there already"),
                (ImportResult.REFUSED, "refused"),
            )
        )
        return f"{self.lines:,} users in {seconds:,.1f} s ({self.lines / seconds:,.0f} a second): {counts}"


def _print(refused: RefusedLine) -> None:
    click.echo(json.dumps(refused))


async def _import(
    settings: Settings, file: BinaryIO, from_line: int, progress: ImportProgress, *, validate_only: bool
) -> None:
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    with closing(Passwords.of(settings)) as passwords:
        async with Database(settings) as database:
            service = new_service(database, passwords, keyring, utc_now, Slices())
            work = progress.run = ImportRun(service, _print, progress.advance, validate_only, from_line - 1)
            try:
                await database.ping()
                await work.run(Lines(file, from_line))
            except ServiceError as error:
                raise CommandFailed(f"{told(error)}; {_go_on(work)}") from error
            except (OSError, asyncio.CancelledError):
                click.echo(f"ended early; {_go_on(work)}", err=True)
                raise


def _go_on(work: ImportRun) -> str:
    return f"all lines up to {work.done:,} are done: go on with --from-line {work.done + 1}"
