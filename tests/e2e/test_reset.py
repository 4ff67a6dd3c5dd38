"""`script/reset` on real databases: what it deletes, what it asks, and when it refuses."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
import pytest

from notifications_service.migrations import steps
from script.local import reset
from script.local.server import claim
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, in_own_thread, run_mysql
from tests.harness.patience import wait_for
from tests.harness.statements import connections
from tests.harness.users import users_service


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        """Say that there is somebody."""
        return True


class Databases:
    """Both databases, which the environment names, and one user and one notification in them."""

    def __init__(self, server: MySQLServer, mysql: MySQLDatabase, mongodb: MongoDatabase) -> None:
        """Put the two rows in."""
        self.server, self.mysql, self.mongodb = server, mysql, mongodb
        self.sql("INSERT INTO users (id, email, email_normalized) VALUES ('user_1', 'a@b.cc', 'a@b.cc')")
        with pymongo.MongoClient[dict[str, Any]](mongodb.url) as client:
            client.get_default_database().strangers.insert_one({"left": "here"})

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the MySQL database."""
        return run_mysql(self.server, [statement], database=self.mysql.name)

    def users(self) -> int:
        """Count the users."""
        return int(self.sql("SELECT COUNT(*) FROM users")[0][0])

    def collections(self) -> set[str]:
        """Name the collections."""
        with pymongo.MongoClient[dict[str, Any]](self.mongodb.url) as client:
            return set(client.get_default_database().list_collection_names())


@pytest.fixture
def databases(
    mysql_server: MySQLServer,
    mysql_database: MySQLDatabase,
    mongodb_database: MongoDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Databases:
    """Both databases, named in the environment."""
    for name, value in {**mysql_database.environment(), **mongodb_database.environment()}.items():
        monkeypatch.setenv(name, value)
    return Databases(mysql_server, mysql_database, mongodb_database)


# The servers are shared with other tests, whose services are connected to them.
SHARED = "--while-in-use"


@pytest.mark.long
def test_both_databases_are_new_afterwards_and_again(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --yes everything goes, foreign collections too, and the schemas are there; also after an interrupted run."""
    assert reset.main(["--yes", SHARED, "--directory", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"database {databases.mysql.name}: alembic_version 1, users 1\n" in told
    assert f"database {databases.mongodb.name}: migrations {len(steps.load())}, strangers 1\n" in told
    assert databases.users() == 0
    assert "notifications" in databases.collections()
    assert "strangers" not in databases.collections()

    run_mysql(databases.server, [f"DROP DATABASE `{databases.mysql.name}`"])
    assert reset.main(["--yes", SHARED, "--directory", str(tmp_path)]) == 0
    assert databases.users() == 0


def test_whoever_does_not_say_yes_keeps_everything(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question names what would be lost; any other answer, or nobody to answer, leaves it."""
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert reset.main([SHARED, "--directory", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"MySQL    {databases.mysql.host}:{databases.mysql.port}  database {databases.mysql.name}:" in told
    assert told.endswith("Nothing was deleted.\n")

    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert reset.main([SHARED, "--directory", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "reset: nobody is there to ask; --yes deletes without asking\n"
    assert databases.users() == 1
    assert "strangers" in databases.collections()


def test_running_services_keep_their_databases(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a service is connected, or script/server runs on the folder, nothing is deleted, --yes or not."""
    with users_service(databases.mysql):
        assert reset.main(["--yes", "--directory", str(tmp_path)]) == 2
    assert "connections of others" in capsys.readouterr().err
    # A server sees for a moment longer that they are there.
    wait_for(lambda: not in_own_thread(partial(connections, databases.mysql)), "the end of the service's connections")
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(databases.mongodb.url, appname="notifications-service") as client:
        client.admin.command("ping")
        assert reset.main(["--yes", "--directory", str(tmp_path)]) == 2
    assert "MongoDB" in capsys.readouterr().err
    with claim(tmp_path):
        assert reset.main(["--yes", "--directory", str(tmp_path)]) == 2
    assert "another script/server runs on" in capsys.readouterr().err
    assert databases.users() == 1
