"""Rows of other systems that are larger than an event of the database may be: they are nobody else's trouble."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from vibework.notifications.v1 import notification_service_pb2 as pb

from tests.harness.notifications import Notifications
from tests.harness.watching import create, mark, watching

# Twice this, before and after a change, is more than the 16 MiB of a document; once it is less.
LARGE = 9 * 1024 * 1024


def large(user_id: str, size: int = LARGE) -> dict[str, Any]:
    """Return a row that takes so many bytes."""
    row = {"title": "t", "message": "m", "type": "email", "userId": user_id, "createdAt": datetime.now(UTC)}
    return row | {"_id": ObjectId(), "data": {"text": "x" * size}}


@pytest.mark.parametrize("size", [LARGE, 16 * 1024 * 1024 - 4_096])
async def test_a_large_row_that_changes_ends_no_watch(
    notifications: Notifications, user_id: str, rows: Any, size: int
) -> None:
    """Others hear on, and so does who resumes behind it; to its own user it is deleted, as it is in no list."""
    feed, owner = notifications.feed, f"{user_id}_owner"
    async with watching(feed, user_id) as watch, watching(feed, owner) as own:
        token, own_token = watch.token, own.token
        row = large(owner, size)
        before = await create(feed, user_id)
        await rows.insert_one(row)
        for state in (pb.NOTIFICATION_MARK_READ, pb.NOTIFICATION_MARK_UNREAD):
            await mark(feed, owner, state, str(row["_id"]))
            await rows.update_one({"_id": row["_id"]}, {"$set": {"read": state == pb.NOTIFICATION_MARK_READ}})
        await rows.delete_one({"_id": row["_id"]})
        after, theirs = await create(feed, user_id), await create(feed, owner)
        assert await watch.changes(2) == [("created", before.id), ("created", after.id)]
        told = await own.until(theirs.title)
        assert {event.deleted.id for event in told[:-1]} == {str(row["_id"])}
    async with (
        watching(feed, user_id, resume_token=token) as watch,
        watching(feed, owner, resume_token=own_token) as own,
    ):
        assert await watch.changes(2) == [("created", before.id), ("created", after.id)]
        assert len(await own.until(theirs.title)) == len(told)
