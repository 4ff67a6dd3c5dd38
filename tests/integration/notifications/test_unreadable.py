"""What cannot be read counts nowhere: every type of BSON in every field, too large, too deep, of nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import bson
import grpc
import pymongo
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.migrations.runner import Runner
from notifications_service.notification import schema, unreadable
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.users import reason
from tests.integration.notifications.building import row

FIELDS: Final = (
    *("_id", "userId", "title", "message", "type", "category", "data", "seen", "read", "archived", "rev", "unknown"),
    *("seenAt", "readAt", "archivedAt", "sentAt", "createdAt", "updatedAt", "expiresAt"),
    *("threadKey", "channels", "email", "push", "urgency", "critical", "collapseKey", "locale"),
    *("delivery", "delivery.state", "delivery.scheduledAt"),
)
# At least one value of each type of BSON: as Python's where the driver has a class for it, else as bytes.
VALUES: Final[tuple[Any, ...]] = (
    *(1.5, float("nan"), 0.0, "", "email", "sms", "pending", "lost", {}, {"a": 1}, [], ["email"], [True], b"", b"mail"),
    *(ObjectId(), True, False, None, Regex("a"), Code("email"), Code("x", {"a": 1}), 0, 1, Timestamp(1, 1), Int64(7)),
    *(datetime(2026, 1, 1), DatetimeMS(2**60), DatetimeMS(-(2**60)), [datetime.now(UTC)]),  # noqa: DTZ001
    *(Decimal128("1"), Decimal128("NaN"), MinKey(), MaxKey(), Binary(b"x", 5), DBRef("a", 1), {"$ref": "a", "$id": {}}),
)
UNDEFINED: Final = b"\x06", b""
SYMBOL: Final = b"\x0e", b"\x06\0\0\0email\0"
DB_POINTER: Final = b"\x0c", b"\x02\0\0\0x\0" + bytes(12)
NO_UTF8: Final = b"\x02", b"\x03\0\0\0\xff\xfe\0"
OLD_BINARY: Final = b"\x05", b"\x03\0\0\0\x02abc"
BYTES: Final = (UNDEFINED, SYMBOL, DB_POINTER, NO_UTF8, OLD_BINARY)
MISSING: Final = object()


def spoilt(user_id: str, field: str, value: Any) -> Any:
    """A row with a value in a field: by the driver, or as bytes of type and value."""
    document = row(user_id, delivery={"state": "sent"})
    whole, _, part = field.partition(".")
    target = document[whole] if part else document
    name = part or whole
    target.pop(name, None)
    if value is MISSING:
        return document
    if not isinstance(value, tuple):
        target[name] = value
        return document
    kind, content = value
    raw = bson.encode(target)[4:-1] + kind + name.encode() + b"\0" + content + b"\0"
    altered = RawBSONDocument((len(raw) + 4).to_bytes(4, "little") + raw)
    if not part:
        return altered
    document[whole] = altered
    return document


def insert(raw: Any, rows: list[Any]) -> int:
    """Write rows past the validator, each by itself; return how many the database took."""
    answer = raw.command("insert", "notifications", documents=rows, ordered=False, bypassDocumentValidation=True)
    return int(answer["n"])


async def numbers(running: Notifications, user_id: str) -> tuple[list[str], dict[str, int]]:
    """The ids that lists show, page by page, and how many there are by everything that counts, counted first."""
    feed = running.feed
    count = (await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id))).counts[0]
    stats = (await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id))).total.total
    request = service.ListNotificationsRequest(user_id=user_id, page_size=7, include_total=True)
    masked = service.ListNotificationsRequest(
        user_id=user_id, page_size=100, read_mask=FieldMask(paths=["id"]), include_total=True
    )
    shown, total = [], -1
    while total < 0 or request.page_token:
        page = await feed.ListNotifications(request)
        shown += [item.id for item in page.notifications]
        total, request.page_token = page.total_size, page.next_page_token
    briefly = await feed.ListNotifications(masked)
    by_mask = {item.id for item in briefly.notifications}
    while briefly.next_page_token:
        masked.page_token = briefly.next_page_token
        briefly = await feed.ListNotifications(masked)
        by_mask |= {item.id for item in briefly.notifications}
    assert by_mask == set(shown)
    mark = service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_ARCHIVED)
    archived = len(shown) and await _archived(feed, user_id)
    marked = archived + (await feed.MarkAllNotifications(mark)).changed_count
    return shown, {"count": count, "stats": stats, "total": total, "mark all": marked}


async def _archived(feed: Any, user_id: str) -> int:
    wanted = service.NotificationFilter(archived=True)
    answer = await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id, filters=[wanted]))
    return int(answer.counts[0])


@pytest.mark.sampled(8)
@pytest.mark.parametrize("field", FIELDS)
async def test_whatever_stands_in_a_field_lists_and_counts_agree(
    notifications: Notifications, raw: Any, user_id: str, field: str
) -> None:
    """Every value in every field, right after another writer wrote it; what the driver reads, the database knows."""
    values = [value for value in (*VALUES, *BYTES, MISSING) if not (field == "data" and _is_hidden(value))]
    if field == "_id":
        # No two alike for the whole collection, and none that is missing.
        values = [value for value in values if not isinstance(value, ObjectId) and value is not MISSING]
        raw.notifications.delete_many({"_id": {"$not": {"$type": "objectId"}}})
    rows = [spoilt(user_id, field, value) for value in values]
    taken = insert(raw, [*rows, row(user_id)])
    assert taken > 20
    shown, counted = await numbers(notifications, user_id)
    assert counted == dict.fromkeys(counted, len(shown)), field
    readable = raw.notifications.count_documents({"userId": user_id, **unreadable.PASSED_BY})
    if field not in {"userId", "createdAt", "expiresAt"}:
        assert len(shown) == readable


def _is_hidden(value: Any) -> bool:
    return bool(value == OLD_BINARY)


DEEP: Any = {}
for _ in range(32):
    DEEP = {"a": DEEP}
HIDDEN: Final[dict[str, Any]] = {
    "33 levels": DEEP,
    "33 levels of lists": {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
    "no number": {"a": [float("nan")]},
    "infinity": {"a": float("-inf")},
    "a decimal": {"a": Decimal128("1")},
    "an id": {"a": ObjectId()},
    "bytes": {"a": b"x"},
    "a date": {"a": datetime(2026, 1, 1)},  # noqa: DTZ001
    "what the driver refuses": RawBSONDocument(b"\x10\0\0\0\x05a\0\x03\0\0\0\x02abc\0"),
}


@pytest.mark.parametrize("kind", HIDDEN)
async def test_what_only_a_look_tells_is_noted_when_it_is_first_met(
    notifications: Notifications, raw: Any, user_id: str, kind: str
) -> None:
    """From the first list on counts leave it out, also in that list's own total; and count it once it is put right."""
    bad = row(user_id, data=HIDDEN[kind])
    insert(raw, [bad, row(user_id), row(user_id)])
    feed = notifications.feed
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, include_total=True))
    assert (len(page.notifications), page.total_size) == (2, 2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.GetNotification(service.GetNotificationRequest(id=str(bad["_id"])))
    assert reason(caught.value) == "NOTIFICATION_UNREADABLE"
    _, counted = await numbers(notifications, user_id)
    assert counted == dict.fromkeys(counted, 2)
    stored = raw.notifications.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    assert stored.find_one({"_id": bad["_id"]}, {unreadable.FLAG: 1, "updatedAt": 1})[unreadable.FLAG] is True
    raw.notifications.update_one({"_id": bad["_id"]}, {"$set": {"data": {"a": 1}}})
    page = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, include_total=True))
    assert (len(page.notifications), page.total_size) == (3, 3)
    assert unreadable.FLAG not in raw.notifications.find_one({"_id": bad["_id"]})


async def test_a_row_of_several_users_is_nobodys(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Alone and beside others' calls, which share commands: nobody sees, counts, marks or deletes it."""
    users = [f"{user_id}_{number}" for number in range(12)]
    shared = row(user_id, userId=users)
    insert(raw, [shared, *(row(user) for user in users for _ in range(3))])
    for answers in (
        [await numbers(notifications, users[0])],
        await asyncio.gather(*(numbers(notifications, user) for user in users)),
    ):
        assert all(len(shown) == 3 and set(counted.values()) == {3} for shown, counted in answers)
    delete = service.DeleteUserNotificationsRequest(user_id=users[0])
    assert (await notifications.feed.DeleteUserNotifications(delete)).deleted_count == 3
    assert raw.notifications.find_one({"_id": shared["_id"]})["read"] is False


@pytest.fixture
def insensitive(mongodb_empty_database: MongoDatabase) -> Iterator[Any]:
    """A database whose collection another system made with a collation that knows no case."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_empty_database.url) as client:
        database = client.get_default_database()
        database.create_collection("notifications", collation={"locale": "en", "strength": 2})
        yield database


async def test_ids_are_compared_byte_for_byte_whatever_the_collation(
    insensitive: Any, mongodb_empty_database: MongoDatabase
) -> None:
    """`User` is not `user`, alone and in shared commands; and the feed's indexes serve the queries all the same."""
    await _migrated(mongodb_empty_database)
    found = insensitive.notifications.index_information()
    assert "collation" not in found[schema.FEED_INDEX]
    assert "collation" not in found[schema.UNREADABLE_INDEX]
    users = ["user", "User", "USER", "usér", "user "]
    insert(insensitive, [row(user) for number, user in enumerate(users) for _ in range(number + 1)])
    insert(insensitive, [row(user, title=5) for user in users])
    async with running_notifications(mongodb_empty_database) as running:
        answers = await asyncio.gather(*(numbers(running, user) for user in users))
        for number, (shown, counted) in enumerate(answers):
            assert len(shown) == number + 1
            assert set(counted.values()) == {number + 1}
        delete = service.DeleteUserNotificationsRequest(user_id="user")
        assert (await running.feed.DeleteUserNotifications(delete)).deleted_count == 1
        assert insensitive.notifications.count_documents({}) == 2 + 3 + 4 + 5 + 4


async def _migrated(database: MongoDatabase) -> None:
    async with pymongo.AsyncMongoClient[dict[str, Any]](database.url) as client:
        await Runner(client.get_default_database(), lambda _: None, stored_now).up(30)


def test_the_index_has_the_conditions_that_the_code_relies_on(raw: Any) -> None:
    """What the database keeps the list by is what `unreadable` says, word by word."""
    found = raw.notifications.index_information()[schema.UNREADABLE_INDEX]
    assert found["partialFilterExpression"] == unreadable.FILTER
