"""`notifications-service seed`: full feeds for the users that there are, valid to every rule, and nothing to send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest
from bson import Timestamp
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from notifications_service.notification.states import state_of
from notifications_service.seed.service import SeedPlan, batches
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import threaded_notifications
from tests.harness.users import UsersServer, users_service
from tests.integration.seed.conftest import Seed

NUMBER = 3_000

# One process seeds for all tests of the module.
pytestmark = pytest.mark.xdist_group("seed-notifications")


@pytest.fixture(scope="module")
def users_server(mysql_module_database: MySQLDatabase, seed_users: Seed) -> Iterator[UsersServer]:
    """The users service, with 150 users."""
    assert seed_users(mysql_module_database.environment(), "--users", "150").exit_code == 0
    with users_service(mysql_module_database) as served:
        yield served


@pytest.fixture(scope="module")
def settings(mongodb_module_database: MongoDatabase, users_server: UsersServer) -> dict[str, str]:
    """The settings of the command."""
    return {**mongodb_module_database.environment(), "USERS_ADDRESS": users_server.address}


@pytest.fixture(scope="module")
def rows(mongodb_module_database: MongoDatabase, settings: dict[str, str], seed_notifications: Seed) -> list[Any]:
    """All that the command has stored."""
    done = seed_notifications(settings, "--notifications", str(NUMBER), "--users", "120")
    # Before it comes what the users service, which runs in this process, has logged.
    assert done.stdout.endswith(f"{NUMBER} notifications stored for 120 users\n")
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        return list(client.get_default_database().notifications.find())


def test_feeds_are_full_and_counted_alike(
    rows: list[Any], users_server: UsersServer, mongodb_module_database: MongoDatabase
) -> None:
    """Every notification is in the feed of a user that exists, and pages, counts and stats agree on it."""
    known = {user_id for (user_id,) in users_server.rows("SELECT id FROM users")}
    owners = Counter(row["userId"] for row in rows)
    assert owners.total() == NUMBER
    assert owners.keys() <= known
    with threaded_notifications(mongodb_module_database) as feed:
        for user_id, number in [*owners.most_common(2), owners.most_common()[-1]]:
            assert len(listed(feed, user_id)) == number
            counted = feed.CountNotifications(pb.CountNotificationsRequest(user_id=user_id))
            stats = feed.GetNotificationStats(pb.GetNotificationStatsRequest(user_id=user_id))
            assert (counted.counts[0], stats.total.total) == (number, number)


def listed(feed: NotificationServiceStub, user_id: str) -> list[str]:
    """Return the ids of a user's whole feed, page by page."""
    found: list[str] = []
    request = pb.ListNotificationsRequest(user_id=user_id, page_size=100)
    while True:
        page = feed.ListNotifications(request)
        found += [item.id for item in page.notifications]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_a_few_users_are_heavy_and_many_are_not(rows: list[Any]) -> None:
    """The most notified tenth holds a good share, as in real feeds; categories and types vary."""
    owners = Counter(row["userId"] for row in rows)
    heaviest = sum(number for _, number in owners.most_common(12))
    assert 0.2 < heaviest / NUMBER < 0.6
    assert {row["type"] for row in rows} == {"email", "push", "in-app"}
    # The database stamps what is made up, too: no `as_of` from before covers it.
    assert min(row["insertedAt"] for row in rows) > Timestamp(0, 0)
    assert len({row.get("category", "") for row in rows}) == 6


def test_states_times_and_revisions_agree(rows: list[Any]) -> None:
    """Each state comes with those below it and its time, none before the creation nor after now, newest last."""
    now = datetime.now(UTC).replace(tzinfo=None)
    for row in rows:
        times = [row["createdAt"], *(row[name] for name in ("seenAt", "readAt", "archivedAt") if name in row)]
        assert times == sorted(times)
        assert times[-1] == row["updatedAt"] <= now
        assert len(times) - 1 == state_of(row) == row["rev"] - 1
        assert row["createdAt"] > now - timedelta(days=30)
        assert abs(row["_id"].generation_time.replace(tzinfo=None) - row["createdAt"]) < timedelta(seconds=1)
    assert {state_of(row).name for row in rows} == {"UNSEEN", "SEEN", "READ", "ARCHIVED"}


def test_nothing_made_up_is_left_to_send(rows: list[Any]) -> None:
    """No delivery is pending, so that no worker ever sends a made-up message."""
    assert {row["delivery"]["state"] for row in rows} == {"sent", "failed", "cancelled", "suppressed"}
    assert [row for row in rows if "nextAttemptAt" in row["delivery"]] == []


def test_refusals_are_one_line(rows: list[Any], settings: dict[str, str], seed_notifications: Seed) -> None:
    """A collection with notifications is left alone, and a users service that is away is named."""
    refused = seed_notifications(settings, "--notifications", "10")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "--append" in refused.stderr
    away = seed_notifications({**settings, "USERS_ADDRESS": "127.0.0.1:1"}, "--append", "--notifications", "10")
    assert (away.exit_code, away.stderr.count("\n")) == (1, 1)
    assert "users service" in away.stderr


@pytest.mark.long
def test_more_can_be_put_beside(
    mongodb_database: MongoDatabase, users_server: UsersServer, seed_notifications: Seed
) -> None:
    """With --append another seed adds to the feeds; the same seed as of the same time is refused."""
    settings = {**mongodb_database.environment(), "USERS_ADDRESS": users_server.address}
    as_of = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    arguments = ["--notifications", "50", "--append", "--as-of", as_of]
    assert seed_notifications(settings, *arguments).exit_code == 0
    assert seed_notifications(settings, *arguments, "--seed", "2").exit_code == 0
    again = seed_notifications(settings, *arguments)
    assert (again.exit_code, again.stderr) == (1, "notifications of seed 1 are there already: name another --seed\n")


def test_the_same_seed_makes_up_the_same_notifications() -> None:
    """Two runs for the same users, as of one time, store the same documents, ids included."""

    def documents(seed: int) -> list[Any]:
        users = [f"user_{number}" for number in range(20)]
        return list(batches(SeedPlan(300, seed, datetime(2026, 1, 1), timedelta(days=29), users)))  # noqa: DTZ001

    assert documents(7) == documents(7)
    assert documents(7) != documents(8)
