"""`mongodb+srv://` and its name server: one that is away for a moment stops no start, and is no wrong setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.cli import main
from script.local.mongodb import LocalMongoDB
from tests.fault.notifications.test_database_away import health_becomes, refusal
from tests.harness.databases import MongoDatabase
from tests.harness.name_server import CLUSTER, NameServer, name_server
from tests.harness.notifications import running_notifications
from tests.harness.users import reason, retry_seconds
from tests.integration.notifications.building import create

# What a member calls itself is not to be looked up: the driver stays with the one that it found.
URL = f"mongodb+srv://{CLUSTER}/away?tls=false&directConnection=false"


@pytest.fixture
def names(mongod: LocalMongoDB, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """A name server that knows the module's mongod."""
    with name_server(mongod.port, monkeypatch) as running:
        yield running


@pytest.mark.long
@pytest.mark.asyncio_loop  # uvloop looks names up by itself
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_name_server_that_comes_back(names: NameServer, database: MongoDatabase, driver: str) -> None:
    """Until then calls are UNAVAILABLE and health says so; then all is well, with no restart."""
    names.works = False
    limits = {"mongodb_connect_timeout_ms": 500, "mongodb_query_timeout_ms": 5_000}
    settings: dict[str, Any] = {"mongodb_url": URL, "mongodb_driver": driver, **limits}
    async with running_notifications(database, **settings) as running:
        error = await refusal(running.feed.CreateNotification(create("user_names")))
        assert (error.code().name, reason(error)) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        assert retry_seconds(error)
        await health_becomes(running, health_pb2.HealthCheckResponse.NOT_SERVING)
        names.works = True
        await health_becomes(running, health_pb2.HealthCheckResponse.SERVING)
        created = (await running.feed.CreateNotification(create("user_names"))).notification
        found = await running.feed.GetNotification(service.GetNotificationRequest(id=created.id))
        assert found.notification == created
        # Once the members are known, the name server is not needed.
        names.works = False
        await running.feed.GetNotification(service.GetNotificationRequest(id=created.id))


@pytest.mark.long
def test_a_command_says_that_it_is_no_wrong_setting(names: NameServer, database: MongoDatabase) -> None:
    """It fails with one line, and with 1, not 2: the setting is right."""
    names.works = False
    environment = {"MONGODB_URL": URL, "MONGODB_CONNECT_TIMEOUT_MS": "500"}
    told = CliRunner().invoke(main, ["migrate", "status"], env=environment)
    assert told.exit_code == 1
    assert "wrong setting" not in told.output
    assert len(told.output.splitlines()) == 1
    names.works = True
    assert CliRunner().invoke(main, ["migrate", "status"], env=environment).exit_code == 0
    assert database.name == "away"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("mongodb+srv://a.example.com,b.example.com/vibe", "cannot be used"),
        ("mongodb+srv://a.example.com:27017/vibe", "cannot be used"),
        ("mongodb+srv://a.example.com/?srvMaxHosts=2", "names no database"),
        ("mongodb+srv:///vibe", "not a MongoDB connection string"),
    ],
)
def test_what_is_wrong_with_a_name_is_told_without_asking_for_it(names: NameServer, url: str, rule: str) -> None:
    """The rules of such a URL are checked when settings are read; the name itself is not looked up."""
    told = CliRunner().invoke(main, ["migrate", "status"], env={"MONGODB_URL": url})
    assert told.exit_code == 2
    assert told.stderr.startswith("wrong setting: MONGODB_URL: ")
    assert rule in told.stderr
    assert not names.asked


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"])
@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
def test_a_file_that_is_not_there_is_named_by_its_setting(option: str, scheme: str, tmp_path: Path) -> None:
    """Before anything is begun, by every command, in one line that names variable and option."""
    url = f"{scheme}://a.example.com/vibe?tls=true&{option}={tmp_path}/absent.pem"
    told = CliRunner().invoke(main, ["migrate", "status"], env={"MONGODB_URL": url})
    assert told.exit_code == 2
    assert told.stderr == f"wrong setting: MONGODB_URL: {option}: there is no such file\n"


def test_a_file_that_holds_no_certificate_is_a_wrong_setting(tmp_path: Path) -> None:
    """One line, not a traceback, and nothing of the URL in it."""
    (tmp_path / "ca.pem").write_text("no certificate")
    url = f"mongodb://someone:hidden@a.example.com/vibe?tls=true&tlsCAFile={tmp_path}/ca.pem"
    told = CliRunner().invoke(main, ["migrate", "status"], env={"MONGODB_URL": url})
    assert told.exit_code == 2
    assert len(told.stderr.splitlines()) == 1
    assert told.stderr.startswith("wrong setting: MONGODB_URL: ")
    assert "hidden" not in told.stderr
