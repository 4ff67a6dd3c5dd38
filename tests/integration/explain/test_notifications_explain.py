"""`notifications-service explain`: every named command is there, nothing is carried out, and none scans or sorts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from click.testing import CliRunner, Result

from notifications_service.cli import main
from notifications_service.explain.examples import WITHOUT_PLAN
from notifications_service.migrations import declared
from tests.harness.databases import MongoDatabase
from tests.harness.patience import UNHURRIED
from tests.harness.statement_names import statement_names
from tests.integration.notifications.building import row

# Together, for the rows that they need.
pytestmark = pytest.mark.xdist_group("explain-notifications")

ROWS, USERS = 10_000, 50
# By these the sweeper works, and `purge` in its place; no call does.
SWEPT = {("idempotency_keys", "createdAt_1"), ("notifications", "expiresAt_1")}


@pytest.fixture(scope="module")
def filled(mongodb_module_database: MongoDatabase) -> Iterator[Any]:
    """The migrated schema with 200 notifications of each of 50 users, and answers to requests."""
    now = datetime.now(UTC)
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        database = client.get_default_database()
        rows = [
            row(f"user_{number % USERS}", createdAt=now - timedelta(minutes=number), read=number % 2 == 0)
            for number in range(ROWS)
        ]
        database.notifications.insert_many(rows, ordered=False)
        keys = [{"_id": f"CreateNotification:{number}", "createdAt": now} for number in range(100)]
        database.idempotency_keys.insert_many(keys)
        yield database


def explain(database: MongoDatabase, *arguments: str, **environment: str) -> Result:
    """Run `notifications-service explain …`; it must succeed."""
    result = CliRunner().invoke(
        main, ["explain", *arguments], env={**database.environment(), **UNHURRIED, **environment}
    )
    assert result.exit_code == 0, result.output
    return result


def plans(database: MongoDatabase, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Return the plans that `explain --json` tells."""
    told = json.loads(explain(database, "--json", *arguments, **environment).stdout)
    rows: list[dict[str, Any]] = told["sections"]["plans"]["rows"]
    return rows


@pytest.mark.long
def test_every_named_command_is_listed(mongodb_database: MongoDatabase) -> None:
    """Whoever names a command gives it an example, or says why it has no plan."""
    listed = explain(mongodb_database, "--list").output.split()
    assert statement_names("notifications_service") == set(listed), (
        "give it an example in notifications_service/explain"
    )
    told = {item["name"] for item in plans(mongodb_database)}
    assert told | set(WITHOUT_PLAN) == set(listed)


def test_health_looks_for_every_index_by_which_a_command_finds_its_rows(mongodb_database: MongoDatabase) -> None:
    """A database that has lost one is not said to be serving; an index that no command takes needs no look."""
    taken = {
        (item["collection"], index)
        for item in plans(mongodb_database)
        for index in (item["index"] or "").split(", ")
        if index not in {"", "_id_"}
    }
    assert taken - SWEPT == {(name, index) for name, names in declared.NEEDED.items() for index in names}


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_no_command_scans_or_sorts_and_none_is_carried_out(
    filled: Any, mongodb_module_database: MongoDatabase, driver: str
) -> None:
    """Each has its index; what it reads is near what it shows, and updates and deletes change nothing."""
    before = filled.command("dbHash", collections=["notifications", "idempotency_keys"])["md5"]
    found = plans(mongodb_module_database, "--analyze", MONGODB_DRIVER=driver)
    assert filled.command("dbHash", collections=["notifications", "idempotency_keys"])["md5"] == before
    assert [item for item in found if item["verdict"].endswith("!")] == []
    assert {item["kind"] for item in found} == {"find", "aggregate", "findAndModify", "update", "delete", "insert"}
    by_case = {(item["name"], item["case"]): item for item in found}
    assert by_case["feed.page", "all"]["index"] == "feed_rows"
    assert by_case["feed.page", "all"]["documents_examined"] <= 21
    # All of two users by their keys alone.
    group = by_case["feed.group", None]
    assert (group["index"], group["documents_examined"]) == ("feed_rows", 0)
    assert 0 < group["keys_examined"] <= ROWS / USERS + 2
    assert by_case["feed.update", None]["index"] == "_id_"


def test_one_command_is_shown_with_its_text_and_without_values(
    filled: Any, mongodb_module_database: MongoDatabase
) -> None:
    """The command is the repository's own, with a mark for each value."""
    text = explain(mongodb_module_database, "feed.mark").output
    visible = '"createdAt": {"$gt": "?"}, "expiresAt": {"$not": {"$lte": "?"}}'
    assert 'update {"updates": [{"q": {"userId": "?", ' + visible + ', "_id": {"$in": ["…"]}' in text
    assert "by _id_" in text
    everything = explain(mongodb_module_database, "--json", "--analyze").output
    newest = filled.notifications.find_one(sort=[("createdAt", -1)])
    assert newest["userId"] not in everything
    assert str(newest["_id"]) not in everything


def test_a_database_without_its_indexes_is_one_line(mongodb_empty_database: MongoDatabase) -> None:
    """Before the migrations there is nothing to explain."""
    result = CliRunner().invoke(main, ["explain"], env=mongodb_empty_database.environment())
    assert result.exit_code == 1
    assert "notifications-service migrate up" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "says"), [("feed.nothing", "there is no command feed.nothing"), ("watch.next", "has no plan")]
)
def test_what_cannot_be_explained_is_one_line(mongodb_database: MongoDatabase, name: str, says: str) -> None:
    """A name that there is not is answered with those that there are."""
    result = CliRunner().invoke(main, ["explain", name], env=mongodb_database.environment())
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert says in result.output


@pytest.mark.long
def test_what_is_only_explained_is_no_slow_command(filled: Any, mongodb_module_database: MongoDatabase) -> None:
    """However low the limit: the log tells of commands that took their time, and these were never carried out."""
    assert filled is not None
    assert "slow statement" not in explain(mongodb_module_database, "--analyze", SLOW_QUERY_MS="1").stderr
