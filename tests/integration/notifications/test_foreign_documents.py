"""Documents that this service did not write: those of the source's own system, and spoilt ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import grpc
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from google.protobuf.field_mask_pb2 import FieldMask
from structlog.testing import capture_logs
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications
from tests.harness.users import reason
from tests.integration.notifications.building import row

READ_AT = datetime(2026, 11, 1, 12, 30, 0, 123_000, tzinfo=UTC)

SPOILT: dict[str, dict[str, Any]] = {
    "no title": {"title": None},
    "a number for a message": {"message": 5},
    "an unknown type": {"type": "sms"},
    "a list for a type": {"type": ["email"]},
    "a word for a state": {"read": "yes"},
    "a text for a time": {"readAt": "yesterday", "read": True},
    "a year that is none": {"sentAt": DatetimeMS(2**60)},
    "a text for data": {"data": "{}"},
    "data beyond JSON": {"data": {"price": Decimal128("1.5"), "picture": Binary(b"x")}},
    "a delivery in an unknown state": {"delivery": {"state": "lost"}},
    "a text for a delivery": {"delivery": "sent"},
    "a text for an id": {"_id": ""},
}


async def test_a_row_of_the_source_reads_right(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Its own fields, with nulls and mongoose's version key, and none of ours."""
    document = row(user_id, type="in-app", read=True, readAt=READ_AT, sentAt=None)
    raw.notifications.insert_one(document)
    get = service.GetNotificationRequest(id=str(document["_id"]), user_id=user_id)
    found = (await notifications.feed.GetNotification(get)).notification
    assert (found.title, found.message, found.type) == ("Welcome", "Hello", pb.NOTIFICATION_TYPE_IN_APP)
    assert (found.seen, found.read, found.archived) == (True, True, False)
    assert found.read_at.ToDatetime(UTC) == READ_AT
    assert not any(found.HasField(name) for name in ("seen_at", "archived_at", "sent_at", "scheduled_at", "data"))
    assert found.delivery_state == pb.DELIVERY_STATE_UNSPECIFIED
    assert found.created_at.ToMilliseconds() == int(document["createdAt"].timestamp() * 1000)


async def test_a_row_of_the_source_is_changed_and_deleted_like_ours(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Its etag holds, though it has no revision, and moves when that system writes."""
    feed, document = notifications.feed, row(user_id)
    raw.notifications.insert_one(document)
    key = str(document["_id"])
    first = (await feed.GetNotification(service.GetNotificationRequest(id=key))).notification
    update = service.UpdateNotificationRequest(
        notification=pb.Notification(id=key, title="$set", etag=first.etag), update_mask=FieldMask(paths=["title"])
    )
    second = (await feed.UpdateNotification(update)).notification
    assert (second.title, second.message) == ("$set", "Hello")
    raw.notifications.update_one({"_id": document["_id"]}, {"$set": {"read": True, "updatedAt": READ_AT}})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.DeleteNotification(service.DeleteNotificationRequest(id=key, etag=second.etag))
    assert reason(caught.value) == "ETAG_MISMATCH"
    third = (await feed.GetNotification(service.GetNotificationRequest(id=key))).notification
    await feed.DeleteNotification(service.DeleteNotificationRequest(id=key, etag=third.etag))
    assert raw.notifications.count_documents({"userId": user_id}) == 0


# What `rev` and `updatedAt` may be in rows of other systems, past the validator.
REVISIONS = (None, 0, -1, 3, Int64(2**40), 3.0, 2.5, True, "3", [3], Decimal128("3"))
CHANGED_AT = (None, READ_AT, datetime(1969, 1, 1, tzinfo=UTC), "x", 5, [READ_AT], DatetimeMS(2**60))


@pytest.mark.long
async def test_every_etag_that_is_answered_holds(pymongo_notifications: Notifications, raw: Any, user_id: str) -> None:
    """Whatever other systems wrote beside it, a row changes under the etag that was read, and then has another one."""
    feed, only_etag = pymongo_notifications.feed, FieldMask(paths=["etag"])
    rows = [row(user_id, rev=rev, updatedAt=at) for rev in REVISIONS for at in CHANGED_AT]
    _insert(raw, rows)
    for document in rows:
        get = service.GetNotificationRequest(id=str(document["_id"]), read_mask=only_etag)
        etag = (await feed.GetNotification(get)).notification.etag
        update = service.UpdateNotificationRequest(
            notification=pb.Notification(id=get.id, title="New", etag=etag), update_mask=FieldMask(paths=["title"])
        )
        assert (await feed.UpdateNotification(update)).notification.etag != etag, document
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await feed.UpdateNotification(update)
        assert reason(caught.value) == "ETAG_MISMATCH", document


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_spoilt_row_hides_nothing_but_itself(
    notifications: Notifications, raw: Any, user_id: str, spoilt: str
) -> None:
    """It is left out of lists with a line in the log that names it, if it has an id; a get of it says DATA_LOSS."""
    bad, good = row(user_id) | SPOILT[spoilt], row(user_id)
    bad["_id"] = bad["_id"] or f"id of {user_id}"
    _insert(raw, [bad, good])
    with capture_logs() as lines:
        page = await notifications.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    assert [item.id for item in page.notifications] == [str(good["_id"])]
    named = [line["document"] for line in lines if line["event"] == "notification unreadable"]
    assert len(named) == isinstance(bad["_id"], ObjectId)
    assert all(str(bad["_id"]) in line for line in named)
    if isinstance(bad["_id"], ObjectId):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await notifications.feed.GetNotification(service.GetNotificationRequest(id=str(bad["_id"])))
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS
        assert reason(caught.value) == "NOTIFICATION_UNREADABLE"


async def test_a_spoilt_row_can_be_marked_over_and_deleted(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """It stops neither a mark of its neighbours, and is not counted among them, nor its own end."""
    bad = [row(user_id, rev="x"), row(user_id, title=7), row(user_id, createdAt="once", type="sms")]
    good = row(user_id)
    _insert(raw, [*bad, good])
    mark = service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_READ)
    assert (await notifications.feed.MarkAllNotifications(mark)).changed_count == 2
    assert raw.notifications.find_one({"_id": good["_id"]})["read"] is True
    for document in bad:
        await notifications.feed.DeleteNotification(service.DeleteNotificationRequest(id=str(document["_id"])))
    assert raw.notifications.count_documents({"userId": user_id}) == 1


async def test_pages_lead_past_spoilt_rows(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Wherever a page ends, on a spoilt row too, the next one goes on behind it."""
    at = datetime.now(UTC).replace(microsecond=0)
    good = [row(user_id, createdAt=at - timedelta(seconds=number)) for number in range(4)]
    bad = [
        row(user_id, createdAt=DatetimeMS(2**50)),
        row(user_id, createdAt=at, _id=f"a {user_id}"),
        row(user_id, createdAt=at, _id=f"b {user_id}"),
        row(user_id, createdAt=at - timedelta(seconds=2), title=None),
    ]
    _insert(raw, [*good, *bad])
    request = service.ListNotificationsRequest(user_id=user_id, page_size=1)
    found: list[str] = []
    while request.page_token or not found:
        page = await notifications.feed.ListNotifications(request)
        found += [item.id for item in page.notifications]
        request.page_token = page.next_page_token
    assert found == [str(item["_id"]) for item in good]


async def test_a_text_that_is_not_unicode_spoils_no_page(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Bytes that are no UTF-8 read as replacement characters, and the rows beside them read as ever."""
    good = row(user_id)
    broken = RawBSONDocument(bson.encode(row(user_id, title="#!#")).replace(b"#!#", b"\xff\xfe\xfd"))
    _insert(raw, [good, broken])
    page = await notifications.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    assert sorted(item.title for item in page.notifications) == ["Welcome", "\ufffd\ufffd\ufffd"]


def _insert(raw: Any, documents: list[Any]) -> None:
    answer = raw.command("insert", "notifications", documents=documents, bypassDocumentValidation=True)
    assert answer["n"] == len(documents)
