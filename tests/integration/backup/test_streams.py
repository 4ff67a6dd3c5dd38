"""`backup -` and `restore -`: the same backups through pipes, as `docker compose exec` and `kubectl exec` give them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymongo
import pytest
from click.testing import CliRunner, Result

from chassis.backup.reading import Archive
from chassis.backup.writing import ArchiveWriter
from notifications_service.cli import main as notifications_main
from tests.harness.database_servers import ROOT
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.integration.backup.commands import (
    COMMAND_SECONDS,
    mongodb_content,
    mysql_content,
    one_line,
    rows,
    started,
)
from tests.integration.backup.crafting import contents, reseal
from users_service.cli import main as users_main

Database = MySQLDatabase | MongoDatabase


@pytest.fixture(params=["users_service", "notifications_service"])
def service(request: pytest.FixtureRequest) -> str:
    """Either service."""
    return str(request.param)


@pytest.fixture
def source(service: str, request: pytest.FixtureRequest) -> Database:
    """A database of the service with a few rows."""
    database: Database = request.getfixturevalue(f"{kind(service)}_database")
    if isinstance(database, MySQLDatabase):
        rows(database, "INSERT INTO users (id, email, email_normalized, name) VALUES ('u1', 'a@b.c', 'a@b.c', '🎉\n;')")
        return database
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        client.get_default_database()["notifications"].insert_one({"title": 5}, bypass_document_validation=True)
    return database


@pytest.fixture
def target(service: str, request: pytest.FixtureRequest) -> Database:
    """An empty database of the service."""
    database: Database = request.getfixturevalue(f"{kind(service)}_empty_database")
    return database


def kind(service: str) -> str:
    """Return the kind of its database."""
    return "mysql" if service == "users_service" else "mongodb"


def run(database: Database, *arguments: object, given: bytes = b"") -> Result:
    """Run the service's command, with something on its standard input."""
    main = users_main if isinstance(database, MySQLDatabase) else notifications_main
    return CliRunner().invoke(main, [str(each) for each in arguments], env=database.environment(), input=given)


def content(database: Database) -> dict[str, Any]:
    """Return everything that a database holds."""
    return mysql_content(database) if isinstance(database, MySQLDatabase) else mongodb_content(database)


def test_a_stream_is_a_file_and_a_file_is_a_stream(source: Database, target: Database, tmp_path: Path) -> None:
    """What `backup -` writes is a whole backup, which `restore -` takes, and nothing else is on the standard output."""
    result = run(source, "backup", "-")
    assert result.exit_code == 0, result.stderr
    assert "taken at" in result.stderr
    path = tmp_path / "x.backup"
    path.write_bytes(result.stdout_bytes)
    Archive(path).verify()
    dry = run(target, "restore", "-", "--dry-run", given=path.read_bytes())
    assert (dry.exit_code, content(target)) == (0, {}), dry.stderr
    restored = run(target, "restore", "-", given=path.read_bytes())
    assert restored.exit_code == 0, restored.stderr
    assert content(target) == content(source)


@pytest.mark.long
def test_one_process_feeds_the_other(service: str, source: Database, target: Database) -> None:
    """Between processes, with pipes that have ends, one database becomes the other."""
    backing_up = started(service, ["backup", "-"], source.environment())
    restoring = subprocess.run(
        [sys.executable, "-m", service, "restore", "-"],
        stdin=backing_up.stdout,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", **target.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    _output, errors = backing_up.communicate(timeout=COMMAND_SECONDS)
    assert (backing_up.returncode, restoring.returncode) == (0, 0), errors + restoring.stderr
    assert content(target) == content(source)


@pytest.mark.long
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_stream_that_breaks_off_leaves_a_marked_database(source: Database, target: Database, share: float) -> None:
    """What came through a pipe that broke is not taken for the whole, and `--start-over` begins anew."""
    whole = run(source, "backup", "-").stdout_bytes
    cut = run(target, "restore", "-", given=whole[: int(len(whole) * share)])
    assert "the standard input is not a whole backup" in one_line(cut)
    assert content(target).keys() >= {"restore_unfinished"}
    again = run(target, "restore", "-", "--start-over", given=whole)
    assert again.exit_code == 0, again.stderr
    assert content(target) == content(source)


def test_nothing_is_touched_for_another_services_stream(target: Database) -> None:
    """What the stream is of stands at its beginning, so a wrong one changes nothing."""
    other = "notifications-service" if isinstance(target, MySQLDatabase) else "users-service"
    line = one_line(run(target, "restore", "-", given=_beginning(other, "0001")))
    assert f"the standard input is a backup of {other}" in line
    own = "users-service" if isinstance(target, MySQLDatabase) else "notifications-service"
    assert "has schema 9999" in one_line(run(target, "restore", "-", given=_beginning(own, "9999")))
    assert content(target) == {}


def _beginning(service: str, revision: str) -> bytes:
    file = io.BytesIO()
    ArchiveWriter(file).begin(service, revision)
    return file.getvalue()


@pytest.mark.long
def test_an_output_that_nobody_reads_is_one_line(service: str, source: Database) -> None:
    """A reader that went away ends the backup with one line and exit code 1, and no traceback behind it."""
    with started(service, ["backup", "-"], source.environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=COMMAND_SECONDS) == 1
    assert errors == "the output could not be written: Broken pipe\n"


@pytest.mark.long
def test_a_backup_of_format_1_is_still_restored(source: Database, target: Database, tmp_path: Path) -> None:
    """Files of earlier versions, whose parts are of one piece and which say nothing at their beginning, come back."""
    path, old = tmp_path / "x.backup", tmp_path / "old.backup"
    assert run(source, "backup", path).exit_code == 0
    parts = {name.replace(".000001.zst", ".zst"): content for name, content in contents(path).items()}
    del parts["about.json"]
    reseal(path, old, parts, format=1)
    restored = run(target, "restore", old)
    assert restored.exit_code == 0, restored.stderr
    assert content(target) == content(source)
    assert "by its file's name" in one_line(run(target, "restore", "-", given=old.read_bytes()))
