"""TLS to MySQL, over a real server with a certificate: only whom the authority vouches for is trusted.

The server refuses connections without TLS, so whatever a command does with it went through TLS.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncmy
import asyncmy.errors
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, in_own_thread
from tests.harness.databases_with_tls import OTHER_NAME, CertificateFiles, mysql_with_tls, mysql_without_tls
from tests.harness.patience import PATIENCE_MS, PATIENCE_SECONDS, wait_for
from tests.harness.users import SECRET_KEYS
from tests.harness.workers import environment, serving
from users_service.cli import main
from users_service.mysql.engines import connect_arguments
from users_service.mysql.settings import MySQLSettings

# Ours alone, as the harness makes its databases in plain text.
NAME: Final = "vibework_tls"
DOES_NOT_HOLD: Final = "the server's certificate does not hold ("
OTHER_HOST: Final = "the server's certificate is for another host"
NO_TLS: Final = "the server speaks no TLS, or none that fits"


@pytest.fixture(scope="module")
def started(
    test_run: TestRun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[MySQLServer, CertificateFiles]]:
    """The server, and the files of its clients."""
    with mysql_with_tls(test_run, tmp_path_factory.mktemp("mysql")) as running:
        yield running


def settings_of(server: MySQLServer, authority: Path | None, **changed: str) -> dict[str, str]:
    """Return the settings that demand TLS, with this authority or the system's."""
    file = {} if authority is None else {"MYSQL_TLS_CA_FILE": str(authority)}
    named = MySQLDatabase(server.host, server.port, server.user, server.password, NAME).environment()
    return {**named, "MYSQL_TLS": "verify", "SECRET_KEYS": SECRET_KEYS, "NOTIFICATIONS_ADDRESS": "off"} | file | changed


@contextmanager
def served(settings: dict[str, str], log: Path) -> Iterator[int]:
    """Run the server, which writes to a log; yield its port."""
    port = free_port()
    database = MySQLDatabase(LOOPBACK, 0, "", "", NAME)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "users_service", "serve"]
        process = subprocess.Popen(command, env=environment(database, port) | settings, stdout=output, stderr=output)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


async def connect(server: MySQLServer, authority: Path | None, **changed: Any) -> Any:
    """Connect as the service does."""
    values: dict[str, Any] = {
        "mysql_host": server.host,
        "mysql_port": server.port,
        "mysql_user": server.user,
        "mysql_database": "mysql",
        "mysql_password": SecretStr(server.password),
        "mysql_tls": "verify",
        **({} if authority is None else {"mysql_tls_ca_file": str(authority)}),
        **changed,
    }
    return await asyncmy.connect(**connect_arguments(MySQLSettings(**values)))


async def asked(server: MySQLServer, authority: Path, question: str) -> Any:
    """Ask over a connection of its own; return the last column of the first row."""
    connection = await connect(server, authority)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(question)
            rows = await cursor.fetchall() if cursor.description else []
            return rows[0][-1] if rows else None
    finally:
        await connection.ensure_closed()


def ask(server: MySQLServer, authority: Path, question: str) -> Any:
    """Ask from a test that has no event loop."""
    return in_own_thread(lambda: asked(server, authority, question))


async def test_only_a_server_with_a_name_that_the_authority_vouches_for_is_trusted(
    started: tuple[MySQLServer, CertificateFiles],
) -> None:
    """Its certificate must be for the host that was asked for, signed by the authority of the setting."""
    server, files = started
    assert await asked(server, files.authority, "SHOW STATUS LIKE 'Ssl_cipher'") != ""
    for authority, changed in (
        (files.stranger, {}),
        (None, {}),
        (files.authority, {"mysql_host": OTHER_NAME}),
    ):
        with pytest.raises((asyncmy.errors.OperationalError, OSError)) as caught:
            await connect(server, authority, **changed)
        assert "certificate" in str(caught.value).lower()
    with pytest.raises(asyncmy.errors.MySQLError, match=r"3159|1045"):
        await connect(server, None, mysql_tls="disabled")


def run(settings: dict[str, str], *arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [*map(str, arguments)], env=settings)


def refusals(settings: dict[str, str], folder: Path) -> Iterator[str]:
    """Run commands that reach the database each in a way of its own; yield what each says where it gives up."""
    users = folder / "users.jsonl"
    users.write_bytes(b"")
    for command in (
        ["migrate", "up"],
        ["purge"],
        ["explain"],
        ["user", "show", "nobody"],
        ["backup", folder / "users.tar"],
        ["export", folder / "all.jsonl"],
        ["import", users],
        ["status"],
    ):
        ended = run(settings, *command)
        assert ended.exit_code == 1, (command, ended.output)
        assert isinstance(ended.exception, SystemExit)
        assert settings["MYSQL_PASSWORD"] not in ended.output
        # A report goes on with its other parts, and lines of the log are what they are.
        yield "\n".join(each for each in ended.output.splitlines() if "[warning" not in each)


@pytest.mark.long
@pytest.mark.parametrize("case", ["another authority", "another host"])
def test_every_command_names_the_setting_where_the_server_is_not_trusted(
    case: str, started: tuple[MySQLServer, CertificateFiles], tmp_path: Path
) -> None:
    """One line with the reason, so that nobody looks for a server that is away."""
    server, files = started
    settings, why = {
        "another authority": (settings_of(server, files.stranger), DOES_NOT_HOLD),
        "another host": (settings_of(server, files.authority, MYSQL_HOST=OTHER_NAME), OTHER_HOST),
    }[case]
    for told in refusals(settings, tmp_path):
        [line] = [each for each in told.splitlines() if "MYSQL_TLS" in each]
        assert line.partition("MYSQL_TLS, MYSQL_TLS_CA_FILE: ")[2].startswith(why)


@pytest.mark.long
def test_a_server_without_tls_is_refused(
    started: tuple[MySQLServer, CertificateFiles], test_run: TestRun, tmp_path: Path
) -> None:
    """Whoever is between could have taken the offer away, to read passwords."""
    _, files = started
    folder = tmp_path / "plain"
    folder.mkdir()
    with mysql_without_tls(test_run, folder) as server:
        for told in refusals(settings_of(server, files.authority), tmp_path):
            assert NO_TLS in told


@pytest.mark.long
def test_commands_and_the_server_go_through_tls(started: tuple[MySQLServer, CertificateFiles], tmp_path: Path) -> None:
    """Migrations, reports, backups, imports, exports and calls: the server takes no other connections."""
    server, files = started
    ask(server, files.authority, f"CREATE DATABASE {NAME} CHARACTER SET utf8mb4")
    settings = settings_of(server, files.authority, MYSQL_QUERY_TIMEOUT_MS=str(PATIENCE_MS))
    users, again, archive = tmp_path / "users.jsonl", tmp_path / "again.jsonl", tmp_path / "users.tar"
    users.write_text('{"id": "1", "email": "ann@example.com"}\n')
    for command in (
        ["migrate", "up"],
        ["status"],
        ["import", users],
        ["backup", archive],
        ["purge"],
        ["explain"],
        ["user", "show", "ann@example.com"],
        ["export", again],
    ):
        ended = run(settings, *command)
        assert ended.exit_code == 0, (command, ended.output)
    assert again.read_text().count("ann@example.com") == 1
    ask(server, files.authority, f"DROP DATABASE {NAME}")
    ask(server, files.authority, f"CREATE DATABASE {NAME} CHARACTER SET utf8mb4")
    assert run(settings, "restore", archive).exit_code == 0
    assert ask(server, files.authority, f"SELECT email FROM {NAME}.users") == "ann@example.com"
    with served(settings, tmp_path / "log") as port:
        wait_for(lambda: serving(port), "the users service")


@pytest.mark.long
def test_a_server_that_is_not_trusted_is_named_in_the_log_and_nothing_is_served(
    started: tuple[MySQLServer, CertificateFiles], tmp_path: Path
) -> None:
    """The process waits as for a database that is away: whoever has the wrong certificate may get another one."""
    server, files = started
    log = tmp_path / "log"
    with served(settings_of(server, files.stranger), log) as port:
        wait_for(lambda: DOES_NOT_HOLD in log.read_text(), "a line of the log")
        wait_for(lambda: '"event":"listening"' in log.read_text(), "the server to listen")
        assert not serving(port)
    lines = [each for each in log.read_text().splitlines() if DOES_NOT_HOLD in each]
    assert all("MYSQL_TLS_CA_FILE" in each for each in lines)
    assert server.password not in log.read_text()
