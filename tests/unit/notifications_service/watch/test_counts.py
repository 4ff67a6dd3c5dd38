"""Counts of watches, on a database that a test makes up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bson import Timestamp

from chassis.errors import DatabaseUnavailable
from chassis.watching.errors import WatchInterrupted
from notifications_service.mongodb.database import QueryResult
from notifications_service.notification.filters import EVERYTHING
from notifications_service.notification.visibility import Visibility
from notifications_service.watch.counts import Counts
from tests.harness.clocks import stored_now


class CountingDatabase:
    """Answers that each user has one notification, unread and unseen, and notes the commands."""

    def __init__(self, failures: int = 0) -> None:
        self.default = self
        self.failures = failures
        self.commands: list[dict[str, Any]] = []
        self.running = self.most = 0

    async def run(self, work: Callable[[], Awaitable[Any]], _: Any) -> Any:
        """Carry out a command, beside the others that run."""
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable
        return await work()

    async def command(self, command: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Answer a command at a time after all before it."""
        self.commands.append(command)
        users = command["pipeline"][0]["$match"]["userId"]["$in"]
        groups = [{"_id": {"userId": user_id}, "n": 1} for user_id in users]
        return {"cursor": {"atClusterTime": Timestamp(5, len(self.commands)), "firstBatch": groups}}

    async def find(self, *_: Any, **__: Any) -> QueryResult:
        """Find no unreadable rows."""
        return QueryResult([])


def counts_on(database: Any, outage: float = 30.0) -> Counts:
    """Return counts on that database."""
    return Counts(database, lambda: Visibility(stored_now(), stored_now()), outage)


async def test_a_thousand_watchers_are_counted_by_few_commands_two_at_a_time() -> None:
    """What a process asks of the database is bounded, however many watch, and a user's watchers share a count."""
    database = CountingDatabase()
    counts = counts_on(database)
    asked = [counts.after(f"user {number % 500}", EVERYTHING, None) for number in range(1_000)]
    assert {(one.unread, one.unseen) for one in await asyncio.gather(*asked)} == {(1, 1)}
    counted = [user for command in database.commands for user in command["pipeline"][0]["$match"]["userId"]["$in"]]
    # Those of the two commands that began while the others still asked are counted twice.
    assert len(counted) <= 500 + 2 * 16
    assert len(database.commands) <= 40
    assert database.most <= 2


async def test_no_count_is_of_an_earlier_time_than_any_that_was_told() -> None:
    """Also where a new primary is behind: the database is asked for a time that is not before."""
    database = CountingDatabase()
    counts = counts_on(database)
    moment = Timestamp(4, 9)
    first = await counts.after("u", EVERYTHING, moment)
    await counts.after("other", EVERYTHING, Timestamp(1, 1))
    assert [command["readConcern"] for command in database.commands] == [
        {"level": "snapshot", "afterClusterTime": moment},
        {"level": "snapshot", "afterClusterTime": first.at},
    ]


async def test_a_database_that_is_away_for_a_while_ends_no_watch() -> None:
    """The count is tried again until the outage is too long; then the watcher is told to watch again elsewhere."""
    assert (await counts_on(CountingDatabase(failures=2)).after("u", EVERYTHING, None)).unread == 1
    with pytest.raises(WatchInterrupted):
        await counts_on(CountingDatabase(failures=100), outage=0.0).after("u", EVERYTHING, None)
