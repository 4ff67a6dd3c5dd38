"""`users-service status` on servers that tell much, and by accounts that may see little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.ports import free_port

from script.local.mysql import LocalMySQL
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, new_mysql_database, run_mysql
from tests.harness.users import users_service
from users_service.cli import main

# Together, for the server that they start.
pytestmark = pytest.mark.xdist_group("telling-mysql")

SECRET = "correct horse battery"
OPTIONS = (
    "--performance-schema=ON",
    "--loose-userstat=ON",
    "--slow-query-log=ON",
    "--log-output=TABLE",
    "--log-bin=binlog",
    "--server-id=7",
)
SECTIONS = {
    "migrations": {"applied", "latest", "pending"},
    "versions": {"part", "version", "up_seconds"},
    "connections": {"user", "database", "connections", "working", "most", "limit"},
    "tables": {"table", "rows_estimate", "data_bytes", "indexes_bytes", "free_bytes"},
    "indexes": {"table", "index", "columns", "unique", "size_bytes", "reads"},
    "events": {"last", "purged_up_to", "waiting_estimate", "waiting_seconds"},
    "replication": {"channel", "source", "receives", "applies", "lag_seconds", "last_error"},
    "binary_log": {
        "on",
        "server_id",
        "kept_seconds",
        "synced_every_commit",
        "files",
        "size_bytes",
        "first",
    },
    "replicas": {"server", "channel", "source", "receives", "applies", "lag_seconds", "last_error"},
    "pools": {"driver", "pool", "limit", "size", "in_use", "waiting", "timeouts"},
    "slow_queries": {"count", "total_seconds", "longest_seconds", "rows_examined", "last_seen", "statement"},
}


@pytest.fixture(scope="module")
def telling_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLServer]:
    """A server with everything turned on that costs something."""
    server = LocalMySQL(tmp_path_factory.mktemp("mysql"), MySQLAccount("harness", "secret"), options=OPTIONS)
    server.start()
    try:
        yield MySQLServer("127.0.0.1", server.port, "harness", "secret")
    finally:
        server.kill()


@pytest.fixture(scope="module")
def telling(telling_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A migrated database on it."""
    with new_mysql_database(telling_server) as database:
        assert CliRunner().invoke(main, ["migrate", "up"], env=database.environment()).exit_code == 0
        yield database


def status(database: MySQLDatabase, *arguments: str, **environment: str) -> Result:
    """Run `users-service status …`."""
    return CliRunner().invoke(main, ["status", *arguments], env={**database.environment(), **environment})


def sections(database: MySQLDatabase, **environment: str) -> dict[str, Any]:
    """Return what a status tells programs; it must be free of problems."""
    result = status(database, "--json", **environment)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)["sections"]
    return told


def run_slowly(database: MySQLDatabase, server: MySQLServer) -> None:
    """Run a statement that takes 50 ms and holds a secret, three times with other values."""
    statements = [f"SELECT COUNT(*), SLEEP(0.05) FROM users WHERE name = '{SECRET} {number}'" for number in range(3)]
    run_mysql(server, ["SET SESSION long_query_time = 0.01", *statements], database=database.name)


def test_everything_is_told_where_the_server_records_it(telling: MySQLDatabase, telling_server: MySQLServer) -> None:
    """All sections are there, with the columns that programs rely on, and with what really happened."""
    mariadb = "MariaDB" in run_mysql(telling_server, ["SELECT VERSION()"])[0][0]
    word, name = ("MASTER", "SLAVE") if mariadb else ("REPLICATION SOURCE", "REPLICA")
    prefix = word.split()[-1]
    replicate = f"CHANGE {word} TO {prefix}_HOST = '127.0.0.1', {prefix}_PORT = 1, {prefix}_USER = 'nobody'"
    run_mysql(telling_server, ["ANALYZE TABLE users", "SELECT id FROM users"], database=telling.name)
    run_slowly(telling, telling_server)
    run_mysql(telling_server, [replicate])
    port = free_port()
    try:
        with users_service(telling, metrics_port=port, notifications_address="off"):
            # The server stands in for a replica of itself: it is told to follow another one.
            itself = f"127.0.0.1:{telling_server.port}"
            told = sections(telling, METRICS_PORT=str(port), MYSQL_REPLICA_HOSTS=f"{itself},127.0.0.1:1")
    finally:
        run_mysql(telling_server, [f"RESET {name} ALL"])
    assert {name: set(section["rows"][0]) for name, section in told.items()} == SECTIONS
    assert told["migrations"]["rows"][0]["pending"] == 0
    assert told["connections"]["rows"][0]["limit"] == 500
    assert {row["user"] for row in told["connections"]["rows"]} == {"(all)", "harness"}
    indexes = {(row["table"], row["index"]): row for row in told["indexes"]["rows"]}
    assert indexes["users", "idx_created_at"]["columns"] == "created_at, id"
    assert all(row["size_bytes"] for row in indexes.values())
    assert indexes["alembic_version", "PRIMARY"]["reads"] > 0
    assert told["replication"]["rows"][0]["source"] == "127.0.0.1:1"
    assert told["replication"]["rows"][0]["receives"] is False
    assert (told["replicas"]["rows"][0]["server"], told["replicas"]["rows"][0]["source"]) == (itself, "127.0.0.1:1")
    assert told["replicas"]["notes"] == ["127.0.0.1:1: does not answer"]
    assert {row["pool"]: row["limit"] for row in told["pools"]["rows"]} == {"points": 2, "transactions": 6, "reads": 2}
    log = told["binary_log"]["rows"][0]
    assert (log["on"], log["server_id"], log["files"] > 0, log["size_bytes"] > 0) == (True, 7, True, True)


def test_slow_statements_are_told_by_shape_and_never_by_value(
    telling: MySQLDatabase, telling_server: MySQLServer
) -> None:
    """From the slow-query log, or else from performance_schema, statements that differ in values are one."""
    shape = "SELECT COUNT(*), SLEEP(?) FROM users WHERE name = ?"
    run_mysql(telling_server, ["TRUNCATE mysql.slow_log"])
    run_slowly(telling, telling_server)
    # Others may have been slow, too, on a busy machine.
    (row,) = [row for row in sections(telling)["slow_queries"]["rows"] if "SLEEP" in row["statement"]]
    assert (row["statement"], row["count"]) == (shape, 3)
    assert 0.15 <= row["total_seconds"] < 5
    run_mysql(telling_server, ["SET GLOBAL slow_query_log = OFF"])
    try:
        told = sections(telling, SLOW_QUERY_MS="40")["slow_queries"]
        as_text = status(telling, SLOW_QUERY_MS="40").output
    finally:
        run_mysql(telling_server, ["SET GLOBAL slow_query_log = ON"])
    assert [item["count"] >= 3 for item in told["rows"] if "SLEEP" in item["statement"]] == [True]
    assert "performance_schema" in told["notes"][0]
    assert "SLEEP" in as_text
    assert SECRET not in json.dumps(told) + as_text + status(telling).output


def test_an_account_that_may_see_little_is_told_what_it_lacks(
    mysql_database: MySQLDatabase, mysql_server: MySQLServer
) -> None:
    """Each part that the account may not see says so and how to grant it; the others are there."""
    name = f"{mysql_database.name[-20:]}"
    make = [
        f"CREATE USER '{name}'@'%' IDENTIFIED BY 'x'",
        f"GRANT ALL ON `{mysql_database.name}`.* TO '{name}'@'%'",
    ]
    run_mysql(mysql_server, make)
    try:
        told = sections(mysql_database, MYSQL_USER=name, MYSQL_PASSWORD="x")
    finally:
        run_mysql(mysql_server, [f"DROP USER '{name}'@'%'"])
    assert {row["table"] for row in told["tables"]["rows"]} > {"users", "sessions"}
    assert told["migrations"]["rows"][0]["pending"] == 0
    assert all(row["size_bytes"] is None for row in told["indexes"]["rows"])
    assert "GRANT SELECT ON mysql.innodb_index_stats" in told["indexes"]["notes"][0]
    assert "GRANT" in told["replication"]["reason"]
    for section in ("connections", "slow_queries"):
        assert "GRANT" in json.dumps(told[section]) or "turn on" in json.dumps(told[section])


def test_the_account_that_script_server_makes_sees_all(telling: MySQLDatabase, telling_server: MySQLServer) -> None:
    """The rights that the account of a local server gets, and the documents name, are all that a report takes."""
    mariadb = "MariaDB" in run_mysql(telling_server, ["SELECT VERSION()"])[0][0]
    account = MySQLAccount("looking", "only-for-this-test", telling.name)
    run_mysql(telling_server, [statement.rstrip(";") for statement in account.statements(is_mariadb=mariadb)])
    looking = {"MYSQL_USER": account.user, "MYSQL_PASSWORD": account.password, "METRICS_PORT": "0"}
    try:
        result = status(telling, "--json", **looking)
        text = status(telling, **looking).output
    finally:
        run_mysql(telling_server, ["DROP USER 'looking'@'127.0.0.1'"])
    told = json.loads(result.stdout)
    assert told["not_looked_at"].keys() == {"pools"}, told["not_looked_at"]
    assert {row["user"] for row in told["sections"]["connections"]["rows"]} >= {"(all)", "looking"}
    assert text.splitlines()[-1] == "no problem found in what was looked at"


def test_pending_migrations_and_an_absent_server_are_problems(mysql_empty_database: MySQLDatabase) -> None:
    """Exit code 1 and one line that says what to do; an absent server is not waited for part by part."""
    pending = status(mysql_empty_database)
    assert pending.exit_code == 1
    assert pending.output.splitlines()[-1].endswith("migrations are pending: run `users-service migrate up`")
    away = status(mysql_empty_database, "--json", MYSQL_HOST="127.0.0.1", MYSQL_PORT="1", METRICS_PORT="0")
    assert away.exit_code == 1
    told = json.loads(away.stdout)
    assert "127.0.0.1:1" in told["problems"][0]
    assert told["sections"].pop("replicas")["notes"] == ["MYSQL_REPLICA_HOSTS names none"]
    assert {section["available"] for section in told["sections"].values()} == {False}
    assert "METRICS_PORT" in told["sections"]["pools"]["reason"]
    nobody = json.loads(status(mysql_empty_database, "--json", METRICS_PORT=str(free_port())).stdout)
    assert "no service answers on 127.0.0.1:" in nobody["sections"]["pools"]["reason"]
    assert set(told["sections"]) == set(SECTIONS) - {"replicas"}
