"""What was stored as pending before anything was sent: a migration settles it."""

from __future__ import annotations

from typing import Any

import pymongo

from notifications_service.migrations import steps
from tests.harness.databases import MongoDatabase
from tests.integration.notifications.building import row
from tests.integration.notifications.test_migrations import runner

DELIVERIES = next(step.number for step in steps.load() if step.name == "deliveries")


async def test_what_was_pending_before_anything_was_sent_is_cancelled(mongodb_empty_database: MongoDatabase) -> None:
    """It is told why; what was settled, or written by the source's own system, stays as it was."""
    due = {"state": "pending", "attempts": 0, "nextAttemptAt": row("")["createdAt"]}
    rows: list[dict[str, Any]] = [
        row("u", delivery=due),
        row("u", delivery={"state": "sending"}),
        row("u", delivery={"state": "sent"}),
        row("u"),
    ]
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        feed = client.get_default_database().notifications
        async with runner(mongodb_empty_database) as migrating:
            await migrating.up(30, DELIVERIES - 1)
            feed.insert_many(rows)
            assert await migrating.up(30, DELIVERIES) == 1
        found = [each.get("delivery") for each in feed.find({}, sort=[("_id", 1)])]
    settled = {"state": "cancelled", "reason": "predates_delivery"}
    assert found == [settled | {"attempts": 0}, settled, {"state": "sent"}, None]
