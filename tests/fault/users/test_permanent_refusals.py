"""What the server refuses until a person acts: no caller is told to try again, and an operator is told what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from click.testing import CliRunner
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import ListUsersRequest

from script.local.mysql import LocalMySQL
from tests.fault.users.test_no_writes import create, metric, server_with_database
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.users import BlockingStubs, users_service
from tests.integration.telemetry.scraping import metrics_port
from users_service.cli import main

# By which the server refuses every write of a READ COMMITTED transaction.
BY_STATEMENT = "SET GLOBAL binlog_format = STATEMENT"
PROBLEM = "binlog_format is STATEMENT: every write is refused (error 1665); set it to ROW or MIXED"

Started = tuple[LocalMySQL, MySQLServer, MySQLDatabase]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A server with a binary log, and the service's database there."""
    found = server_with_database(tmp_path_factory.mktemp("mysql"), "--log-bin=binlog", "--server-id=7")
    yield found
    found[0].kill()


@pytest.fixture
def by_statement(started: Started) -> Iterator[MySQLDatabase]:
    """The database while its server keeps its binary log by statement."""
    _, server, database = started
    ((before,),) = run_mysql(server, ["SELECT @@GLOBAL.binlog_format"])
    run_mysql(server, [BY_STATEMENT])
    yield database
    run_mysql(server, [f"SET GLOBAL binlog_format = {before}"])


@pytest.mark.long
def test_a_binary_log_by_statement(by_statement: MySQLDatabase) -> None:
    """Writes are no UNAVAILABLE, reads go on; the start, the metrics and `status` name what has to be changed."""
    port, metrics = metrics_port()
    with structlog.testing.capture_logs() as logs, users_service(by_statement, **metrics) as served:
        with served.channel() as channel:
            stubs = BlockingStubs.on(channel)
            assert create(stubs, "refused") == "INTERNAL INTERNAL, again after None s"
            assert not stubs.users.ListUsers(ListUsersRequest()).users
        assert metric(port, "vibework_database_writable", driver="mysql") == 0
        assert metric(port, "vibework_database_refusals_total", cause="binlog_format") >= 1
    assert [line["problem"] for line in logs if "problem" in line] == [PROBLEM]
    told = CliRunner().invoke(main, ["status"], env=by_statement.environment())
    assert told.exit_code == 1
    assert f"problem: {PROBLEM}" in told.output


@pytest.mark.long
def test_a_right_that_is_missing(started: Started) -> None:
    """An account that may not write is told so by no UNAVAILABLE; the log has the server's number."""
    _, server, database = started
    account = f"'reader'@'{LOOPBACK}'"
    made = f"CREATE USER {account} IDENTIFIED BY 'reader'"
    run_mysql(server, [made, f"GRANT SELECT ON vibework.* TO {account}"])
    reading = MySQLDatabase(database.host, database.port, "reader", "reader", database.name)
    with structlog.testing.capture_logs() as logs, users_service(reading) as served, served.channel() as channel:
        assert create(BlockingStubs.on(channel), "reader") == "INTERNAL INTERNAL, again after None s"
    refused = [line for line in logs if line["event"] == "the database refuses a statement for good"]
    assert refused
    assert {line["number"] for line in refused} == {1142}
