"""No answer is larger than a message, and none takes what MongoDB cut off for everything."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import bson
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub

from notifications_service.notification import answers
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.users import reason
from tests.integration.notifications.building import content, create, items, row

MESSAGE = 4 * 1024 * 1024
# 16 KiB as JSON, 90 KB as a Struct: no `data` takes more for its JSON.
ZEROS = Struct(fields={"a": Value(list_value=ListValue(values=[Value(number_value=0)] * 8_180))})


def insert(raw: Any, rows: list[dict[str, Any]]) -> None:
    """Write rows past the validator, and in several commands if they are large."""
    for document in rows:
        raw.command("insert", "notifications", documents=[document], bypassDocumentValidation=True)


async def listed(running: Notifications, user_id: str, size: int) -> tuple[list[str], list[int]]:
    """List everything page by page; return the ids, and how many there were on each page."""
    request = service.ListNotificationsRequest(user_id=user_id, page_size=size)
    ids: list[str] = []
    sizes: list[int] = []
    while not sizes or request.page_token:
        page = await running.feed.ListNotifications(request)
        assert page.ByteSize() <= MESSAGE
        ids += [item.id for item in page.notifications]
        sizes.append(len(page.notifications))
        request.page_token = page.next_page_token
    return ids, sizes


@pytest.mark.long
async def test_the_largest_that_may_be_created_is_listed_in_pages_that_fit(
    notifications: Notifications, user_id: str
) -> None:
    """100 asked for at once: fewer to a page, each once; and nothing that is created exceeds what is foreseen."""
    batch = items(*[(user_id, content(data=ZEROS, message="\U0001f389" * 4_096))] * 25)
    created = [
        item for _ in range(2) for item in (await notifications.feed.BatchCreateNotifications(batch)).notifications
    ]
    assert max(item.ByteSize() for item in created) < answers.LARGEST
    ids, sizes = await listed(notifications, user_id, 100)
    assert sorted(ids) == sorted(item.id for item in created)
    assert sizes[0] == (MESSAGE - answers.ENVELOPE_BYTES) // (created[0].ByteSize() + 4)


@pytest.mark.long
async def test_the_largest_contents_fit_into_answers(notifications: Notifications, user_id: str) -> None:
    """Alone in a creation, a get and an update; a list shows them where they are asked for, as many as fit."""
    mail = pb.EmailContent(subject="\U0001f389" * 255, text="t" * 32_768, html="h" * 102_400)
    push = pb.PushContent(title="\U0001f389" * 255, body="\U0001f389" * 4_096, url="/" * 1_024, icon="/" * 1_024)
    largest = create(
        user_id,
        type=pb.NOTIFICATION_TYPE_EMAIL,
        channels=[pb.NOTIFICATION_TYPE_PUSH],
        title="\U0001f389" * 255,
        message="\U0001f389" * 4_096,
        data=ZEROS,
        email=pb.EmailChannel(content=mail),
        push=pb.PushChannel(content=push),
    )
    made = [(await notifications.feed.CreateNotification(largest)).notification for _ in range(20)]
    assert max(each.ByteSize() for each in made) < answers.LARGEST
    one = await notifications.feed.GetNotification(service.GetNotificationRequest(id=made[0].id))
    assert (one.notification.email.content, one.notification.push.content) == (mail, push)
    ids, sizes = await listed(notifications, user_id, 20)
    assert (sorted(ids), sizes) == (sorted(each.id for each in made), [20])
    request = service.ListNotificationsRequest(
        user_id=user_id, page_size=20, read_mask=FieldMask(paths=["id", "email", "data"])
    )
    shown: list[str] = []
    while not shown or request.page_token:
        page = await notifications.feed.ListNotifications(request)
        assert page.ByteSize() <= MESSAGE
        shown += [each.id for each in page.notifications if each.email.content == mail]
        request.page_token = page.next_page_token
    assert shown == ids
    assert len(page.notifications) < 20


async def test_a_row_larger_than_a_message_is_passed_by(notifications: Notifications, raw: Any, user_id: str) -> None:
    """It blocks no page, counts nowhere once it was met, and says DATA_LOSS; beside it, rows in the same command."""
    good = [row(user_id) for _ in range(3)]
    large = row(user_id, message="x" * MESSAGE)
    insert(raw, [good[0], large, *good[1:]])
    ids, _ = await listed(notifications, user_id, 2)
    assert ids == [str(document["_id"]) for document in reversed(good)]
    count = await notifications.feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id))
    assert list(count.counts) == [3]
    asked = [service.GetNotificationRequest(id=str(document["_id"])) for document in [*good, large]]
    found: list[Any] = await asyncio.gather(*map(notifications.feed.GetNotification, asked), return_exceptions=True)
    assert [item.notification.id for item in found[:3]] == [item.id for item in asked[:3]]
    assert reason(found[3]) == "NOTIFICATION_UNREADABLE"


@pytest.mark.parametrize("crowd", [1, 6])
async def test_what_mongodb_cuts_off_is_asked_for(
    notifications: Notifications, raw: Any, user_id: str, crowd: int
) -> None:
    """Rows of 7 MB in a field of another writer's: two fill an answer of MongoDB; lists and gets miss none."""
    users = [f"{user_id}_{number}" for number in range(crowd)]
    rows = {user: [row(user, blob=bson.Binary(bytes(7_000_000))) for _ in range(5)] for user in users[:2]}
    insert(raw, [document for own in rows.values() for document in own])
    found = await asyncio.gather(*(listed(notifications, user, 20) for user in users))
    for user, (ids, _) in zip(users, found, strict=True):
        assert ids == [str(document["_id"]) for document in reversed(rows.get(user, []))]
    asked = [service.GetNotificationRequest(id=str(document["_id"])) for own in rows.values() for document in own]
    got = await asyncio.gather(*map(notifications.feed.GetNotification, asked))
    assert [item.notification.id for item in got] == [item.id for item in asked]
    snapshot = service.WatchNotificationsRequest(
        user_id=users[0], snapshot=service.WatchNotificationsRequest.Snapshot()
    )
    seen = []
    async for event in notifications.feed.WatchNotifications(snapshot):
        if event.WhichOneof("event") == "snapshot_end":
            break
        if event.HasField("snapshot"):
            seen.append(event.snapshot.id)
    assert seen == [str(document["_id"]) for document in rows[users[0]]]


async def test_what_could_not_be_read_back_is_not_created(mongodb_module_database: MongoDatabase, user_id: str) -> None:
    """Where messages are small, also a single create, with a request id and without, and a batch by a few bytes."""
    async with running_notifications(mongodb_module_database, grpc_max_message_bytes=20_000) as running:
        refused: list[Any] = []
        large = create(
            user_id, message="\U0001f389" * 4_096, data=Struct(fields={"a": Value(string_value="x" * 3_100)})
        )
        for request_id in ("", "9b2f3c1e-5f0a-4c1d-8e7b-000000000001"):
            large.request_id = request_id
            refused.append(running.feed.CreateNotification(large))
        fan_out = service.BatchCreateNotificationsRequest.FanOut(
            user_ids=["\U0001f389" * 250 + f"{number:05d}" for number in range(18)], content=content()
        )
        refused.append(running.feed.BatchCreateNotifications(service.BatchCreateNotificationsRequest(fan_out=fan_out)))
        for call in refused:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert reason(caught.value) == "INVALID_FIELDS"


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "fits", "too_many"),
    [
        # Large as they are in an answer, which ends below the limit of messages.
        (Value(string_value="x" * 16_000), 740, 820),
        # Three times as large where they are stored, as one document, under the request id.
        (Value(list_value=ListValue(values=[Value(string_value="")] * 5_400)), 250, 320),
    ],
)
async def test_the_largest_batches_are_kept_for_repeats_or_refused(
    mongodb_module_database: MongoDatabase, user_id: str, value: Value, fits: int, too_many: int
) -> None:
    """With messages of 16 MiB, beyond what MongoDB keeps in a document: whatever is stored can be answered again."""
    batch = service.BatchCreateNotificationsRequest(request_id=str(uuid.uuid4()))
    batch.fan_out.content.CopyFrom(content(data=Struct(fields={"a": value})))
    limits: dict[str, Any] = {"grpc_max_message_bytes": 16 * 1024 * 1024, "mongodb_query_timeout_ms": 60_000}
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with (
        running_notifications(mongodb_module_database, **limits) as running,
        grpc.aio.insecure_channel(running.server.address, options=options) as channel,
    ):
        feed: Any = NotificationServiceStub(channel)
        batch.fan_out.user_ids.extend(f"{user_id}_{number}" for number in range(too_many))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await feed.BatchCreateNotifications(batch)
        assert reason(caught.value) == "INVALID_FIELDS"
        del batch.fan_out.user_ids[fits:]
        answer = await stored(feed, batch)
        assert len(answer.notifications) == fits
        assert await feed.BatchCreateNotifications(batch) == answer


async def stored(feed: Any, batch: service.BatchCreateNotificationsRequest) -> service.BatchCreateNotificationsResponse:
    """Make a call again for as long as it is told to: a MongoDB short of cache gives up the largest transactions."""
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        while True:
            try:
                answer: service.BatchCreateNotificationsResponse = await feed.BatchCreateNotifications(batch)
            except grpc.aio.AioRpcError as error:
                if reason(error) != "REQUEST_IN_FLIGHT":
                    raise
            else:
                return answer


def deep(levels: int, *, lists: bool) -> bytes:
    """The bytes of a Struct of so many levels, of objects or of lists: no library makes them."""
    kind, inner = (6 if lists else 5), b""
    for _ in range(levels - 2):
        value = _field(kind, inner)
        inner = _field(1, value) if lists else _entry(value)
    return _entry(_field(kind, inner))


def _entry(value: bytes) -> bytes:
    return _field(1, _field(1, b"a") + _field(2, value))


def _field(number: int, content_of_it: bytes) -> bytes:
    length, prefix = len(content_of_it), b""
    while length >= 0x80:
        prefix += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + prefix + bytes([length]) + content_of_it


FEED = "/vibework.notifications.v1.NotificationService/"


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("levels", [33, 34, 40, 100, 500])
async def test_json_of_more_than_32_levels_is_refused_by_name(
    pymongo_notifications: Notifications, user_id: str, levels: int, lists: bool
) -> None:
    """By every way in, also where no parser would get to the end of it."""
    data, user = deep(levels, lists=lists), user_id.encode()
    short = pb.NotificationContent(title="t", message="m", type=pb.NOTIFICATION_TYPE_EMAIL).SerializeToString()
    ways = {
        "content.data": ("CreateNotification", _field(1, user) + _field(2, short + _field(5, data))),
        "items.items[0].content.data": (
            "BatchCreateNotifications",
            _field(1, _field(1, _field(1, user) + _field(2, short + _field(5, data)))),
        ),
        "fan_out.content.data": (
            "BatchCreateNotifications",
            _field(2, _field(1, user) + _field(2, short + _field(5, data))),
        ),
    }
    for field, (method, request) in ways.items():
        call: Any = pymongo_notifications.channel.unary_unary(FEED + method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request)
        assert reason(caught.value) == "INVALID_FIELDS"
        assert field in str(caught.value.trailing_metadata()), field
        assert "at most 32 levels" in str(caught.value.trailing_metadata())


@pytest.mark.parametrize("lists", [False, True])
async def test_json_of_32_levels_comes_back_by_every_way_out(
    notifications: Notifications, user_id: str, lists: bool
) -> None:
    """What is accepted is read whole: by get, list and a snapshot of a watch, which nest it deeper."""
    data = Struct.FromString(deep(32, lists=lists))
    batch = await notifications.feed.BatchCreateNotifications(items((user_id, content(data=data))))
    [created] = batch.notifications
    assert created.data == data
    page = await notifications.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    assert page.notifications[0].data == data
    one = await notifications.feed.GetNotification(service.GetNotificationRequest(id=created.id))
    assert one.notification.data == data
