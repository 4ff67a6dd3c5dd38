"""`notifications-service status`: what MongoDB tells, and what is said where it may not be asked."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
import pytest
from click.testing import CliRunner, Result
from vibework.testing.local.ports import free_port

from notifications_service.cli import main
from notifications_service.mongodb.database import MONITORING
from notifications_service.status import slow_commands
from tests.harness.database_servers import ROOT, MongoServer
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.integration.notifications.building import row

# Together, for what they change is the server's.
pytestmark = pytest.mark.xdist_group("mongodb-status")

SECRET = "correct horse battery"
UPDATE = 'update {"q": {"title": "?"}}'
FIND = 'find {"filter": {"userId": "?", "read": {"$in": ["…"]}}}'
# The server keeps its last 1024 lines, which may all be of other tests once it is asked for them.
_TIMES = 5
SECTIONS = {
    "migrations": {"applied", "latest", "pending"},
    "versions": {"part", "version", "up_seconds"},
    "connections": {"application", "connections", "working", "limit"},
    "collections": {
        "collection",
        "rows_estimate",
        "data_bytes",
        "on_disk_bytes",
        "indexes_bytes",
        "free_bytes",
    },
    "indexes": {"collection", "index", "keys", "size_bytes", "uses", "since"},
    "replication": {"member", "state", "healthy", "lag_seconds", "up_seconds"},
    "oplog": {"holds_seconds", "first", "last", "used_bytes", "limit_bytes"},
    "pools": {"driver", "pool", "limit", "size", "in_use", "waiting", "timeouts"},
    "slow_commands": {
        "collection",
        "count",
        "total_ms",
        "longest_ms",
        "documents_examined",
        "last_seen",
        "plan",
        "command",
    },
}


@pytest.fixture(scope="module")
def filled(mongodb_module_database: MongoDatabase) -> Iterator[Any]:
    """The migrated schema with some notifications, past the service."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        database = client.get_default_database()
        database.notifications.insert_many([row(f"user_{number % 10}") for number in range(500)])
        yield database


@contextmanager
def recording(database: Any) -> Iterator[None]:
    """Let the server log every command of one database, and no other's."""
    # The threshold is the server's; the filter spares it the others' commands.
    database.command("profile", 0, filter={"ns": f"{database.name}.notifications"})
    try:
        yield
    finally:
        database.command("profile", 0, filter="unset")


def status(database: MongoDatabase, *arguments: str, **environment: str) -> Result:
    """Run `notifications-service status …`."""
    return CliRunner().invoke(main, ["status", *arguments], env={**database.environment(), **environment})


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_everything_is_told(
    filled: Any, mongodb_module_database: MongoDatabase, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sections are there, with the columns that programs rely on, and with what really happened; no value is."""
    # On a busy machine many others are slower.
    monkeypatch.setattr(slow_commands, "SHOWN", 1_000)
    port = free_port()
    environment = {"MONGODB_DRIVER": driver, "METRICS_PORT": str(port)}
    async with running_notifications(mongodb_module_database, metrics_port=port):
        for _ in range(_TIMES):
            await asyncio.to_thread(_slowly, filled)
            result = await asyncio.to_thread(status, mongodb_module_database, "--json", **environment)
            assert result.exit_code == 0, result.output
            told = json.loads(result.stdout)["sections"]
            commands = {item["command"]: item for item in told["slow_commands"]["rows"]}
            if {UPDATE, FIND} <= commands.keys() and commands[UPDATE]["count"] % 3 == 0:
                break
    assert {name: set(section["rows"][0]) for name, section in told.items()} == SECTIONS, told["versions"]
    assert "notifications-service" in {item["application"] for item in told["connections"]["rows"]}
    sizes = {item["collection"]: item for item in told["collections"]["rows"]}
    assert sizes["notifications"]["rows_estimate"] == 500
    uses = {(item["collection"], item["index"]): item["uses"] for item in told["indexes"]["rows"]}
    assert uses["notifications", "userId_1_createdAt_-1"] + uses["notifications", "feed_rows"] > 0
    assert uses["notifications", "read_1"] == 0
    assert told["replication"]["rows"][0]["state"] == "PRIMARY"
    assert told["oplog"]["rows"][0]["holds_seconds"] > 0
    assert (commands[UPDATE]["count"] % 3, commands[UPDATE]["plan"]) == (0, "COLLSCAN")
    assert FIND in commands
    assert sum(pool["limit"] for pool in told["pools"]["rows"]) == 10 - MONITORING
    assert SECRET not in result.output + await asyncio.to_thread(lambda: status(mongodb_module_database).output)


def _slowly(filled: Any) -> None:
    """Give three commands of two shapes, which the server notes as slow."""
    with recording(filled):
        for number in range(3):
            list(filled.notifications.find({"userId": f"{SECRET} {number}", "read": {"$in": [True, False]}}))
            filled.notifications.update_many({"title": f"{SECRET} {number}"}, {"$set": {"message": SECRET}})


def test_what_may_not_be_asked_names_the_role_that_may(
    filled: Any, mongodb_server: MongoServer, mongodb_module_database: MongoDatabase
) -> None:
    """Each part that the account may not see says so; the others are there, and nothing is a problem."""
    denied = ["replSetGetStatus", "getLog", "serverStatus"]
    fail = {"configureFailPoint": "failCommand", "data": {"failCommands": denied, "errorCode": 13}}
    with pymongo.MongoClient[dict[str, Any]](mongodb_server.url) as client:
        client.admin.command({**fail, "mode": "alwaysOn"})
        try:
            result = status(mongodb_module_database, "--json")
        finally:
            client.admin.command({**fail, "mode": "off"})
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["sections"]
    for name in ("connections", "replication", "slow_commands"):
        assert "clusterMonitor on admin" in told[name]["reason"]
    assert "clusterMonitor" in told["versions"]["notes"][0]
    assert told["collections"]["available"]
    assert told["indexes"]["available"]


def test_pending_migrations_are_a_problem(mongodb_empty_database: MongoDatabase) -> None:
    """Exit code 1, and one line that says what to do."""
    pending = status(mongodb_empty_database)
    assert pending.exit_code == 1
    assert pending.output.splitlines()[-1].endswith("migrations are pending: run `notifications-service migrate up`")


def test_an_absent_server_is_a_problem_told_soon() -> None:
    """It is not waited for part by part; its URL, which may hold a password, is told nowhere."""
    password = SECRET.replace(" ", "")
    environment = {
        "MONGODB_URL": f"mongodb://someone:{password}@127.0.0.1:1/vibe",
        "MONGODB_SERVER_SELECTION_TIMEOUT_MS": "300",
        # Parts that each waited so long would take minutes.
        "MONGODB_QUERY_TIMEOUT_MS": "60000",
        "METRICS_PORT": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
    }
    # A process of its own: PyMongo leaves a socket behind that it was connecting when its client closed.
    command = [sys.executable, "-m", "notifications_service", "status", "--json"]
    away = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert away.returncode == 1
    told = json.loads(away.stdout)
    assert {section["available"] for section in told["sections"].values()} == {False}
    assert set(told["sections"]) == set(SECTIONS)
    assert password not in away.stdout + away.stderr
