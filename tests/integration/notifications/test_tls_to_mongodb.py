"""TLS to MongoDB, over a real server with a certificate: only whom the authority vouches for is trusted.

The server refuses connections without TLS, so whatever a command does with it went through TLS.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import pytest
from pydantic import SecretStr
from vibework.testing.local.ports import LOOPBACK, free_port

from notifications_service.mongodb.database import Database
from notifications_service.mongodb.settings import MongoDBSettings
from tests.harness.database_servers import MongoServer, TestRun
from tests.harness.databases import MySQLDatabase
from tests.harness.databases_with_tls import OTHER_NAME, CertificateFiles, mongodb_with_tls
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.workers import environment, serving

pytestmark = pytest.mark.long

SECRET: Final = "hunter2"
DOES_NOT_HOLD: Final = "the server's certificate does not hold ("
OTHER_HOST: Final = "the server's certificate is for another host"
NO_TLS: Final = "the server ended the connection in the handshake: it may have no TLS"
# Each looks for the server in a way of its own.
REFUSED: Final = (["migrate", "up"], ["purge"], ["backup", "-"], ["status"])


@pytest.fixture(scope="module")
def started(
    test_run: TestRun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[MongoServer, CertificateFiles]]:
    """The server, and the files of its clients."""
    with mongodb_with_tls(test_run, tmp_path_factory.mktemp("mongodb")) as running:
        yield running


def url_of(server: MongoServer, authority: Path | None, host: str = LOOPBACK) -> str:
    """Return the URL that demands TLS, with this authority or the system's."""
    options = {"directConnection": "true", "tls": "true"} | ({} if authority is None else {"tlsCAFile": str(authority)})
    return f"mongodb://{host}:{urlsplit(server.url).port}/vibework_tls?{urlencode(options)}"


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_server_that_the_authority_vouches_for_is_trusted(
    started: tuple[MongoServer, CertificateFiles], driver: str
) -> None:
    """By both drivers; whom they refuse is asked in processes of their own, for they leave sockets behind."""
    server, files = started
    settings = {"mongodb_url": SecretStr(url_of(server, files.authority)), "mongodb_driver": driver}
    database = Database(MongoDBSettings.model_validate(settings))
    assert (await database.hello())["isWritablePrimary"]
    await database.close()


def run(url: str, *arguments: str | Path, driver: str = "pymongo") -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "notifications_service", *map(str, arguments)],
        env=settings_of(url) | {"MONGODB_DRIVER": driver},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_SECONDS,
    )


def settings_of(url: str, port: int = 0) -> dict[str, str]:
    """Return the environment of a command or a server."""
    own = {"MONGODB_URL": url, "USERS_ADDRESS": "off"}
    return environment(MySQLDatabase("", 0, "", "", ""), port) | own


@pytest.mark.parametrize(
    ("case", "driver"),
    [
        ("another authority", "pymongo"),
        ("another authority", "motor"),
        ("another host", "pymongo"),
        ("no TLS", "motor"),
        ("no TLS", "pymongo"),
    ],
)
def test_every_command_names_the_setting_where_the_server_is_not_trusted(
    case: str, driver: str, started: tuple[MongoServer, CertificateFiles], mongodb_server: MongoServer
) -> None:
    """One line with the reason, so that nobody looks for a server that is away."""
    server, files = started
    url, why = {
        "another authority": (url_of(server, files.stranger), DOES_NOT_HOLD),
        "another host": (url_of(server, files.authority, OTHER_NAME), OTHER_HOST),
        "no TLS": (url_of(mongodb_server, files.authority), NO_TLS),
    }[case]
    for command in REFUSED:
        ended = run(url.replace("://", f"://someone:{SECRET}@"), *command, driver=driver)
        assert ended.returncode == 1, (command, ended)
        lines = [each for each in (ended.stdout + ended.stderr).splitlines() if "[warning" not in each]
        named = [each for each in lines if "MONGODB_URL" in each]
        assert len(named) == 1, (command, ended)
        line = named[0]
        assert line.partition("MONGODB_URL (tls, tlsCAFile): ")[2].startswith(why)
        assert len(lines) == 1 or command == ["status"], (command, lines)
        assert SECRET not in ended.stdout + ended.stderr


def test_commands_and_the_server_go_through_tls(started: tuple[MongoServer, CertificateFiles], tmp_path: Path) -> None:
    """Migrations, reports, backups and calls: the server takes no other connections."""
    server, files = started
    url, archive = url_of(server, files.authority), tmp_path / "notifications.tar"
    again = ["restore", archive, "--database", "vibework_again"]
    for command in (["migrate", "up"], ["status"], ["purge"], ["backup", archive], ["migrate", "status"], again):
        ended = run(url, *command)
        assert ended.returncode == 0, (command, ended)
    with served(url, tmp_path / "log") as port:
        wait_for(lambda: serving(port), "the notifications service")


def test_a_server_that_is_not_trusted_is_named_in_the_log_and_nothing_is_served(
    started: tuple[MongoServer, CertificateFiles], tmp_path: Path
) -> None:
    """The process waits as for a database that is away: whoever has the wrong certificate may get another one."""
    server, files = started
    log = tmp_path / "log"
    with served(url_of(server, files.stranger), log) as port:
        wait_for(lambda: DOES_NOT_HOLD in log.read_text(), "a line of the log")
        wait_for(lambda: '"event":"listening"' in log.read_text(), "the server to listen")
        assert not serving(port)
    assert all("MONGODB_URL" in each for each in log.read_text().splitlines() if DOES_NOT_HOLD in each)


@contextmanager
def served(url: str, log: Path) -> Iterator[int]:
    """Run the server, which writes to a log; yield its port."""
    port = free_port()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "notifications_service", "serve"]
        process = subprocess.Popen(command, env=settings_of(url, port), stdout=output, stderr=output)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
