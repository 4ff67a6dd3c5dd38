"""Counts with the events of a watch: exact at a moment that is not before the event, and cheap however much happens."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo import AsyncMongoClient
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.watching import create, mark, watching

# Unread and unseen.
Pair = tuple[int, int]


def pair(event: pb.WatchNotificationsResponse) -> Pair:
    """Return the counts of an event."""
    assert event.HasField("counts")
    return event.counts.unread, event.counts.unseen


async def counted(feed: Any, user_id: str, **chosen: Any) -> Pair:
    """Return what CountNotifications says."""
    filters = [pb.NotificationFilter(read=False, **chosen), pb.NotificationFilter(seen=False, **chosen)]
    answer = await feed.CountNotifications(pb.CountNotificationsRequest(user_id=user_id, filters=filters))
    unread, unseen = answer.counts
    return unread, unseen


async def test_each_event_has_the_counts_after_it(notifications: Notifications, user_id: str) -> None:
    """One change at a time, each is counted: creations, every mark, a deletion; the heartbeat at the start, too."""
    feed = notifications.feed
    first = await create(feed, user_id)
    async with watching(feed, user_id, greeted=False, include_counts=True) as watch:
        assert pair(await watch.event()) == (1, 1)
        second = await create(feed, user_id)
        assert pair(await watch.content()) == (2, 2)
        steps = [
            (first, pb.NOTIFICATION_MARK_SEEN, (2, 1)),
            (first, pb.NOTIFICATION_MARK_READ, (1, 1)),
            (second, pb.NOTIFICATION_MARK_ARCHIVED, (0, 0)),
            (second, pb.NOTIFICATION_MARK_UNARCHIVED, (0, 0)),
            (second, pb.NOTIFICATION_MARK_UNREAD, (1, 0)),
            (second, pb.NOTIFICATION_MARK_UNSEEN, (1, 1)),
        ]
        for which, to, expected in steps:
            await mark(feed, user_id, to, which.id)
            assert pair(await watch.content()) == expected == await counted(feed, user_id)
        await feed.DeleteNotification(pb.DeleteNotificationRequest(id=second.id))
        assert pair(await watch.content()) == (0, 0)
    async with watching(feed, user_id) as plain:
        await create(feed, user_id)
        assert not (await plain.content()).HasField("counts")


async def test_counts_are_of_what_the_filter_lets_pass(notifications: Notifications, user_id: str) -> None:
    """Alike at the end of a snapshot, whose notifications have none, and with what follows."""
    feed = notifications.feed
    for name in ("a", "b", "a"):
        await create(feed, user_id, category=name)
    chosen = {"categories": ["a"]}
    async with watching(feed, user_id, filter=chosen, snapshot={}, include_counts=True) as watch:
        assert not (await watch.content()).HasField("counts")
        assert not (await watch.content()).HasField("counts")
        assert pair(await watch.content()) == (2, 2)
        await create(feed, user_id, category="b")
        await create(feed, user_id, category="a")
        assert pair(await watch.content()) == (3, 3) == await counted(feed, user_id, categories=["a"])


@pytest.mark.parametrize("size", [1, 120])
async def test_unreadable_rows_are_not_counted(
    notifications: Notifications, user_id: str, rows: Any, size: int
) -> None:
    """Few of them or many, with ids of other types, too: the counts are those of CountNotifications."""
    feed = notifications.feed
    row = {"title": 7, "message": "m", "type": "in-app", "userId": user_id, "createdAt": datetime.now(UTC)}
    bad = [row | {"_id": ObjectId()} for _ in range(size)]
    await rows.insert_many(bad, bypass_document_validation=True)
    async with watching(feed, user_id, include_counts=True) as watch:
        await create(feed, user_id)
        assert pair(await watch.content()) == (1, 1) == await counted(feed, user_id)
        odd = {"_id": f"{user_id} {size}", "title": "t"}
        await rows.insert_one(row | odd, bypass_document_validation=True)
        await create(feed, user_id)
        assert pair(await watch.content()) == (2, 2) == await counted(feed, user_id)


async def _change(feed: Any, user_id: str, chance: random.Random, times: int) -> None:
    marks = [pb.NOTIFICATION_MARK_SEEN, pb.NOTIFICATION_MARK_READ, pb.NOTIFICATION_MARK_UNREAD]
    ids: list[str] = []
    for _ in range(times):
        if len(ids) < 3 or chance.random() < 0.3:
            ids.append((await create(feed, user_id)).id)
        elif chance.random() < 0.2:
            await feed.DeleteNotification(pb.DeleteNotificationRequest(id=ids.pop(chance.randrange(len(ids)))))
        else:
            await mark(feed, user_id, chance.choice(marks), chance.choice(ids))


def _states(events: list[pb.WatchNotificationsResponse]) -> list[Pair]:
    """Return the counts after each event, by what the events themselves tell."""
    known: dict[str, notification_pb2.Notification] = {}
    states = []
    for event in events:
        kind = str(event.WhichOneof("event"))
        if kind == "deleted":
            known.pop(event.deleted.id)
        else:
            item = getattr(event, kind)
            known[item.id] = item
        states.append((sum(not i.read for i in known.values()), sum(not i.seen for i in known.values())))
    return states


@pytest.mark.parametrize("seed", range(2))
async def test_counts_under_many_writers_are_of_moments_that_never_go_back(
    notifications: Notifications, user_id: str, seed: int
) -> None:
    """With each event, to those who watch and to one who resumes: of that event or a later one; the last is exact."""
    feed = notifications.feed
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watching(feed, user_id, include_counts=True)) for _ in range(5)]
        token = watches[0].token
        readers = [asyncio.create_task(watch.until("the end")) for watch in watches]
        await asyncio.gather(*(_change(feed, user_id, random.Random(seed * 10 + n), 25) for n in range(4)))
        await create(feed, user_id, "the end")
        told = await asyncio.gather(*readers)
    async with watching(feed, user_id, resume_token=token, include_counts=True) as again:
        told.append(await again.until("the end"))
    now = await counted(feed, user_id)
    states = _states(told[0])
    for events in told:
        moment = 0
        for number, event in enumerate(events):
            moment = max(moment, number)
            # The first moment that fits leaves the most room to those after it.
            moment += states[moment:].index(pair(event))
        assert pair(events[-1]) == now == states[-1]


@pytest.mark.long
async def test_a_burst_is_counted_for_all_watchers_together(mongodb_database: MongoDatabase) -> None:
    """A thousand changes at once, ten watchers: one count serves many events, and watchers share it."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncMongoClient[Any](mongodb_database.url))
        running = await stack.enter_async_context(running_notifications(mongodb_database))
        feed, database = running.feed, client.get_default_database()
        content = notification_pb2.NotificationContent(
            title="t", message="m", type=notification_pb2.NOTIFICATION_TYPE_IN_APP
        )
        items = [pb.BatchCreateNotificationsRequest.Item(user_id="u", content=content)] * 1_000
        batch = pb.BatchCreateNotificationsRequest(
            items=pb.BatchCreateNotificationsRequest.Items(items=items),
            response_view=notification_pb2.NOTIFICATION_VIEW_IDS,
        )
        watches = [await stack.enter_async_context(watching(feed, "u", include_counts=True)) for _ in range(10)]
        await database.command({"profile": 2, "slowms": 0})
        await feed.BatchCreateNotifications(batch)
        for events in await asyncio.gather(*(_read(watch, 1_000) for watch in watches)):
            # Those of one transaction have one moment.
            assert {pair(event) for event in events} == {(1_000, 1_000)}
        await database.command({"profile": 0})
        counts = {"command.aggregate": "notifications", "command.readConcern.level": "snapshot"}
        # Each watcher at most once, since one moment serves all.
        assert 1 <= await database["system.profile"].count_documents(counts) <= 10


async def _read(watch: Any, size: int) -> list[pb.WatchNotificationsResponse]:
    return [await watch.content() for _ in range(size)]
