"""Marks and deletions of more rows than one call has time for: exact numbers, and the next call goes on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.errors import DatabaseUnavailable
from notifications_service.feed import repository
from notifications_service.feed.repository import FeedRepository
from notifications_service.notification import documents
from tests.harness import early_batches
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import reason
from tests.integration.notifications.building import row

ROWS = 95
MANY = 200_000
# The deadline of a caller whose rows take longer.
CALL_SECONDS = 6


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches be small."""
    monkeypatch.setattr(repository, "MARK_BATCH", 10)
    monkeypatch.setattr(repository, "DELETE_BATCH", 10)


def mark_all(user_id: str, **fields: Any) -> service.MarkAllNotificationsRequest:
    """Return a request that marks all as read."""
    return service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_READ, **fields)


def delete_all(user_id: str) -> service.DeleteUserNotificationsRequest:
    """Return a request that deletes all."""
    return service.DeleteUserNotificationsRequest(user_id=user_id)


def fill(raw: Any, user_id: str, count: int) -> None:
    """Store unread rows of the user, several to a millisecond, and some of another one."""
    now = datetime.now(UTC)
    mine = [row(user_id, createdAt=now - timedelta(milliseconds=number // 7)) for number in range(count)]
    raw.notifications.insert_many([*mine, *(row(f"{user_id}_other") for _ in range(15))])


async def unread(notifications: Notifications, user_id: str) -> int:
    """Return how many are unread."""
    wanted = [service.NotificationFilter(read=False)]
    request = service.CountNotificationsRequest(user_id=user_id, filters=wanted)
    return (await notifications.feed.CountNotifications(request)).counts[0]


async def test_a_mark_of_many_is_exact_and_complete(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Each row is marked once, whatever the batches; what matches not, and others' rows, stay."""
    fill(raw, user_id, ROWS)
    raw.notifications.insert_many([row(user_id, type="push") for _ in range(5)])
    wanted = service.NotificationFilter(types=[pb.NOTIFICATION_TYPE_EMAIL])
    done = await notifications.feed.MarkAllNotifications(mark_all(user_id, filter=wanted))
    assert (done.changed_count, done.incomplete) == (ROWS, False)
    assert await unread(notifications, user_id) == 5
    assert await unread(notifications, f"{user_id}_other") == 15
    done = await notifications.feed.MarkAllNotifications(mark_all(user_id))
    assert (done.changed_count, done.incomplete) == (5, False)
    assert {found["rev"] for found in raw.notifications.find({"userId": user_id})} == {1}


async def test_marks_of_all_that_race_add_up(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Of sixteen at once each row is counted by one."""
    fill(raw, user_id, ROWS)
    calls = [notifications.feed.MarkAllNotifications(mark_all(user_id)) for _ in range(16)]
    done = await asyncio.gather(*calls)
    assert sum(answer.changed_count for answer in done) == ROWS
    assert not any(answer.incomplete for answer in done)
    assert await unread(notifications, user_id) == 0


@pytest.mark.sampled(1, each="ends")
@pytest.mark.parametrize("ends", [pytest.param("time", marks=pytest.mark.long), "database", "process"])
@pytest.mark.parametrize("what", ["mark_all", "delete_of_user"])
async def test_whatever_ends_a_call_early_it_says_what_was_done(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: pytest.MonkeyPatch, what: str, ends: str
) -> None:
    """Time that runs out, a database that goes, a process that ends: an exact number, and the next call goes on."""
    async with running_notifications(mongodb_database) as running:
        fill(raw_of_own, "user", ROWS)
        batch, begun = getattr(FeedRepository, what), 0

        async def failing(self: FeedRepository, *arguments: Any, **options: Any) -> Any:
            nonlocal begun
            begun += 1
            if begun == 4 and ends == "database":
                raise DatabaseUnavailable
            if begun == 4 and ends == "time":
                # It takes longer than the call may: the caller is answered meanwhile.
                await self._database.run(lambda: asyncio.sleep(60))
            done = await batch(self, *arguments, **options)
            if begun == 3 and ends == "process":
                running.server.draining.set()
            return done

        monkeypatch.setattr(FeedRepository, what, failing)
        made: Any = running.feed.MarkAllNotifications if what == "mark_all" else running.feed.DeleteUserNotifications
        request: Any = mark_all("user") if what == "mark_all" else delete_all("user")
        done = await made(request, timeout=CALL_SECONDS if ends == "time" else PATIENCE_SECONDS)
        assert (_number(done), done.incomplete) == (30, True)
        assert raw_of_own.notifications.count_documents({"userId": "user", "read": False}) == ROWS - 30
        running.server.draining.clear()
        done = await made(request, timeout=PATIENCE_SECONDS)
        assert (_number(done), done.incomplete) == (ROWS - 30, False)
        assert raw_of_own.notifications.count_documents({"userId": "user", "read": False}) == 0


def _number(answer: Any) -> int:
    marked = isinstance(answer, service.MarkAllNotificationsResponse)
    return int(answer.changed_count if marked else answer.deleted_count)


async def test_a_database_that_is_away_is_told(
    notifications: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was done, the error is the answer."""

    async def away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable

    fill(raw, user_id, 5)
    monkeypatch.setattr(FeedRepository, "mark_all", away)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await notifications.feed.MarkAllNotifications(mark_all(user_id))
    assert reason(caught.value) == "DATABASE_UNAVAILABLE"


async def test_without_as_of_there_is_no_bound(notifications: Notifications, raw: Any, user_id: str) -> None:
    """What a writer with a clock that is ahead has created is marked like all that is there; with one it is not."""
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    raw.notifications.insert_many([row(user_id), row(user_id, createdAt=ahead)])
    as_of = Timestamp()
    as_of.FromDatetime(datetime.now(UTC))
    bounded = await notifications.feed.MarkAllNotifications(mark_all(user_id, as_of_time=as_of))
    assert bounded.changed_count == 1
    assert (await notifications.feed.MarkAllNotifications(mark_all(user_id))).changed_count == 1


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_200_000_are_marked_and_deleted_call_by_call(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one statement cannot mark within the query timeout: no call fails, and the numbers add up.

    Where a batch took longer than its call had, its rows are not counted (docs/decisions/0066).
    """
    monkeypatch.undo()
    early = early_batches.noted(monkeypatch)
    draft, at = documents.Draft("user", "title", "message", documents.Type.IN_APP), stored_now()
    for start in range(0, MANY, 10_000):
        made = [
            documents.new(draft, at - timedelta(milliseconds=number // 3)) for number in range(start, start + 10_000)
        ]
        raw_of_own.notifications.insert_many(made, ordered=False)
    as_of = Timestamp()
    as_of.FromDatetime(at.replace(tzinfo=UTC))
    async with running_notifications(mongodb_database) as running:
        calls: list[tuple[Any, Any]] = [
            (running.feed.MarkAllNotifications, mark_all("user", as_of_time=as_of)),
            (running.feed.DeleteUserNotifications, delete_all("user")),
        ]
        for (call, request), batch in zip(calls, (repository.MARK_BATCH, repository.DELETE_BATCH), strict=True):
            early.clear()
            total, incomplete = 0, True
            while incomplete:
                answer = await early_batches.answer_of(call, request, CALL_SECONDS, early)
                total, incomplete = total + _number(answer), answer.incomplete
            assert MANY - len(early) * batch <= total <= MANY
            assert raw_of_own.notifications.count_documents({"read": False}) == 0
    assert raw_of_own.notifications.count_documents({}) == 0
