"""Resuming a watch: what follows the token, all of it, once."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import grpc
import pytest
from bson import Timestamp
from google.protobuf.field_mask_pb2 import FieldMask
from pymongo import AsyncMongoClient
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_pb2 import Notification

from chassis.keyring import Keyring
from notifications_service.mongodb import codec
from notifications_service.notification import documents
from notifications_service.watch import changes
from notifications_service.watch.changes import ResumePoint
from notifications_service.watch.tokens import ResumeTokens
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, Notifications, running_notifications
from tests.harness.watching import create, mark, revision, watching


def drafts(user_id: str, count: int) -> list[codec.Document]:
    """Return documents to insert past the service."""
    at = stored_now()
    return [
        documents.new(documents.Draft(user_id, f"number {number}", "m", documents.Type.IN_APP), at)
        for number in range(count)
    ]


async def test_each_token_resumes_right_after_its_event(notifications: Notifications, user_id: str) -> None:
    """From any token of a watch, exactly the events after it follow."""
    feed = notifications.feed
    async with watching(feed, user_id) as watch:
        tokens = [watch.token]
        for number in range(4):
            made = await create(feed, user_id, f"{number}")
            await mark(feed, user_id, pb.NOTIFICATION_MARK_READ, made.id)
            if number % 2:
                await feed.DeleteNotification(pb.DeleteNotificationRequest(id=made.id))
        told = []
        for _ in range(10):
            told.append(await watch.change())
            tokens.append(watch.token)
    for number, token in enumerate(tokens):
        async with watching(feed, user_id, resume_token=token) as watch:
            await create(feed, user_id, f"marker {number}")
            events = await watch.until(f"marker {number}")
        assert [kind for kind, _ in told[number:]] == [event.WhichOneof("event") for event in events[: 10 - number]]
        # What follows are the markers of the rounds before.
        assert len(events) == 10 - number + number + 1


async def test_a_resume_meets_writes_in_progress_without_gap_or_repeat(
    notifications: Notifications, user_id: str
) -> None:
    """While a notification changes all the time, its revisions arrive one by one across many reconnections."""
    feed = notifications.feed
    made = await create(feed, user_id)
    ended = asyncio.Event()

    async def change() -> int:
        changed = 0
        while not ended.is_set():
            for state in (pb.NOTIFICATION_MARK_READ, pb.NOTIFICATION_MARK_UNSEEN):
                changed += await mark(feed, user_id, state, made.id)
        await feed.UpdateNotification(
            pb.UpdateNotificationRequest(
                notification=Notification(id=made.id, title="last"), update_mask=FieldMask(paths=["title"])
            )
        )
        return changed + 1

    seen: list[int] = []
    async with watching(feed, user_id) as watch:
        token = watch.token
    changing = asyncio.create_task(change())
    for number in range(25):
        async with watching(feed, user_id, greeted=False, resume_token=token) as watch:
            seen += [revision((await watch.content()).updated) for _ in range(1 + number % 7)]
            token = watch.token
    ended.set()
    changed = await changing
    async with watching(feed, user_id, greeted=False, resume_token=token) as watch:
        while len(seen) < changed:
            seen.append(revision((await watch.content()).updated))
    assert seen == list(range(2, 2 + changed))


@pytest.mark.long
async def test_a_long_history_is_told_in_whole(notifications: Notifications, user_id: str, rows: Any) -> None:
    """A history of several parts arrives in order, among the events of others."""
    async with watching(notifications.feed, user_id) as watch:
        token = watch.token
    own, foreign = drafts(user_id, 1_000), drafts("someone else", 1_000)
    for start in range(0, 1_000, 100):
        await rows.insert_many(own[start : start + 100])
        await rows.insert_many(foreign[start : start + 100])
    async with watching(notifications.feed, user_id, resume_token=token) as watch:
        assert await watch.changes(1_000) == [("created", str(document["_id"])) for document in own]


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_watch_resumes_on_another_process(mongodb_database: MongoDatabase, driver: str) -> None:
    """A token is good after a restart of the service, and for what happened while none was running."""
    async with running_notifications(mongodb_database, mongodb_driver=driver) as first:
        async with watching(first.feed, "user") as watch:
            one = await create(first.feed, "user")
            assert await watch.change() == ("created", one.id)
            token = watch.token
        two = await create(first.feed, "user")
    async with running_notifications(mongodb_database, mongodb_driver=driver) as second:
        three = await create(second.feed, "user")
        async with watching(second.feed, "user", resume_token=token) as watch:
            assert await watch.changes(2) == [("created", two.id), ("created", three.id)]


async def test_an_idle_watch_gets_newer_tokens(notifications: Notifications, user_id: str) -> None:
    """Heartbeats carry tokens that move with the database, so that an idle watcher's does not grow too old."""
    feed = notifications.feed
    tokens = ResumeTokens(Keyring.parse(SECRET_KEYS))
    async with watching(feed, user_id, heartbeat_interval={"seconds": 1}) as watch:
        first = tokens.read(user_id, watch.token)
        await create(feed, "someone else")
        await watch.event()
        await watch.event()
        assert tokens.read(user_id, watch.token).position > first.position
        token = watch.token
    made = await create(feed, user_id)
    async with watching(feed, user_id, resume_token=token) as watch:
        assert await watch.change() == ("created", made.id)


async def test_foreign_and_altered_tokens_are_refused(pymongo_notifications: Notifications, user_id: str) -> None:
    """A token of another user, of another key, or with a changed character is INVALID_ARGUMENT."""
    feed = pymongo_notifications.feed
    async with watching(feed, user_id) as watch:
        token = watch.token
    other_keys = Keyring.parse("test:" + base64.b64encode(bytes(32)).decode())
    place = ResumeTokens(Keyring.parse(SECRET_KEYS)).read(user_id, token)
    altered = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
    cases = [
        ("another user", token),
        (user_id, altered),
        (user_id, token[:-1]),
        (user_id, "not a token"),
        (user_id, ResumeTokens(other_keys).issue(user_id, place)),
    ]
    for user, forged in cases:
        async with watching(feed, user, greeted=False, resume_token=forged) as watch:
            assert await watch.failure() == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_watches_end_when_the_collection_is_dropped(mongodb_database: MongoDatabase, driver: str) -> None:
    """Nothing can be resumed across a dropped collection; a new watch works."""
    async with (
        AsyncMongoClient[Any](mongodb_database.url) as client,
        running_notifications(mongodb_database, mongodb_driver=driver) as running,
        watching(running.feed, "user") as watch,
    ):
        collection = client.get_default_database().notifications
        options = await collection.options()
        await collection.drop()
        await client.get_default_database().create_collection("notifications", **options)
        assert await watch.failure() == (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED")
        async with watching(running.feed, "user") as anew:
            made = await create(running.feed, "user")
            assert await anew.change() == ("created", made.id)


@pytest.mark.long
async def test_many_resume_at_once_each_from_its_own_place(notifications: Notifications, rows: Any) -> None:
    """A crowd that reconnects together, some twice and from different places, each gets what it missed."""
    feed = notifications.feed
    users = [f"of the crowd {number}" for number in range(30)]
    tokens: dict[str, list[str]] = {user: [] for user in users}
    made: dict[str, list[str]] = {user: [] for user in users}
    for _ in range(3):
        for user in users:
            async with watching(feed, user) as watch:
                tokens[user].append(watch.token)
            document = drafts(user, 1)[0]
            await rows.insert_one(document)
            made[user].append(str(document["_id"]))

    async def missed(user: str, since: int) -> None:
        async with watching(feed, user, resume_token=tokens[user][since]) as watch:
            assert await watch.changes(3 - since) == [("created", identity) for identity in made[user][since:]]

    await asyncio.gather(*(missed(user, since) for user in users for since in range(3)))


async def test_a_token_of_another_database_is_expired(pymongo_notifications: Notifications, user_id: str) -> None:
    """A place that lies in this database's future, as after a restored backup, is not waited for in silence."""
    tokens = ResumeTokens(Keyring.parse(SECRET_KEYS))
    place = ResumePoint(changes.before(Timestamp(int(time.time()) + 3_600, 1)))
    token = tokens.issue(user_id, place)
    async with watching(pymongo_notifications.feed, user_id, greeted=False, resume_token=token) as watch:
        assert await watch.failure() == (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_EXPIRED")
