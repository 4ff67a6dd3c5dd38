"""`users-service migrate` as an operator runs it: up, down, up again, twice at once, and cut off in the middle."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

import migrations.mysql
from tests.harness.database_servers import ROOT
from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.patience import PATIENCE_SECONDS
from users_service.cli import main
from users_service.migrations import runner
from users_service.mysql import locks
from users_service.settings import DatabaseSettings
from users_service.tables import metadata

RECORD = "alembic_version"


def run(database: MySQLDatabase, *arguments: str) -> str:
    """Run `users-service migrate` on a database; fails unless it succeeds; return what it says."""
    result = CliRunner().invoke(main, ["migrate", *arguments], env=database.environment())
    assert result.exit_code == 0, result.output
    return result.output


def on(database: MySQLDatabase, look: Any) -> Any:
    """Do something with a connection to a database."""
    url = URL.create("mysql+asyncmy", database.user, database.password, database.host, database.port, database.name)

    async def work() -> Any:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(look)
        finally:
            await engine.dispose()

    return in_own_thread(work)


def tables(database: MySQLDatabase) -> set[str]:
    """Return the names of the tables."""
    return on(database, lambda connection: {row[0] for row in connection.execute(text("SHOW TABLES"))})  # type: ignore[no-any-return]


def differences(connection: Connection) -> list[Any]:
    """Compare the schema of a database with the models: tables, columns, types, defaults, keys and indexes."""
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_up_down_and_up_again_make_what_the_models_say(mysql_empty_database: MySQLDatabase) -> None:
    """The migrated schema is exactly that of `tables.py`, also after everything was undone in between."""
    names = set(metadata.tables)
    assert "0001 applied" in run(mysql_empty_database, "up")
    assert on(mysql_empty_database, differences) == []
    run(mysql_empty_database, "down", "base")
    assert tables(mysql_empty_database) == {RECORD}
    run(mysql_empty_database, "up")
    assert tables(mysql_empty_database) == {*names, RECORD}
    assert on(mysql_empty_database, differences) == []


@pytest.mark.long
def test_down_undoes_one_revision_at_a_time(mysql_empty_database: MySQLDatabase) -> None:
    """Without a revision only the last one goes; every revision can be undone and made again."""
    numbers = [number.split()[0] for number in run(mysql_empty_database, "up").splitlines()]
    for number in reversed(numbers):
        assert run(mysql_empty_database, "down") == f"{number} undone\n"
        run(mysql_empty_database, "up", number)
        assert run(mysql_empty_database, "down") == f"{number} undone\n"
    assert tables(mysql_empty_database) == {RECORD}


def test_status_names_what_is_missing(mysql_empty_database: MySQLDatabase) -> None:
    """Every revision is listed, oldest first, with whether the database has it."""
    before = run(mysql_empty_database, "status").splitlines()
    run(mysql_empty_database, "up")
    after = run(mysql_empty_database, "status").splitlines()
    assert before[0] == "0001  missing  Initial schema"
    assert after[0] == "0001  applied  Initial schema"
    assert all("  missing  " in line for line in before)
    assert all("  applied  " in line for line in after)
    assert run(mysql_empty_database, "up") == "nothing to do\n"


def start_up(database: MySQLDatabase) -> subprocess.Popen[str]:
    """Start `users-service migrate up` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "users_service", "migrate", "up"],
        env={**os.environ, **database.environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.long
def test_processes_that_migrate_at_once_do_not_collide(mysql_empty_database: MySQLDatabase) -> None:
    """Of three at once one does the work, the others wait for it and find nothing to do."""
    processes = [start_up(mysql_empty_database) for _ in range(3)]
    said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("0001 applied" in each for each in said) == 1
    assert sum("nothing to do" in each for each in said) == 2
    assert on(mysql_empty_database, differences) == []


@pytest.mark.long
def test_who_waits_says_so(mysql_empty_database: MySQLDatabase) -> None:
    """A command that seems to hang tells what it waits for, and goes on when the lock is free."""
    name = locks.lock_name("migrate", mysql_empty_database.name)

    async def hold_then_release() -> str:
        url = URL.create(
            "mysql+asyncmy",
            mysql_empty_database.user,
            mysql_empty_database.password,
            mysql_empty_database.host,
            mysql_empty_database.port,
            mysql_empty_database.name,
        )
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            assert await locks.acquire(connection, name, 0)
            process = await asyncio.to_thread(start_up, mysql_empty_database)
            assert process.stdout is not None
            first = await asyncio.to_thread(process.stdout.readline)
            await locks.release(connection, name)
        await engine.dispose()
        rest, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        return first + rest

    said: str = in_own_thread(hold_then_release)
    assert said.splitlines()[0] == "another process is migrating this database; waiting for it"
    assert "0001 applied" in said


def test_a_migration_cut_off_in_its_middle_is_finished_by_the_next(mysql_empty_database: MySQLDatabase) -> None:
    """MySQL cannot undo DDL: what a dead process made stays, and the next run completes it."""
    run(mysql_empty_database, "up", "0001")

    def forget(connection: Connection) -> None:
        connection.execute(text("DROP TABLE attempt_counters, outbox, accounts"))
        connection.execute(text(f"DELETE FROM {RECORD}"))
        connection.commit()

    on(mysql_empty_database, forget)
    run(mysql_empty_database, "up")
    assert on(mysql_empty_database, differences) == []


def test_an_index_that_was_built_before_the_cut_is_kept(mysql_empty_database: MySQLDatabase) -> None:
    """A revision of an index dies between the index and its record: the next run, up or down, takes what it finds."""

    def record(number: str) -> Callable[[Connection], None]:
        def write(connection: Connection) -> None:
            connection.execute(text(f"UPDATE {RECORD} SET version_num = '{number}'"))
            connection.commit()

        return write

    run(mysql_empty_database, "up", "0002")
    on(mysql_empty_database, record("0001"))
    assert "0002 applied" in run(mysql_empty_database, "up", "0002")
    assert run(mysql_empty_database, "down") == "0002 undone\n"
    on(mysql_empty_database, record("0002"))
    assert run(mysql_empty_database, "down") == "0002 undone\n"
    run(mysql_empty_database, "up")
    assert on(mysql_empty_database, differences) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["up", "9999"], {}, "9999"),
        (["down"], {}, "-1"),
        (["up"], {"MYSQL_PASSWORD": "wrong"}, "1045"),
        (["up"], {"MYSQL_DATABASE": "nowhere"}, "nowhere failed"),
        (["up"], {"MYSQL_PORT": "1"}, "127.0.0.1:1/"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    mysql_empty_database: MySQLDatabase, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    """An operator's mistake is told in a line that names it, without a traceback or the password."""
    env = {**mysql_empty_database.environment(), "MYSQL_HOST": "127.0.0.1", **environment}
    result = CliRunner().invoke(main, ["migrate", *arguments], env=env)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert says in result.output
    assert mysql_empty_database.password not in result.output


def test_new_writes_the_next_numbered_revision(
    mysql_empty_database: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new revision follows the last one, and runs as it was written."""
    copy = tmp_path / "mysql"
    shutil.copytree(migrations.mysql.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations.mysql, "__path__", [str(copy)])
    last = len(list((copy / "versions").glob("0*.py")))
    written = Path(run(mysql_empty_database, "new", "Add a thing").strip())
    assert written.name == f"{last + 1:04}_add_a_thing.py"
    assert f"{last + 1:04} applied" in run(mysql_empty_database, "up")
    assert run(mysql_empty_database, "status").splitlines()[-1] == f"{last + 1:04}  applied  Add a thing"
    assert run(mysql_empty_database, "down") == f"{last + 1:04} undone\n"


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the package is installed read-only, `new` says so."""
    monkeypatch.setattr(migrations.mysql, "__path__", [str(tmp_path / "nothing")])
    result = CliRunner().invoke(main, ["migrate", "new", "x"])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


async def test_the_runner_reports_what_it_did(mysql_empty_database: MySQLDatabase) -> None:
    """Called as a function, it returns the revisions it carried out and undid."""
    environment = mysql_empty_database.environment()
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    settings = DatabaseSettings(**values)
    done = await runner.up(settings, "head", print)
    assert done[0] == "0001"
    assert await runner.down(settings, "base", print) == done[::-1]
