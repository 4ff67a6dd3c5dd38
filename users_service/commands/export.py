"""``users-service export``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final

import click
import orjson
from google.protobuf import json_format

from chassis.clock import utc_now
from chassis.commands import whole_files
from chassis.commands.cli import CommandFailed, logs_on_stderr, run
from chassis.commands.seeding import unhurried
from chassis.keyring import Keyring
from chassis.settings import load
from chassis.slices import Slices
from users_service.accounts.tokens import TokenCipher
from users_service.errors import UserNotFound
from users_service.exports.all_users import AllUsers
from users_service.exports.assembly import open_others
from users_service.exports.document import write_document
from users_service.exports.service import UserExports
from users_service.mysql.database import Database
from users_service.settings import Settings
from users_service.users.reads import UserReads

# The file that stands for the standard output of the command.
STDOUT: Final = Path("-")
# Seconds between two signs of life.
EVERY: Final = 5.0
# The exit code where some users could not be exported.
SOME_LEFT_OUT: Final = 3


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--user", metavar="ID|EMAIL", help="Everything that both services keep of one person instead.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export(file: Path, user: str | None, overwrite: bool) -> None:
    """Write all users to FILE (-: standard output), in the form that `import` reads: a line of JSON for each.

    With hashes of passwords and of live sessions, and with providers' tokens in plain text: keep it as you keep the
    keys. No snapshot: each few hundred users are as of one moment. `backup` is for disasters; this is for moving. Users
    who cannot be read are named on the standard error output.

    With --user, one JSON document instead, for the person it is about: without hashes, tokens and push secrets, and
    with what the notifications service keeps. FILE is there once it is whole, with mode 600.

    Exit codes: 0 the file is whole, 3 it lacks users who could not be read, 1 there is no file.
    """
    with logs_on_stderr():
        settings = unhurried(load(Settings))
        if user is None:
            left = run(_all(settings, file, overwrite=overwrite))
        else:
            run(_one(settings, file, user, overwrite=overwrite))
            left = 0
    if left:
        sys.exit(SOME_LEFT_OUT)


async def _all(settings: Settings, path: Path, *, overwrite: bool) -> int:
    """Return how many users were left out."""
    left = 0
    started = said = monotonic()

    def leave(id_: str, reason: str) -> None:
        nonlocal left
        left += 1
        click.echo(f"left out: {id_}: {reason}", err=True)

    def so_far(number: int) -> str:
        seconds = max(monotonic() - started, 0.001)
        return f"{number:,} users in {seconds:,.1f} s ({number / seconds:,.0f} a second)"

    cipher = TokenCipher(Keyring.parse(settings.secret_keys.get_secret_value()))
    number = 0
    async with Database(settings) as database:
        await database.ping()
        with _output(path, overwrite=overwrite) as file:
            async for page in AllUsers(database, cipher, utc_now, leave).pages():
                for found in page:
                    values = json_format.MessageToDict(found, preserving_proto_field_name=True)
                    file.write(orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))
                number += len(page)
                if monotonic() - said >= EVERY:
                    said = monotonic()
                    click.echo(so_far(number), err=True)
    click.echo(f"{so_far(number)}, {left} left out", err=True)
    return left


async def _one(settings: Settings, path: Path, wanted: str, *, overwrite: bool) -> None:
    async with Database(settings) as database, open_others(settings) as others:
        reads = UserReads(database, Slices())
        found = await reads.get(wanted) or await reads.get_by_email(wanted.strip().casefold())
        if found is None:
            raise UserNotFound(None)
        exports = UserExports(database, reads.get, others, utc_now, lambda: False)
        with _output(path, overwrite=overwrite) as file:
            count = await write_document(file, exports.export_user(found.id))
    click.echo(f"{count:,} records", err=True)


@contextmanager
def _output(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    if path != STDOUT:
        with whole_files.named(path, CommandFailed, overwrite=overwrite) as file:
            yield file
        return
    try:
        with whole_files.standard_output() as stream:
            yield stream
    except BrokenPipeError as error:
        raise CommandFailed("the output could not be written: nobody reads it any more") from error
