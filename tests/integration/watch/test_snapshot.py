"""A watch that starts with a snapshot: the unread of one moment, then exactly what was committed after it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from tests.harness.notifications import Notifications
from tests.harness.watching import Watching, create, mark, revision, watching


async def drawn(watch: Watching) -> tuple[list[notification_pb2.Notification], pb.WatchNotificationsResponse]:
    """Return the notifications of the snapshot and its end."""
    found = []
    while (event := await watch.content()).WhichOneof("event") == "snapshot":
        assert event.resume_token == ""
        found.append(event.snapshot)
    return found, event


async def test_a_snapshot_holds_the_unread_oldest_first(notifications: Notifications, user_id: str) -> None:
    """What is read or archived is not in it; its end counts, and its token resumes after it."""
    feed = notifications.feed
    made = [await create(feed, user_id, f"{number}") for number in range(6)]
    await mark(feed, user_id, pb.NOTIFICATION_MARK_READ, made[1].id)
    await mark(feed, user_id, pb.NOTIFICATION_MARK_ARCHIVED, made[2].id)
    await mark(feed, user_id, pb.NOTIFICATION_MARK_SEEN, made[3].id)
    await create(feed, "someone else")
    async with watching(feed, user_id, snapshot={}) as watch:
        found, end = await drawn(watch)
    assert [item.id for item in found] == [made[number].id for number in (0, 3, 4, 5)]
    assert (end.snapshot_end.count, end.snapshot_end.truncated) == (4, False)
    assert found[0] == made[0]
    after = await create(feed, user_id)
    async with watching(feed, user_id, resume_token=end.resume_token) as watch:
        assert await watch.change() == ("created", after.id)


async def test_a_limit_keeps_the_newest(notifications: Notifications, user_id: str) -> None:
    """The end says that older ones were left out; a hundred is the limit where none is given."""
    feed = notifications.feed
    made = [(await create(feed, user_id)).id for _ in range(101)]
    for limit, kept in ((3, 3), (0, 100), (101, 101)):
        async with watching(feed, user_id, snapshot={"limit": limit}) as watch:
            found, end = await drawn(watch)
        assert [item.id for item in found] == made[-kept:]
        assert (end.snapshot_end.count, end.snapshot_end.truncated) == (kept, kept < 101)


async def test_unreadable_rows_are_not_in_a_snapshot(notifications: Notifications, user_id: str, rows: Any) -> None:
    """A bad row is left out and not counted."""
    made = await create(notifications.feed, user_id)
    bad = {"title": 5, "message": "m", "type": "in-app", "userId": user_id}
    await rows.insert_one(bad | {"createdAt": made.created_at.ToDatetime()}, bypass_document_validation=True)
    async with watching(notifications.feed, user_id, snapshot={}) as watch:
        found, end = await drawn(watch)
    assert ([item.id for item in found], end.snapshot_end.count) == ([made.id], 1)


@pytest.mark.parametrize("seed", range(3))
async def test_snapshot_and_stream_fit_while_everything_changes(
    notifications: Notifications, user_id: str, seed: int
) -> None:
    """Of each notification, every revision from the snapshot's on arrives once, and what is told adds up to what is.

    Creations, marks and deletions go on while one watch after another begins.
    """
    feed = notifications.feed
    chance = random.Random(seed)
    ended = asyncio.Event()
    writers = [asyncio.create_task(_write(feed, user_id, random.Random(seed * 10 + n), ended)) for n in range(4)]
    begun = asyncio.Semaphore(0)
    watches = [asyncio.create_task(_follow(feed, user_id, chance.random() * 0.6, begun)) for _ in range(25)]
    for _ in watches:
        await begun.acquire()
    ended.set()
    await asyncio.gather(*writers)
    await create(feed, user_id, "the end")
    listed = await feed.ListNotifications(
        pb.ListNotificationsRequest(user_id=user_id, page_size=100, filter=pb.NotificationFilter(read=False))
    )
    assert not listed.next_page_token
    unread = {item.id: item for item in listed.notifications}
    for found in await asyncio.gather(*watches):
        assert {item.id: item for item in found.values() if not item.read} == unread


async def _write(feed: Any, user_id: str, chance: random.Random, ended: asyncio.Event) -> None:
    marks = [pb.NOTIFICATION_MARK_READ, pb.NOTIFICATION_MARK_UNREAD, pb.NOTIFICATION_MARK_UNSEEN]
    ids: list[str] = []
    while not ended.is_set():
        await asyncio.sleep(chance.random() * 0.01)
        # However long it takes until all watch, what is unread fits into one page.
        if len(ids) < 8 or (len(ids) < 20 and chance.random() < 0.2):
            ids.append((await create(feed, user_id)).id)
        elif chance.random() < 0.2:
            await feed.DeleteNotification(pb.DeleteNotificationRequest(id=ids.pop(chance.randrange(len(ids)))))
        else:
            await mark(feed, user_id, chance.choice(marks), *chance.sample(ids, 3))


async def _follow(
    feed: Any, user_id: str, delay: float, begun: asyncio.Semaphore
) -> dict[str, notification_pb2.Notification]:
    """Watch from a snapshot to the end; return the notifications as they were last told."""
    await asyncio.sleep(delay)
    async with watching(feed, user_id, snapshot={"limit": 1_000}) as watch:
        unread, _ = await drawn(watch)
        begun.release()
        found = {item.id: item for item in unread}
        for event in await watch.until("the end"):
            _apply(found, event)
    return found


def _apply(found: dict[str, notification_pb2.Notification], event: pb.WatchNotificationsResponse) -> None:
    kind = str(event.WhichOneof("event"))
    if kind == "deleted":
        # What was read when the snapshot was drawn was not in it, and is not known if it never changed since.
        found.pop(event.deleted.id, None)
        return
    item: notification_pb2.Notification = getattr(event, kind)
    before = found.get(item.id)
    if kind == "created":
        assert before is None
        assert revision(item) == 1
    elif before is not None:
        assert revision(item) == revision(before) + 1
    found[item.id] = item


async def test_large_snapshots_arrive_whole(pymongo_notifications: Notifications, user_id: str) -> None:
    """A thousand notifications with data, more than one reply of the database holds, come in order."""
    feed = pymongo_notifications.feed
    data = Struct()
    data.update({"text": "x" * 14_000})
    content = notification_pb2.NotificationContent(
        title="t", message="m" * 4096, type=notification_pb2.NOTIFICATION_TYPE_IN_APP, data=data
    )
    items = [pb.BatchCreateNotificationsRequest.Item(user_id=user_id, content=content)] * 100
    batch = pb.BatchCreateNotificationsRequest(items=pb.BatchCreateNotificationsRequest.Items(items=items))
    for _ in range(10):
        await feed.BatchCreateNotifications(batch)
    async with watching(feed, user_id, snapshot={"limit": 1000}) as watch:
        found, end = await drawn(watch)
    assert end.snapshot_end.count == len(found) == 1_000
    order = [(item.created_at.ToNanoseconds(), item.id) for item in found]
    assert order == sorted(order)
