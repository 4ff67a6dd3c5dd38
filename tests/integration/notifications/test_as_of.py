"""`as_of`: MarkAllNotifications marks what the answer had seen, and nothing that became visible after it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from bson import Timestamp
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.keyring import Keyring
from notifications_service.notification import documents
from notifications_service.notification.as_of import STAMP, UNSTAMPED, AsOfTokens
from notifications_service.notification.documents import Draft, Type
from tests.harness.clocks import stored_now
from tests.harness.notifications import SECRET_KEYS, Notifications
from tests.harness.users import reason
from tests.harness.watching import watching
from tests.integration.notifications.building import content, create, items, row

UNREAD = service.NotificationFilter(read=False)
WRITERS, READS = 8, 12


async def of_list(notifications: Notifications, user_id: str) -> str:
    """Return the `as_of` of a list's first page."""
    return (await notifications.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))).as_of


async def of_projected_list(notifications: Notifications, user_id: str) -> str:
    """Return the `as_of` of a list of some fields, which has a command of its own."""
    request = service.ListNotificationsRequest(user_id=user_id, read_mask=FieldMask(paths=["title"]), filter=UNREAD)
    return (await notifications.feed.ListNotifications(request)).as_of


async def of_count(notifications: Notifications, user_id: str) -> str:
    """Return the `as_of` of a count."""
    request = service.CountNotificationsRequest(user_id=user_id, filters=[UNREAD])
    return (await notifications.feed.CountNotifications(request)).as_of


async def of_snapshot(notifications: Notifications, user_id: str) -> str:
    """Return the `as_of` of a watch's snapshot."""
    async with watching(notifications.feed, user_id, snapshot={}) as watch:
        while not (event := await watch.content()).HasField("snapshot_end"):
            pass
        return event.snapshot_end.as_of


Read = Callable[[Notifications, str], Awaitable[str]]
READ = pytest.mark.parametrize("read", [of_list, of_projected_list, of_count, of_snapshot])


async def mark_all(notifications: Notifications, user_id: str, as_of: str) -> int:
    """Mark all that was seen as read; return how many changed."""
    request = service.MarkAllNotificationsRequest(
        user_id=user_id, mark=service.NOTIFICATION_MARK_READ, filter=UNREAD, as_of=as_of
    )
    return (await notifications.feed.MarkAllNotifications(request)).changed_count


def seen_at(user_id: str, as_of: str) -> Timestamp:
    """Return the cluster time in an `as_of`."""
    return AsOfTokens(Keyring.parse(SECRET_KEYS)).read(user_id, as_of).at


def new(user_id: str) -> dict[str, Any]:
    """Make a row as this service inserts it."""
    return documents.new(Draft(user_id, "title", "message", Type.IN_APP), stored_now())


def unread(raw: Any, user_id: str) -> set[Any]:
    """Return the ids of the user's unread rows."""
    return {found["_id"] for found in raw.notifications.find({"userId": user_id, "read": False})}


@READ
async def test_all_that_was_there_is_marked_and_nothing_later(
    notifications: Notifications, raw: Any, user_id: str, read: Read
) -> None:
    """Also what is on no page yet, and what is seconds old; what is created after the answer stays unread."""
    await asyncio.gather(*(notifications.feed.CreateNotification(create(user_id)) for _ in range(30)))
    as_of = await read(notifications, user_id)
    later = await asyncio.gather(*(notifications.feed.CreateNotification(create(user_id)) for _ in range(5)))
    assert await mark_all(notifications, user_id, as_of) == 30
    assert {str(key) for key in unread(raw, user_id)} == {answer.notification.id for answer in later}
    assert await mark_all(notifications, user_id, as_of) == 0


@READ
async def test_what_a_transaction_commits_after_the_answer_stays(
    notifications: Notifications, raw: Any, user_id: str, read: Read
) -> None:
    """Though the database inserted it, and others after it, before the answer."""
    with raw.client.start_session() as session:
        session.start_transaction()
        late = new(user_id)
        raw.notifications.insert_one(late, session=session)
        await notifications.feed.CreateNotification(create(user_id))
        as_of = await read(notifications, user_id)
        session.commit_transaction()
    [found] = raw.notifications.find({"_id": late["_id"]})
    assert found[STAMP] < seen_at(user_id, as_of)
    assert await mark_all(notifications, user_id, as_of) == 1
    assert unread(raw, user_id) == {late["_id"]}


@asynccontextmanager
async def busy(notifications: Notifications, user_id: str) -> AsyncIterator[None]:
    """Create notifications of the user all the time, singly and several in a transaction."""
    over = False

    async def write(number: int) -> None:
        while not over:
            if number % 2:
                await notifications.feed.CreateNotification(create(user_id))
            else:
                pair = items((user_id, content()), (user_id, content()))
                await notifications.feed.BatchCreateNotifications(pair)

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    try:
        yield
    finally:
        over = True
        await asyncio.gather(*writers)


async def test_counts_are_marked_to_the_row_while_others_write(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """However many are created meanwhile, a mark changes exactly as many as the count with its `as_of` counted."""
    async with busy(notifications, user_id):
        for _ in range(READS):
            request = service.CountNotificationsRequest(user_id=user_id, filters=[UNREAD])
            answer = await notifications.feed.CountNotifications(request)
            assert await mark_all(notifications, user_id, answer.as_of) == answer.counts[0]
    assert await mark_all(notifications, user_id, await of_count(notifications, user_id)) >= 0
    assert not unread(raw, user_id)


async def test_pages_are_marked_to_the_row_while_others_write(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Of a list that fits on its page, exactly what it shows."""
    fitting = 0
    async with busy(notifications, user_id):
        while fitting < READS:
            request = service.ListNotificationsRequest(user_id=user_id, filter=UNREAD, page_size=100)
            page = await notifications.feed.ListNotifications(request)
            shown, before = {item.id for item in page.notifications}, unread(raw, user_id)
            await mark_all(notifications, user_id, page.as_of)
            left = unread(raw, user_id)
            assert not {str(key) for key in left} & shown
            if not page.next_page_token:
                fitting += 1
                assert {str(key) for key in before - left} <= shown


async def test_rows_of_other_writers_are_marked_as_well(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Without a stamp, with an empty one, or with something else in its place: what was there is marked."""
    at = datetime.now(UTC) - timedelta(days=1)
    odd: list[dict[str, Any]] = [{}, {STAMP: 5}, {STAMP: "yesterday"}, {STAMP: None}, {STAMP: Timestamp(1, 1)}]
    raw.notifications.insert_many([row(user_id, createdAt=at, **fields) for fields in odd])
    empty = row(user_id, createdAt=at)
    raw.notifications.update_one({"_id": empty["_id"]}, {"$set": {**empty, STAMP: UNSTAMPED}}, upsert=True)
    assert await mark_all(notifications, user_id, await of_list(notifications, user_id)) == 6


async def test_a_user_with_nothing_has_an_as_of(notifications: Notifications, user_id: str) -> None:
    """Nothing was seen, so nothing is marked."""
    as_of = await of_count(notifications, user_id)
    await notifications.feed.CreateNotification(create(user_id))
    assert await mark_all(notifications, user_id, as_of) == 0


async def test_an_as_of_is_good_for_its_user_alone(notifications: Notifications, user_id: str) -> None:
    """That of another user, one that was altered, and whatever else a caller has are refused."""
    as_of = await of_list(notifications, user_id)
    altered = as_of[:-1] + ("A" if as_of[-1] != "A" else "B")
    for bad, of in ((as_of, f"{user_id}x"), (altered, user_id), ("AAAA", user_id), ("no token", user_id)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mark_all(notifications, of, bad)
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "AS_OF_INVALID")


async def test_the_database_stamps_whatever_this_service_inserts(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """One alone, several that share a command, batches, fan-outs, with and without a `request_id`."""
    await notifications.feed.CreateNotification(create(user_id))
    await notifications.feed.CreateNotification(create(user_id, request_id=str(uuid.uuid4())))
    await asyncio.gather(*(notifications.feed.CreateNotification(create(user_id)) for _ in range(20)))
    await notifications.feed.BatchCreateNotifications(items((user_id, content()), (user_id, content())))
    fan_out = service.BatchCreateNotificationsRequest.FanOut(user_ids=[user_id], content=content())
    await notifications.feed.BatchCreateNotifications(service.BatchCreateNotificationsRequest(fan_out=fan_out))
    stamps = [found[STAMP] for found in raw.notifications.find({"userId": user_id})]
    assert len(set(stamps)) == 25
    assert min(stamps) > UNSTAMPED
