"""Recovery to the second before a mistake, by the very commands of docs/backups.md, on servers that keep a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.mysql_installation import find as find_mysql

from chassis.backup.reading import Archive
from script.local import mysql_installation
from script.local.mysql import LocalMySQL
from script.local.mysql_clients import find_or_install_log_reader
from tests.harness.database_servers import ROOT, MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.schema_templates import migrate
from tests.integration.backup.commands import rows, users

DATABASE = "shop"
ACCOUNT = MySQLAccount("recovery", "only-on-loopback-for-this-test")
COMMANDS_SECONDS = PATIENCE_SECONDS


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[MySQLDatabase, MySQLDatabase]]:
    """A server that will be damaged, with the schema, and a new one; both keep a binary log."""
    find_or_install_log_reader()
    servers = [
        LocalMySQL(tmp_path / name, ACCOUNT, options=("--log-bin=binlog", f"--server-id={number}"))
        for number, name in enumerate(("damaged", "new"), start=1)
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_initialise, servers))
    with ExitStack() as running:
        for server in servers:
            running.callback(server.kill)
            server.begin()
        damaged, new = map(_created, servers)
        migrate("users_service", damaged.environment())
        yield damaged, new


def _initialise(server: LocalMySQL) -> None:
    """Make the data directory, which takes longest and is one thread's work."""
    installation = mysql_installation.find_or_install()
    installation.initialise(server._data_of(installation))


def _created(server: LocalMySQL) -> MySQLDatabase:
    server.wait()
    run_mysql(
        MySQLServer("127.0.0.1", server.port, ACCOUNT.user, ACCOUNT.password),
        [f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4"],
    )
    return MySQLDatabase("127.0.0.1", server.port, ACCOUNT.user, ACCOUNT.password, DATABASE)


@pytest.mark.long
def test_everything_before_the_mistake_comes_back_and_the_mistake_does_not(
    servers: tuple[MySQLDatabase, MySQLDatabase], tmp_path: Path
) -> None:
    """Rows written, changed and deleted after the backup are as they were one second before the tables were emptied."""
    damaged, new = servers
    _write(damaged, "before the backup")
    backup = tmp_path / "users.backup"
    assert users(damaged, "backup", backup).exit_code == 0
    assert Archive(backup).manifest.position is not None
    _write(damaged, "after the backup")
    rows(damaged, "UPDATE users SET name = 'changed' WHERE id = 'before the backup'")
    expected = rows(damaged, "SELECT * FROM users ORDER BY id")
    until = _next_second()
    rows(damaged, "DELETE FROM users")
    rows(damaged, "DROP TABLE rotated_session_tokens")
    _follow_the_documentation(damaged, new, tmp_path, {"BACKUP": str(backup), "UNTIL": until})
    assert rows(new, "SELECT * FROM users ORDER BY id") == expected
    assert [row[0] for row in expected] == ["after the backup", "before the backup"]
    assert rows(new, "SELECT * FROM rotated_session_tokens") == []


def _write(database: MySQLDatabase, name: str) -> None:
    address = f"{name.replace(' ', '.')}@example.com"
    rows(database, f"INSERT INTO users (id, email, email_normalized) VALUES ('{name}', '{address}', '{address}')")


def _next_second() -> str:
    """Wait for the next second, which is when the mistake happens, and return it as the commands take it."""
    time.sleep(1.0 - time.time() % 1.0 + 0.05)
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _follow_the_documentation(
    damaged: MySQLDatabase, new: MySQLDatabase, home: Path, variables: dict[str, str]
) -> None:
    logins = home / ".my.cnf"
    logins.touch(mode=0o600)
    logins.write_text(
        f"[client]\nhost=127.0.0.1\nport={new.port}\nuser={new.user}\npassword={new.password}\n"
        f"[client_damaged]\nport={damaged.port}\n"
    )
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "HOME": str(home), **new.environment(), **variables}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _commands()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMANDS_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def _commands() -> str:
    """Return the documented commands; for MySQL's own programs as the documentation says to change them."""
    text = (ROOT / "docs" / "backups.md").read_text()
    (commands,) = re.findall(r"<!-- tested: mariadb -->\n```sh\n(.*?)```", text, re.DOTALL)
    installation = find_mysql()
    if installation is not None and not installation.is_mariadb:
        return str(commands).replace("mariadb-binlog", "mysqlbinlog --skip-gtids").replace("| mariadb ", "| mysql ")
    return str(commands)
