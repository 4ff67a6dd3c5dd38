"""Running `backup` and `restore` of both services as a person does, and what a test needs to compare databases."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from traceback import format_exception
from typing import Any

import pymongo
from bson import json_util
from click.testing import CliRunner, Result

from notifications_service.cli import main as notifications_main
from tests.harness.database_servers import ROOT
from tests.harness.databases import MongoDatabase, MySQLDatabase, in_own_thread
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.statements import query
from users_service.cli import main as users_main
from users_service.mysql import locks

# Only one that hangs takes so long.
COMMAND_SECONDS = PATIENCE_SECONDS


def users(database: MySQLDatabase, *arguments: object) -> Result:
    """Run `users-service` on the database, once what ran before has let go of it."""
    # A server sees for a moment longer than its client that a connection, and with it its lock, has ended.
    free = f"SELECT IS_FREE_LOCK('{locks.lock_name('migrate', database.name)}')"
    wait_for(lambda: rows(database, free) == [(1,)], "the end of the command before")
    return at_once(database, *arguments)


def at_once(database: MySQLDatabase, *arguments: object) -> Result:
    """Run `users-service` on the database, whoever else has it."""
    return CliRunner().invoke(users_main, [str(each) for each in arguments], env=database.environment())


def notifications(database: MongoDatabase, *arguments: object) -> Result:
    """Run `notifications-service` on the database."""
    return CliRunner().invoke(notifications_main, [str(each) for each in arguments], env=database.environment())


def started(package: str, arguments: Sequence[object], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a service's command as a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    return subprocess.Popen(
        [sys.executable, "-m", package, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeeded(result: Result) -> None:
    """Fail unless a command did what it was told, and show all that it said."""
    told = f"{result.output}\n{''.join(format_exception(result.exception))}" if result.exception else result.output
    assert result.exit_code == 0, told


def one_line(result: Result) -> str:
    """Return the one line that a command failed with."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stderr.splitlines()
    return line


def rows(database: MySQLDatabase, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows."""
    return in_own_thread(lambda: query(database, statement))


def mysql_content(database: MySQLDatabase) -> dict[str, Any]:
    """Return every table's definition and rows."""
    names = [str(row[0]) for row in rows(database, "SHOW TABLES")]
    return {
        name: (
            str(rows(database, f"SHOW CREATE TABLE `{name}`")[0][1]),
            sorted(map(repr, rows(database, f"SELECT * FROM `{name}`"))),
        )
        for name in names
    }


def mongodb_content(database: MongoDatabase) -> dict[str, Any]:
    """Return every collection's options, indexes and documents; without the lock of migrations.

    ``system.views`` repeats the options of views, with the database's name.
    """
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        found = client.get_default_database()
        return {
            info["name"]: (
                info["options"],
                sorted(map(json_util.dumps, found[info["name"]].list_indexes() if info["type"] != "view" else ())),
                [json_util.dumps(document) for document in _documents(found[info["name"]], info["type"])],
            )
            for info in found.list_collections()
            if info["name"] not in ("migration_lock", "system.views")
        }


def _documents(collection: Any, kind: str) -> list[Any]:
    # What a view or a time series gives need not have ids.
    by_id = kind == "collection"
    return sorted(collection.find(), key=lambda each: repr(each["_id"]) if by_id else json_util.dumps(each))
