"""The primary of MySQL changes while the old one lives on and only reads, as after a planned failover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import SignUpRequest

from script.local.mysql import LocalMySQL
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.proxy import proxy_to
from tests.harness.schema_templates import migrate
from tests.harness.users import BlockingStubs, reason, users_service

PASSWORD = "correct horse battery"


@pytest.fixture
def old_primary(tmp_path: Path, mysql_database: MySQLDatabase) -> Iterator[MySQLServer]:
    """A second server with the database and the account of the test's own, whose rights end at that database."""
    local = LocalMySQL(tmp_path, MySQLAccount("admin", "admin"))
    local.start()
    server = MySQLServer(LOOPBACK, local.port, "admin", "admin")
    account = f"'{mysql_database.user}'@'{LOOPBACK}'"
    run_mysql(
        server,
        [
            f"CREATE DATABASE {mysql_database.name}",
            f"CREATE USER {account} IDENTIFIED BY '{mysql_database.password}'",
            f"GRANT ALL PRIVILEGES ON {mysql_database.name}.* TO {account}",
        ],
    )
    migrate("users_service", mysql_database.environment() | {"MYSQL_HOST": LOOPBACK, "MYSQL_PORT": str(local.port)})
    yield server
    local.kill()


@pytest.mark.long
def test_writes_go_to_the_new_primary_once_the_address_leads_there(
    old_primary: MySQLServer, mysql_database: MySQLDatabase
) -> None:
    """Connections to a server that only reads are given up; no call fails once the name has moved, nor needs a restart.

    Before it has moved, callers are told to try again, not of a defect.
    """
    with (
        proxy_to(old_primary.host, old_primary.port) as name,
        users_service(mysql_database, mysql_host=LOOPBACK, mysql_port=name.listens) as served,
        served.channel() as channel,
    ):
        stubs = BlockingStubs.on(channel)
        # More than one connection of the pool is left at the old primary.
        pending = [stubs.sessions.SignUp.future(request(f"before{number}")) for number in range(4)]
        assert all(answer.result().session_token for answer in pending)
        run_mysql(old_primary, ["SET GLOBAL read_only = 1"])
        with pytest.raises(grpc.RpcError) as refused:
            stubs.sessions.SignUp(request("between"))
        assert reason(refused.value) == "DATABASE_UNAVAILABLE"

        # What is open stays open; what is opened from now on leads to the new primary.
        name.host, name.port = mysql_database.host, mysql_database.port
        for number in range(4):
            stubs.sessions.SignUp(request(f"after{number}"))
        assert served.rows("SELECT COUNT(*) FROM users") == [(4,)]


def request(name: str) -> SignUpRequest:
    """Ask to sign somebody up."""
    return SignUpRequest(email=f"{name}@example.com", password=PASSWORD)
