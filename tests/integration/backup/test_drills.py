"""A folder of daily backups: the newest stay, and a drill restores the newest into a database that is empty again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
from asyncmy.errors import MySQLError

from chassis.backup import folder
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MongoDatabase, MySQLDatabase, new_mysql_database, run_mysql
from tests.harness.keeper import SOURCES
from tests.integration.backup.commands import mongodb_content, mysql_content, notifications, one_line, rows, users
from tests.integration.backup.crafting import contents, reseal

# For MariaDB and for MySQL.
DEMANDING: Final = ("--loose-innodb-force-primary-key=ON", "--loose-sql-require-primary-key=ON")


@pytest.fixture
def daily(mysql_database: MySQLDatabase, tmp_path: Path) -> Path:
    """A folder with a backup of the users' database."""
    rows(mysql_database, "INSERT INTO users (id, email, email_normalized, name) VALUES ('u1', 'a@b.c', 'a@b.c', 'Ada')")
    result = users(mysql_database, "backup", tmp_path, "--keep", "2")
    assert result.exit_code == 0, result.output
    # Of another time, so that a second backup may follow at once.
    folder.newest(tmp_path, "users-service").rename(tmp_path / "users-service-20200104T000000Z.backup")
    return tmp_path


def test_a_folder_keeps_the_newest(daily: Path, mysql_database: MySQLDatabase) -> None:
    """Each backup gets a name of its own; once it is whole the oldest go, and what was killed halfway goes before."""
    (daily / "users-service-20200101T000000Z.backup").write_bytes(b"old")
    (daily / "users-service-20200102T000000Z.backup").write_bytes(b"older than the newest two")
    (daily / ".users-service-20200103T000000Z.backup.x.unfinished").touch()
    result = users(mysql_database, "backup", daily, "--keep", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("removed ") == 2
    kept = sorted(path.name for path in daily.iterdir())
    assert kept[0] == "users-service-20200104T000000Z.backup"
    assert len(kept) == 2


@pytest.mark.long
def test_nothing_old_goes_for_a_backup_that_fails(daily: Path, mysql_empty_database: MySQLDatabase) -> None:
    """Where there is no new backup, the old ones are all there is."""
    before = sorted(daily.iterdir())
    assert "no schema" in one_line(users(mysql_empty_database, "backup", daily, "--keep", "1"))
    assert sorted(daily.iterdir()) == before


def test_only_a_folder_keeps(mysql_database: MySQLDatabase, tmp_path: Path) -> None:
    """`--keep` beside the name of a file is a mistake, told before anything is written or removed."""
    for place in (tmp_path / "x.backup", "-"):
        assert "--keep is for a folder" in one_line(users(mysql_database, "backup", place, "--keep", "1"))
    assert list(tmp_path.iterdir()) == []


def test_a_drill_restores_the_newest_and_leaves_nothing(
    daily: Path, mysql_database: MySQLDatabase, mysql_empty_database: MySQLDatabase
) -> None:
    """Into the database that is named, which is empty afterwards, so that the next drill can begin."""
    (daily / "users-service-20200101T000000Z.backup").write_bytes(b"no backup, but not the newest either")
    for _ in range(2):
        result = users(mysql_database, "restore", daily, "--drill", "--database", mysql_empty_database.name)
        assert result.exit_code == 0, result.output
        name = mysql_empty_database.name
        assert result.stdout.endswith(f"restored into {name}, compared, and emptied again (--drill)\n")
        assert mysql_content(mysql_empty_database) == {}
    assert mysql_content(mysql_database)["users"]


@pytest.mark.long
def test_a_drill_never_empties_what_is_in_use(daily: Path, mysql_database: MySQLDatabase) -> None:
    """A drill into the service's own database is refused, and changes nothing, whatever else was said."""
    before = mysql_content(mysql_database)
    for options in ((), ("--start-over",)):
        assert "is not empty" in one_line(users(mysql_database, "restore", daily, "--drill", *options))
    assert mysql_content(mysql_database) == before


def test_a_drill_of_a_backup_that_is_not_good_fails(
    daily: Path, mysql_database: MySQLDatabase, mysql_empty_database: MySQLDatabase
) -> None:
    """Values that differ from those of the manifest end it with 1; the next one starts over."""
    newest = folder.newest(daily, "users-service")
    name = "database.sql.000001.zst"
    changed = contents(newest)
    changed[name] = changed[name].replace(b"'Ada'", b"'Eve'")
    reseal(newest, daily / "users-service-29991231T235959Z.backup", changed)
    into = ("--drill", "--database", mysql_empty_database.name)
    assert "users does not have the values that it had" in one_line(users(mysql_database, "restore", daily, *into))
    (daily / "users-service-29991231T235959Z.backup").unlink()
    assert users(mysql_database, "restore", daily, *into).exit_code == 1
    result = users(mysql_database, "restore", daily, *into, "--start-over")
    assert result.exit_code == 0, result.output
    assert mysql_content(mysql_empty_database) == {}


@pytest.mark.long
def test_a_drill_compares(daily: Path, mysql_database: MySQLDatabase) -> None:
    """A drill that compares nothing proves nothing."""
    assert users(mysql_database, "restore", daily, "--drill", "--no-verify").exit_code == 2


def test_a_drill_of_notifications(
    mongodb_database: MongoDatabase, mongodb_empty_database: MongoDatabase, tmp_path: Path
) -> None:
    """The same on MongoDB: another database of the same server, with the login of the service's own."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        client.get_default_database()["notifications"].insert_one({"title": 5}, bypass_document_validation=True)
    assert notifications(mongodb_database, "backup", tmp_path, "--keep", "2").exit_code == 0
    drill = ("restore", tmp_path, "--drill", "--start-over", "--database", mongodb_empty_database.name)
    for _ in range(2):
        result = notifications(mongodb_database, *drill)
        assert result.exit_code == 0, result.output
        assert mongodb_content(mongodb_empty_database) == {}
    assert "is not empty" in one_line(notifications(mongodb_database, "restore", tmp_path, "--drill"))


@pytest.fixture(scope="module")
def demanding(test_run: TestRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLServer]:
    """A server that refuses tables without a primary key, as clusters and group replication do."""
    folder = tmp_path_factory.mktemp("mysql")
    with SOURCES["mysql", test_run.source or "local"](folder, DEMANDING) as server:
        assert isinstance(server, MySQLServer)
        with pytest.raises(MySQLError), new_mysql_database(server) as database:
            run_mysql(server, ["CREATE TABLE t (n INT)"], database=database.name)
        yield server


@pytest.fixture
def empty_and_demanding(demanding: MySQLServer) -> Iterator[MySQLDatabase]:
    """A database without tables there."""
    with new_mysql_database(demanding) as database:
        yield database


@pytest.mark.long
def test_servers_that_demand_primary_keys_take_a_restore(
    daily: Path, mysql_database: MySQLDatabase, empty_and_demanding: MySQLDatabase
) -> None:
    """The mark of a restore has a primary key, as all tables have that the migrations make."""
    result = users(empty_and_demanding, "restore", daily)
    assert result.exit_code == 0, result.output
    assert mysql_content(empty_and_demanding) == mysql_content(mysql_database)


@pytest.mark.long
def test_servers_that_demand_primary_keys_take_the_migrations(empty_and_demanding: MySQLDatabase) -> None:
    """All tables have one, those included that migrations make for a while."""
    result = users(empty_and_demanding, "migrate", "up")
    assert result.exit_code == 0, result.output
