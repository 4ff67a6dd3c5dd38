"""Carrying out the schema's revisions (``migrations/mysql``) on a server, one process at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations.mysql
from chassis.cli import CommandFailed
from chassis.migrations import Limits, MigrationRefused, WouldLock
from users_service import locks, online_ddl
from users_service.driver_errors import error_number
from users_service.engines import command_engine
from users_service.settings import DatabaseSettings

Say = Callable[[str], None]
Action = Callable[[Config, str], None]

# Seconds to wait for another process that migrates the same database.
LOCK_SECONDS: Final = 600
# A DDL statement that waits for a long transaction makes everyone else wait behind it: rather give up soon.
TABLE_LOCK_SECONDS: Final = 30
_DEFAULT: Final = Limits()


class MigrationFailed(CommandFailed):
    """A revision was not carried out; the text is one line for a person, without any statement."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema's history."""

    number: str
    name: str
    applied: bool


async def up(settings: DatabaseSettings, target: str, say: Say, limits: Limits = _DEFAULT) -> list[str]:
    """Carry out what is missing up to ``target`` (``head``: all) and return the revisions carried out.

    Raises MigrationFailed, or MigrationRefused where a big table would be locked.
    """
    before, after = await _move(settings, command.upgrade, target, say, limits)
    return sorted(after - before)


async def down(settings: DatabaseSettings, target: str, say: Say, limits: Limits = _DEFAULT) -> list[str]:
    """Undo revisions down to ``target`` (``-1``: the last one; ``base``: all) and return the ones undone.

    Raises as ``up`` does.
    """
    before, after = await _move(settings, command.downgrade, target, say, limits)
    return sorted(before - after, reverse=True)


async def status(settings: DatabaseSettings) -> list[Revision]:
    """Return every revision, oldest first, and whether the database has it."""
    async with _connected(settings) as connection:
        applied = await connection.run_sync(_applied)
    scripts = ScriptDirectory.from_config(_config())
    return [
        Revision(script.revision, script.doc.rstrip("."), script.revision in applied)
        for script in reversed(list(scripts.walk_revisions()))
    ]


def known() -> set[str]:
    """Return the numbers of all revisions that this version has."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def new(name: str) -> Path:
    """Write an empty, numbered revision after the last one and return its file. Raises MigrationFailed."""
    try:
        last = len(list(ScriptDirectory.from_config(_config()).walk_revisions()))
        written = command.revision(_config(), message=name, rev_id=f"{last + 1:04}")
    except (CommandError, OSError) as error:
        raise MigrationFailed(f"no revision was written: {error}") from error
    if not isinstance(written, Script):
        raise MigrationFailed("no revision was written")
    return Path(written.path)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.mysql.__path__[0])).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


async def _move(
    settings: DatabaseSettings, action: Action, target: str, say: Say, limits: Limits
) -> tuple[set[str], set[str]]:
    async with _migrating(settings, say) as connection:
        before = await connection.run_sync(_applied)
        await connection.run_sync(_run, action, target, limits)
        return before, await connection.run_sync(_applied)


def _run(connection: Connection, action: Action, target: str, limits: Limits) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        with nullcontext() if limits.allow_locking else online_ddl.enforced(connection, limits):
            action(config, target)
    except WouldLock as reason:
        raise MigrationRefused(f"revision {_at_work(connection, action)}", reason) from None


def _at_work(connection: Connection, action: Action) -> str:
    """Return the revision that was interrupted: each is recorded as soon as it is done."""
    applied = _applied(connection)
    if action is command.downgrade:
        return max(applied)
    return min({script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()} - applied)


def _applied(connection: Connection) -> set[str]:
    heads = MigrationContext.configure(connection).get_current_heads()
    scripts = ScriptDirectory.from_config(_config())
    return {script.revision for head in heads for script in scripts.iterate_revisions(head, "base")}


@asynccontextmanager
async def _connected(settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    engine = command_engine(settings)
    try:
        async with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        where = f"{settings.mysql_host}:{settings.mysql_port}/{settings.mysql_database}"
        raise MigrationFailed(f"MySQL at {where} failed: {_reason(error)}") from error
    except CommandError as error:
        raise MigrationFailed(str(error)) from error
    finally:
        await engine.dispose()


def _reason(error: Exception) -> str:
    # The server's own words help whoever runs the command; they go nowhere else.
    origin = getattr(error, "orig", None) or error
    number = error_number(error)
    return f"error {number} ({origin.args[1]})" if number and len(origin.args) > 1 else type(origin).__name__


@asynccontextmanager
async def _migrating(settings: DatabaseSettings, say: Say) -> AsyncIterator[AsyncConnection]:
    """Hold the server's lock for migrations of this database; it ends with the connection, however that ends."""
    name = locks.lock_name("migrate", settings.mysql_database)
    async with _connected(settings) as connection:
        if not await locks.acquire(connection, name, 0):
            say("another process is migrating this database; waiting for it")
            if not await locks.acquire(connection, name, LOCK_SECONDS):
                raise MigrationFailed(f"another process has been migrating for over {LOCK_SECONDS} s")
        await connection.execute(text(f"SET SESSION lock_wait_timeout = {TABLE_LOCK_SECONDS}"))
        yield connection
