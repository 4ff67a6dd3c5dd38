"""`users-service explain`: every named statement is there, nothing is carried out, and none of the hot ones scans."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import UNHURRIED
from tests.harness.statement_names import statement_names
from users_service.cli import main
from users_service.explain.catalog import WITHOUT_PLAN

# Together, for the rows that they need.
pytestmark = pytest.mark.xdist_group("explain-users")

KEYS = f"test:{base64.b64encode(bytes(range(32))).decode()}"
MOSTLY_NEW = "NOW(6) + INTERVAL IF(RAND(1) < 0.02, -2, 2) DAY"
# What has to look at everything: a part of an address has no index, and counting is reading.
SCANS = {
    ("users.list_users", "part of address"),
    ("users.count_users", "part of address"),
    ("users.count_users", "all"),
    ("outbox.count", None),
    ("outbox.backlog", None),
}


@pytest.fixture(scope="module")
def filled(test_run: TestRun, mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A database of 3,000 users and all that belongs to them, of which the server knows how much it is."""
    with migrated_mysql(test_run, mysql_server) as database:
        run(database, "seed", "--users", "3000", "--password", "correct horse")
        # All calls that wait are due; what is purged, the most of it is not.
        rows = "SELECT id, 'k', '{}', 0, created_at, NULL, created_at FROM users LIMIT 2000"
        keys = f"SELECT 'm', LEFT(id, 36), UNHEX(SHA2(id, 256)), NULL, {MOSTLY_NEW} FROM users LIMIT 2000"
        tokens = "SELECT UNHEX(SHA2(id, 256)), id, created_at FROM sessions LIMIT 2000"
        counters = f"SELECT 's', UNHEX(SHA2(id, 256)), 1, {MOSTLY_NEW} FROM users LIMIT 2000"
        events = "SELECT ROW_NUMBER() OVER (), NOW(6), id, 'created', 1 FROM users LIMIT 2000"
        inserts = [
            f"INSERT INTO user_events (seq, sequenced_at, user_id, kind, revision) {events}",
            f"INSERT INTO outbox {rows}",
            f"INSERT INTO idempotency_keys {keys}",
            f"INSERT INTO rotated_session_tokens {tokens}",
            f"INSERT INTO attempt_counters {counters}",
        ]
        tables = "users, sessions, accounts, verifications, outbox, idempotency_keys, user_events"
        run_mysql(
            mysql_server,
            [*inserts, f"ANALYZE TABLE {tables}, rotated_session_tokens, attempt_counters"],
            database=database.name,
        )
        yield database


def run(database: MySQLDatabase, *arguments: str) -> Result:
    """Run `users-service …`; it must succeed."""
    result = CliRunner().invoke(main, arguments, env={**database.environment(), **UNHURRIED, "SECRET_KEYS": KEYS})
    assert result.exit_code == 0, result.output
    return result


def plans(database: MySQLDatabase, *arguments: str) -> list[dict[str, Any]]:
    """Return the plans that `explain --json` tells."""
    rows: list[dict[str, Any]] = json.loads(run(database, "explain", "--json", *arguments).stdout)["sections"]["plans"][
        "rows"
    ]
    return rows


def test_every_named_statement_is_listed(mysql_empty_database: MySQLDatabase) -> None:
    """Whoever names a statement gives it an example, or says why it has no plan."""
    listed = run(mysql_empty_database, "explain", "--list").output.split()
    assert statement_names("users_service") == set(listed), "give it an example in users_service/explain"


def test_no_statement_scans_a_table_but_those_that_must(filled: MySQLDatabase) -> None:
    """On a filled database each statement has its index; a new one that scans is noticed here."""
    found = plans(filled)
    warned = {(row["name"], row["case"]) for row in found if row["verdict"].endswith("!")}
    assert warned - SCANS == set(), [row for row in found if row["verdict"].endswith("!")]
    assert ("users.count_users", "all") in warned
    assert all(row["index"] for row in found if row["kind"] in ("update", "delete")), found
    by_token = next(row for row in found if row["name"] == "sessions.read_by_token")
    assert (by_token["index"], by_token["rows_estimate"]) == ("uniq_token_hash", 1)
    without = {row["name"] for row in found} & set(WITHOUT_PLAN)
    assert not without


def test_explaining_changes_nothing(filled: MySQLDatabase, mysql_server: MySQLServer) -> None:
    """Deletes, updates and inserts are explained, too, and none is carried out."""
    names = "users, sessions, accounts, verifications, outbox, idempotency_keys, attempt_counters"
    before = run_mysql(mysql_server, [f"CHECKSUM TABLE {names}"], database=filled.name)
    kinds = {row["kind"] for row in plans(filled)}
    assert kinds == {"select", "insert", "update", "delete"}
    assert run_mysql(mysql_server, [f"CHECKSUM TABLE {names}"], database=filled.name) == before


def test_one_statement_is_shown_with_its_text_and_without_values(
    filled: MySQLDatabase, mysql_server: MySQLServer
) -> None:
    """The statement is the repository's own, with a mark for each value."""
    text = run(filled, "explain", "outbox.lease").output
    assert "FOR UPDATE SKIP LOCKED" in text
    assert "by idx_available_at" in text
    rows = plans(filled, "users.read_user")
    assert {row["name"] for row in rows} == {"users.read_user"}
    assert {row["case"] for row in rows} == {None, "locked"}
    everything = run(filled, "explain", "--json").output
    for table in ("users", "sessions", "accounts", "outbox"):
        for (value,) in run_mysql(mysql_server, [f"SELECT id FROM {table} LIMIT 1"], database=filled.name):
            assert value not in everything


@pytest.mark.long
def test_an_account_that_only_reads_sees_the_plans_of_reads(filled: MySQLDatabase, mysql_server: MySQLServer) -> None:
    """To explain a write takes the right to write; what is not allowed says so, and hides nothing else."""
    name = filled.name[-20:]
    make = [f"CREATE USER '{name}'@'%' IDENTIFIED BY 'x'", f"GRANT SELECT ON `{filled.name}`.* TO '{name}'@'%'"]
    run_mysql(mysql_server, make)
    try:
        account = {"MYSQL_USER": name, "MYSQL_PASSWORD": "x"}
        result = CliRunner().invoke(main, ["explain", "--json"], env={**filled.environment(), **UNHURRIED, **account})
    finally:
        run_mysql(mysql_server, [f"DROP USER '{name}'@'%'"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["sections"]["plans"]["rows"]
    denied = {row["kind"] for row in rows if row["verdict"] == "this account may not"}
    assert denied >= {"update", "delete", "insert"}
    assert {row["verdict"] for row in rows if row["name"] == "users.read_by_id"} == {"by PRIMARY"}


@pytest.mark.parametrize(
    ("name", "says"), [("users.nothing", "there is no statement users.nothing"), ("mysql.acquire", "has no plan")]
)
def test_what_cannot_be_explained_is_one_line(mysql_empty_database: MySQLDatabase, name: str, says: str) -> None:
    """A name that there is not is answered with those that there are."""
    result = CliRunner().invoke(main, ["explain", name], env=mysql_empty_database.environment())
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert says in result.output


def test_an_absent_server_is_one_line(mysql_empty_database: MySQLDatabase) -> None:
    """Without a database there is no plan, and no traceback."""
    environment = {**mysql_empty_database.environment(), "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "1"}
    result = CliRunner().invoke(main, ["explain"], env=environment)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "the database is not available"
    assert "Traceback" not in result.output


@pytest.mark.long
def test_what_is_only_explained_is_no_slow_statement(filled: MySQLDatabase) -> None:
    """However low the limit: the log tells of statements that took their time, and these were never carried out."""
    environment = {**filled.environment(), **UNHURRIED, "SECRET_KEYS": KEYS, "SLOW_QUERY_MS": "1"}
    explained = CliRunner().invoke(main, ["explain"], env=environment)
    assert explained.exit_code == 0, explained.output
    slow = [line for line in explained.stderr.splitlines() if "slow statement" in line]
    assert [line for line in slow if "failure" in line] == []
