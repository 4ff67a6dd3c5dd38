"""The migration runner: carries out the schema's revisions (``migrations/mysql``), one process at a time.

The statements of a revision are checked twice: in a dry run before anything is changed (``rehearsal``), and when they
are sent.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.cli import CommandFailed
from chassis.commands.migrations import DropRefused, LockLimits, MigrationRefused, Say, WouldLock, WouldLose, place_of
from chassis.keyring import Keyring
from chassis.logs.tracebacks import summary
from chassis.schema import SchemaState, listed
from chassis.settings import WrongSetting
from users_service.migrations import losses, mending, online, rehearsal, table_definitions
from users_service.migrations.adoption import preparing
from users_service.migrations.adoption.checks import CannotAdopt
from users_service.migrations.table_definitions import ForeignTable
from users_service.mysql import locks, revisions, schema
from users_service.mysql.driver_errors import distrust, error_number, numbered
from users_service.mysql.engines import command_engine
from users_service.mysql.session_state import is_vitess, server_version
from users_service.settings import DatabaseSettings

# Seconds to wait for another process that migrates the same database.
LOCK_SECONDS: Final = 600
# A DDL statement that waits for a long transaction makes everyone else wait behind it, so it gives up soon.
TABLE_LOCK_SECONDS: Final = 30
_DEFAULT: Final = LockLimits()
# Errors whose texts name only accounts, tables, columns and keys, and never contain a value.
_TELLING: Final = frozenset(
    {1005, 1040, 1044, 1045, 1049, 1050, 1051, 1054, 1060, 1061, 1068, 1071, 1072, 1075, 1091, 1101, 1142, 1143, 1146}
    | {1170, 1176, 1205, 1213, 1215, 1227, 1553, 1698, 1822, 1826, 1832, 1833, 1845, 1846, 2003, 2006, 2013, 3780}
)


class MigrationFailed(CommandFailed):
    """A revision was not carried out; the text is one line for a person, without any statement."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of the schema; not ``known``: a newer version of the service has carried it out."""

    number: str
    name: str
    applied: bool
    known: bool = True


async def up(
    settings: DatabaseSettings, target: str, say: Say, limits: LockLimits = _DEFAULT, keyring: Keyring | None = None
) -> list[str]:
    """Carry out missing revisions up to ``target`` (``head``: all) and return the revisions carried out.

    Tables of a known other system are adopted, for which there must be a ``keyring``. Where no revision is missing,
    tables and indexes that the database has lost are put back. A database that is newer than this version stays as it
    is. Raises MigrationFailed, or MigrationRefused where a big table would be locked.
    """
    async with _migrating(settings, say) as connection:
        before = await schema.state(connection, revisions.numbers())
        if before.newer:
            return _leave_newer(before, say)
        if not before.applied and is_vitess(await connection.run_sync(server_version)):
            raise MigrationFailed(
                "this is Vitess, whose first schema has lookup tables: send deploy/vitess/schema.sql through vtgate"
            )
        await connection.run_sync(_upgrade, before, target, limits, {"keyring": keyring, "say": say})
        after = await schema.state(connection, revisions.numbers())
        done = [number for number in after.applied if number not in before.applied]
        for number in done:
            say(f"{number} applied")
        restored = [] if after.pending else await connection.run_sync(_restore, limits, say)
        if not done and not restored:
            say("nothing to do")
        return done


async def down(
    settings: DatabaseSettings, target: str, say: Say, limits: LockLimits = _DEFAULT, *, drop_data: bool = False
) -> list[str]:
    """Undo revisions down to ``target`` (``-1``: the last one; ``base``: all) and return the ones undone.

    ``drop_data``: also where tables that hold rows are dropped. Raises as ``up`` does, or DropRefused.
    """
    async with _migrating(settings, say) as connection:
        before = await schema.state(connection, revisions.numbers())
        if before.newer:
            raise MigrationFailed(
                f"revision {listed(before.unknown)} of the database is newer than this version, which cannot undo it: "
                "use the version that brought it"
            )
        await connection.run_sync(_downgrade, before, target, limits, drop_data)
        after = await schema.state(connection, revisions.numbers())
        undone = [number for number in reversed(before.applied) if number not in after.applied]
        for number in undone:
            say(f"{number} undone")
        for name in await connection.run_sync(preparing.put_back):
            say(f"the table {name} has its name back")
        if not undone:
            say("nothing to do")
        return undone


async def look(settings: DatabaseSettings) -> SchemaState:
    """Return where the database stands. Raises MigrationFailed."""
    async with _connected(settings) as connection:
        return await schema.state(connection, revisions.numbers())


async def status(settings: DatabaseSettings) -> list[Revision]:
    """Return every revision, oldest first, and whether the database has it. Raises MigrationFailed."""
    found = await look(settings)
    known = [
        Revision(script.revision, script.doc.rstrip("."), script.revision in found.applied) for script in _scripts()
    ]
    return known + [Revision(number, "newer than this version", applied=True, known=False) for number in found.unknown]


def known() -> set[str]:
    """Return the numbers of all revisions that this version has."""
    return set(revisions.numbers())


def new(name: str) -> Path:
    """Write an empty, numbered revision after the last one and return its file. Raises MigrationFailed."""
    try:
        config = _config()
        # Alembic would print what it does.
        config.cmd_opts = Namespace(quiet=True)
        written = command.revision(config, message=name, rev_id=f"{len(_scripts()) + 1:04}")
    except (CommandError, OSError) as error:
        raise MigrationFailed(f"no revision was written: {error}") from error
    if not isinstance(written, Script):
        raise MigrationFailed("no revision was written")
    return Path(written.path)


def _leave_newer(found: SchemaState, say: Say) -> list[str]:
    if problem := found.problem(schema.SERVICE):
        raise MigrationFailed(problem)
    say(f"revision {listed(found.unknown)} of the database is newer than this version: nothing to do")
    return []


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(revisions.directory()).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _scripts() -> list[Script]:
    """Load all revisions, oldest first. Raises MigrationFailed."""
    with _told("the revisions cannot be read"):
        return list(reversed(list(ScriptDirectory.from_config(_config()).walk_revisions())))


def _upgrade(
    connection: Connection, before: SchemaState, target: str, limits: LockLimits, given: Mapping[str, Any]
) -> None:
    scripts = {script.revision: script for script in _scripts()}
    if not before.applied:
        with _told("the database was not looked at"):
            preparing.prepare(connection, [scripts[number] for number in before.pending], given["keyring"])
    with _told(lambda: f"revision {_next(connection)} failed"), _guarded(connection, limits):
        command.upgrade(_with(connection, given), target)


def _downgrade(connection: Connection, before: SchemaState, target: str, limits: LockLimits, drop_data: bool) -> None:
    scripts = {script.revision: script for script in _scripts()}
    with ExitStack() as guards:
        if not drop_data:
            guards.enter_context(losses.refused(connection))
            with _told("the database was not looked at"):
                rehearsal.refuse_losses(connection, [scripts[number] for number in _undone(before.applied, target)])
        guards.enter_context(_told(lambda: f"revision {_last(connection)} failed to be undone"))
        guards.enter_context(_guarded(connection, limits, undoing=True))
        command.downgrade(_with(connection), target)


def _restore(connection: Connection, limits: LockLimits, say: Say) -> list[str]:
    """Put back what is missing; return what it was."""
    restored = []
    with _told("nothing was restored"):
        missing = mending.additions(connection)
    for addition in missing:
        with _told(f"the {addition.title} was not restored"), _guarded(connection, limits):
            addition.carry_out()
        restored.append(addition.title)
        say(f"restored {addition.title}")
    return restored


def _with(connection: Connection, given: Mapping[str, Any] | None = None) -> Config:
    """Return a configuration for revisions; ``given``: what else they may ask for."""
    config = _config()
    config.attributes.update(given or {}, connection=connection)
    return config


def _undone(applied: Sequence[str], target: str) -> list[str]:
    """Return the revisions that a downgrade undoes, newest first; none for a target that only Alembic understands."""
    if relative := re.fullmatch(r"-(\d+)", target):
        return list(reversed(applied))[: int(relative[1])]
    if target == "base":
        return list(reversed(applied))
    return [number for number in reversed(applied) if number > target] if target in applied else []


@contextmanager
def _guarded(connection: Connection, limits: LockLimits, *, undoing: bool = False) -> Iterator[None]:
    """Check each statement before it is carried out."""
    try:
        with ExitStack() as guards:
            guards.enter_context(table_definitions.compared(connection))
            if not limits.allow_locking:
                guards.enter_context(online.enforced(connection, limits))
            yield
    except WouldLock as reason:
        raise MigrationRefused(f"revision {(_last if undoing else _next)(connection)}", reason) from None


def _next(connection: Connection) -> str:
    """Return the revision that was interrupted: each is recorded as soon as it is done."""
    last = _last(connection)
    return next((number for number in revisions.numbers() if number > last), last)


def _last(connection: Connection) -> str:
    try:
        return max((str(number) for number in connection.scalars(schema.RECORDED)), default="")
    except DBAPIError:
        # The table of revisions is missing, or the connection is gone, which the error itself says.
        return ""


@contextmanager
def _told(what: str | Callable[[], str]) -> Iterator[None]:
    """Turn an error of a revision into one line that says what failed, where in its file, and why."""
    try:
        yield
    except (CommandFailed, WouldLock, WrongSetting):
        raise
    except WouldLose as reason:
        raise DropRefused(reason) from None
    except ForeignTable as found:
        raise MigrationFailed(
            f"the table {found.table} is there already and is not this service's: {found.why}. Nothing was changed. "
            "Give this service a database of its own, or move that table away"
        ) from None
    except CannotAdopt as reason:
        raise MigrationFailed(str(reason)) from None
    except mending.CannotRestore as reason:
        raise MigrationFailed(str(reason)) from None
    except CommandError as error:
        raise MigrationFailed(str(error)) from error
    except Exception as error:
        where = place_of(error, revisions.directory())
        said = what if isinstance(what, str) else what()
        raise MigrationFailed(f"{said}{where}: {_reason(error)}") from error


@asynccontextmanager
async def _connected(settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    where = f"{settings.mysql_host}:{settings.mysql_port}/{settings.mysql_database}"
    try:
        engine = command_engine(settings)
        async with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise MigrationFailed(f"MySQL at {where} failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say what went wrong; in the server's words where these hold no value of a row or statement."""
    if problem := distrust(error):
        return problem
    origin = getattr(error, "orig", None) or error
    return numbered(error, _TELLING) if error_number(error) else summary(origin)


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
