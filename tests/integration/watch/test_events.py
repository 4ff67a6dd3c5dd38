"""What a watch tells of changes: each once, in order, as they were made."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.watching.heartbeats import DEFAULT_HEARTBEAT
from tests.harness.clocks import FrozenClock
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.watching import create, mark, revision, watching


async def test_each_change_arrives_as_it_was_made(notifications: Notifications, user_id: str) -> None:
    """A change tells the notification right after it, even where it was changed again or deleted since."""
    feed = notifications.feed
    async with watching(feed, user_id) as watch:
        made = await create(feed, user_id)
        await mark(feed, user_id, pb.NOTIFICATION_MARK_READ, made.id)
        await mark(feed, user_id, pb.NOTIFICATION_MARK_UNSEEN, made.id)
        await feed.DeleteNotification(pb.DeleteNotificationRequest(id=made.id))
        created, read, unseen, deleted = [await watch.content() for _ in range(4)]
    assert created.created == made
    assert (read.updated.read, read.updated.seen, revision(read.updated)) == (True, True, 2)
    assert (unseen.updated.read, unseen.updated.seen, revision(unseen.updated)) == (False, False, 3)
    assert deleted.deleted.id == made.id


async def test_a_watch_starts_with_what_happens_from_now_on(notifications: Notifications, user_id: str) -> None:
    """What was acknowledged before the watch began is not told, however far behind the shared stream is."""
    feed = notifications.feed
    async with watching(feed, user_id):
        for number in range(20):
            await create(feed, user_id, f"before {number}")
            async with watching(feed, user_id) as watch:
                await create(feed, user_id, f"after {number}")
                assert (await watch.content()).created.title == f"after {number}"


async def test_a_watch_tells_of_one_user_only(notifications: Notifications, user_id: str) -> None:
    """Events of other users, deletions too, never reach a watcher."""
    feed = notifications.feed
    async with watching(feed, user_id) as watch, watching(feed, "other") as other:
        foreign = await create(feed, "other")
        await mark(feed, "other", pb.NOTIFICATION_MARK_READ, foreign.id)
        await feed.DeleteNotification(pb.DeleteNotificationRequest(id=foreign.id))
        own = await create(feed, user_id)
        assert await watch.change() == ("created", own.id)
        assert await other.changes(3) == [(kind, foreign.id) for kind in ("created", "updated", "deleted")]


async def test_every_watcher_of_a_user_gets_every_event(notifications: Notifications, user_id: str) -> None:
    """Several devices of one user see the same."""
    feed = notifications.feed
    async with watching(feed, user_id) as one, watching(feed, user_id) as two, watching(feed, user_id) as three:
        ids = [(await create(feed, user_id)).id for _ in range(5)]
        for watch in (one, two, three):
            assert await watch.changes(5) == [("created", made) for made in ids]


async def test_batches_marks_of_all_and_deletions_of_all_are_told_one_by_one(
    notifications: Notifications, user_id: str
) -> None:
    """The events of one transaction, of one update of many and of one deletion of many all arrive."""
    feed = notifications.feed
    content = notification_pb2.NotificationContent(
        title="t", message="m", type=notification_pb2.NOTIFICATION_TYPE_IN_APP
    )
    items = [pb.BatchCreateNotificationsRequest.Item(user_id=user_id, content=content)] * 40
    async with watching(feed, user_id) as watch:
        batch = pb.BatchCreateNotificationsRequest(items=pb.BatchCreateNotificationsRequest.Items(items=items))
        ids = [made.id for made in (await feed.BatchCreateNotifications(batch)).notifications]
        await feed.MarkAllNotifications(pb.MarkAllNotificationsRequest(user_id=user_id, mark=pb.NOTIFICATION_MARK_SEEN))
        await feed.DeleteUserNotifications(pb.DeleteUserNotificationsRequest(user_id=user_id))
        assert await watch.changes(40) == [("created", made) for made in ids]
        assert sorted(await watch.changes(40)) == sorted(("updated", made) for made in ids)
        assert sorted(await watch.changes(40)) == sorted(("deleted", made) for made in ids)


async def test_what_another_system_writes_is_told(notifications: Notifications, user_id: str, rows: Any) -> None:
    """Rows of the source's own system, written past this service, are told with the states that follow."""
    async with watching(notifications.feed, user_id) as watch:
        now = datetime.now(UTC)
        row = {"title": "t", "message": "m", "type": "email", "userId": user_id, "read": False, "createdAt": now}
        identity = (await rows.insert_one(row)).inserted_id
        await rows.update_one({"_id": identity}, {"$set": {"read": True, "readAt": now}})
        await rows.replace_one({"_id": identity}, row | {"title": "other"})
        await rows.delete_one({"_id": identity})
        created, read, replaced, deleted = [await watch.content() for _ in range(4)]
    assert (created.created.id, created.created.seen) == (str(identity), False)
    assert (read.updated.read, read.updated.seen) == (True, True)
    assert (replaced.updated.title, replaced.updated.read) == ("other", False)
    assert deleted.deleted.id == str(identity)


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_unreadable_and_expired_rows_are_left_out(
    mongodb_module_database: MongoDatabase, user_id: str, rows: Any, driver: str
) -> None:
    """A bad row, one with an id of another type, or one past its retention neither shows nor ends the watch."""
    clock = FrozenClock()
    # Ahead of MongoDB, which so deletes nothing that has expired here.
    clock.advance(timedelta(days=2))
    row = {"title": "t", "message": "m", "type": "in-app", "userId": user_id, "createdAt": datetime.now(UTC)}
    bad = [
        row | {"_id": ObjectId(), "title": 7},
        row | {"_id": ObjectId(), "data": {"key": ObjectId()}},
        row | {"_id": 2.5},
        row | {"_id": ObjectId(), "createdAt": clock() - timedelta(days=30, hours=1)},
        row | {"_id": ObjectId(), "userId": 5},
    ]
    async with (
        running_notifications(mongodb_module_database, clock, mongodb_driver=driver) as running,
        watching(running.feed, user_id) as watch,
    ):
        for document in bad:
            await rows.insert_one(document, bypass_document_validation=True)
        await rows.delete_one({"_id": 2.5})
        good = await create(running.feed, user_id)
        assert await watch.change() == ("created", good.id)


async def test_a_row_that_goes_to_another_user_is_deleted_for_the_one_and_created_for_the_other(
    notifications: Notifications, user_id: str, rows: Any
) -> None:
    """By an update or a replacement: the screen of the one shows it no longer, and that of the other shows it."""
    feed, other = notifications.feed, f"{user_id}_other"
    async with watching(feed, user_id) as old, watching(feed, other) as new:
        token = old.token
        made = await create(feed, user_id)
        row = await rows.find_one({"_id": ObjectId(made.id)})
        await rows.update_one({"_id": row["_id"]}, {"$set": {"userId": other}})
        await rows.replace_one({"_id": row["_id"]}, row)
        await rows.update_one({"_id": row["_id"]}, {"$set": {"userId": 5}}, bypass_document_validation=True)
        told = [("created", made.id), ("deleted", made.id), ("created", made.id), ("deleted", made.id)]
        assert await old.changes(4) == told
        assert await new.changes(2) == [("created", made.id), ("deleted", made.id)]
    async with watching(feed, user_id, resume_token=token) as again:
        assert await again.changes(4) == told


@pytest.mark.parametrize("changed", [{"title": 7}, {"data": {"key": ObjectId()}}, {"type": "sms"}])
async def test_an_update_that_makes_a_row_unreadable_is_a_deletion(
    notifications: Notifications, user_id: str, rows: Any, changed: dict[str, Any]
) -> None:
    """A watcher's screen shows no longer what lists leave out; once it can be read again, it is told as changed."""
    feed = notifications.feed
    async with watching(feed, user_id) as watch:
        made = await create(feed, user_id)
        key = {"_id": ObjectId(made.id)}
        row = await rows.find_one(key)
        await rows.update_one(key, {"$set": changed}, bypass_document_validation=True)
        assert await watch.changes(2) == [("created", made.id), ("deleted", made.id)]
        await rows.replace_one(key, row)
        assert (await watch.content()).updated == made


async def test_heartbeats_come_while_nothing_happens(notifications: Notifications, user_id: str) -> None:
    """The first event of a watch is a heartbeat, and then one follows per interval, each with a token."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with watching(notifications.feed, user_id, heartbeat_interval={"seconds": 1}) as watch:
        beats = [await watch.event() for _ in range(2)]
        took = loop.time() - begun
    assert all(beat.WhichOneof("event") == "heartbeat" and beat.resume_token for beat in beats)
    assert 1.9 < took < DEFAULT_HEARTBEAT


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_one_change_stream_feeds_all_watchers(mongodb_database: MongoDatabase, driver: str) -> None:
    """However many watch, the database serves one stream to the process."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncMongoClient[Any](mongodb_database.url))
        running = await stack.enter_async_context(running_notifications(mongodb_database, mongodb_driver=driver))
        for number in range(30):
            watch = await stack.enter_async_context(watching(running.feed, f"user {number}"))
        # One that is between two reads may be in neither of the lists that MongoDB goes through one after another.
        while not (streams := await _streams(client, mongodb_database.name)):
            pass
        assert streams == 1
        made = await create(running.feed, "user 29")
        assert await watch.change() == ("created", made.id)


async def _streams(client: AsyncMongoClient[Any], database: str) -> int:
    mine = {"ns": f"{database}.notifications", "$or": [{"cursor.awaitData": True}, {"cursor.tailable": True}]}
    operations = {"$currentOp": {"idleCursors": True, "allUsers": True}}
    each = {"$group": {"_id": "$cursor.cursorId"}}
    return len(await (await client.admin.aggregate([operations, {"$match": mine}, each])).to_list())
