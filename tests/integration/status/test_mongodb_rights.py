"""The accounts of MongoDB that compose makes, and that the documents describe, where a server asks for passwords."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pymongo
import pytest
from click.testing import CliRunner, Result
from vibework.testing.local import ports

from notifications_service.cli import main
from script.local.mongodb import LocalMongoDB
from tests.harness.database_servers import ROOT
from tests.integration.backup.commands import one_line

pytestmark = [pytest.mark.xdist_group("mongodb-rights"), pytest.mark.long]

PASSWORD = "only-on-loopback-for-this-test"
SECONDS = 60.0
# Of mongod of the tests, where `script/server` keeps it, too.
PROGRAM_CACHE = ROOT / ".local" / "mongod"


def prepare_mongodb() -> ModuleType:
    """Return the program by which compose makes the account."""
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "deploy" / "compose" / "prepare_mongodb.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMongoDB]:
    """A replica set that asks for passwords, with compose's account, and with one that may only read."""
    folder = tmp_path_factory.mktemp("mongodb")
    open_server = LocalMongoDB(folder, program_cache=PROGRAM_CACHE)
    open_server.start()
    with pymongo.MongoClient[dict[str, Any]](open_server.url) as client:
        prepare_mongodb().set_account(client, PASSWORD)
        reading = [{"role": "read", "db": "vibe_notifications"}]
        client.vibe_notifications.command("createUser", "reading", pwd=PASSWORD, roles=reading)
        copying = [*reading, *({"role": role, "db": "admin"} for role in ("backup", "restore"))]
        copying += [{"role": role, "db": "vibe_drill"} for role in ("readWrite", "dbAdmin")]
        client.vibe_notifications.command("createUser", "copying", pwd=PASSWORD, roles=copying)
    open_server.stop()
    key = folder / "keyfile"
    key.write_text("a" * 64)
    key.chmod(0o400)
    closed = LocalMongoDB(folder, program_cache=PROGRAM_CACHE, port=open_server.port, options=[f"--keyFile={key}"])
    closed.begin()
    assert closed.process is not None
    try:
        closed.process.wait_until(lambda: ports.is_taken(closed.port), timeout=SECONDS)
        _wait_for_primary(url(closed, "vibework"))
        yield closed
    finally:
        closed.kill()


def url(server: LocalMongoDB, account: str) -> str:
    """Return the URL of an account of the service's database."""
    return f"mongodb://{account}:{PASSWORD}@127.0.0.1:{server.port}/vibe_notifications?replicaSet=rs0"


def _wait_for_primary(address: str) -> None:
    deadline = time.monotonic() + SECONDS
    with pymongo.MongoClient[dict[str, Any]](address, serverSelectionTimeoutMS=int(SECONDS * 1_000)) as client:
        while not client.admin.command("hello")["isWritablePrimary"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def run(server: LocalMongoDB, account: str, *arguments: object) -> Result:
    """Run `notifications-service` with the login of an account."""
    environment = {"MONGODB_URL": url(server, account), "METRICS_PORT": "0"}
    return CliRunner().invoke(main, [str(each) for each in arguments], env=environment)


@pytest.fixture(scope="module")
def migrated(server: LocalMongoDB) -> LocalMongoDB:
    """The server, its database migrated by compose's account."""
    result = run(server, "vibework", "migrate", "up")
    assert result.exit_code == 0, result.output
    return server


def test_composes_account_sees_all(migrated: LocalMongoDB) -> None:
    """Members, the oplog, slow commands and the use of indexes are told; only the service's pools are elsewhere."""
    told = json.loads(run(migrated, "vibework", "status", "--json").stdout)
    assert told["ok"] is True
    assert told["not_looked_at"].keys() == {"pools"}
    assert told["sections"]["oplog"]["rows"][0]["limit_bytes"] > 0


def test_an_account_that_sees_little_is_told_so(migrated: LocalMongoDB) -> None:
    """What it may not see is named above the verdict, with the role that may."""
    lines = run(migrated, "reading", "status").stdout.splitlines()
    unseen = {line.split(": ")[1]: line for line in lines if line.startswith("not looked at: ")}
    assert unseen.keys() >= {"replication", "oplog", "connections", "slow commands"}
    assert "clusterMonitor" in unseen["replication"]
    assert lines[-1] == "no problem found in what was looked at"


def test_reading_is_enough_for_a_backup_and_composes_account_for_a_drill(
    migrated: LocalMongoDB, tmp_path: Path
) -> None:
    """As the documents say; the drill goes into the database that compose's account has for it."""
    backup = run(migrated, "reading", "backup", tmp_path, "--keep", "1")
    assert backup.exit_code == 0, backup.output
    drill = run(migrated, "vibework", "restore", tmp_path, "--drill", "--database", "vibe_drill")
    assert drill.exit_code == 0, drill.output


def test_a_time_series_takes_the_roles_that_the_documents_name(migrated: LocalMongoDB, tmp_path: Path) -> None:
    """Who may not read its buckets gets no backup that lacks them; with `backup` and `restore` it comes back."""
    with pymongo.MongoClient[dict[str, Any]](url(migrated, "vibework")) as client:
        database = client.get_default_database()
        database.create_collection("series", timeseries={"timeField": "at"})
        database.series.insert_one({"at": datetime.now(UTC), "v": 1})
        try:
            assert "the account lacks a role" in one_line(run(migrated, "reading", "backup", tmp_path / "x.backup"))
            assert list(tmp_path.iterdir()) == []
            backup = run(migrated, "copying", "backup", tmp_path / "x.backup")
            assert backup.exit_code == 0, backup.output
            drill = run(migrated, "copying", "restore", tmp_path / "x.backup", "--drill", "--database", "vibe_drill")
            assert drill.exit_code == 0, drill.output
        finally:
            database.drop_collection("series")
