"""Updating and deleting: masks, etags, other users' rows, and everything of a user at once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from notifications_service.feed import repository
from tests.harness.notifications import Notifications
from tests.harness.users import metadata, reason, violations
from tests.integration.notifications.building import create, row, struct


def update(key: str, *paths: str, **fields: Any) -> service.UpdateNotificationRequest:
    """Make a request that changes what the paths name."""
    return service.UpdateNotificationRequest(
        notification=pb.Notification(id=key, **fields), update_mask=FieldMask(paths=paths)
    )


async def created(notifications: Notifications, user_id: str) -> pb.Notification:
    """Create a notification."""
    return (await notifications.feed.CreateNotification(create(user_id))).notification


async def test_an_update_changes_what_the_mask_names(notifications: Notifications, user_id: str) -> None:
    """The rest stays, the etag moves, and what is answered is what is stored."""
    before = await created(notifications, user_id)
    request = update(before.id, "title", title="New", message="ignored", user_id=user_id, etag=before.etag)
    after = (await notifications.feed.UpdateNotification(request)).notification
    assert (after.title, after.message) == ("New", before.message)
    assert after.etag != before.etag
    assert after.updated_at.ToNanoseconds() >= before.updated_at.ToNanoseconds()
    found = await notifications.feed.GetNotification(service.GetNotificationRequest(id=before.id))
    assert found.notification == after
    request = update(before.id, "*", title="Both", message="changed")
    both = (await notifications.feed.UpdateNotification(request)).notification
    assert (both.title, both.message) == ("Both", "changed")


@pytest.mark.parametrize(
    ("request_", "expected", "field"),
    [
        (update("0" * 24, "user_id", user_id="x"), "FIELD_MASK_INVALID", "update_mask"),
        (update("0" * 24), "INVALID_FIELDS", "update_mask"),
        (update("0" * 24, "title", message="x"), "INVALID_FIELDS", "notification.title"),
        (update("0" * 24, "*", title="x"), "INVALID_FIELDS", "notification.message"),
        (update("0" * 24, "category", category="x" * 65), "INVALID_FIELDS", "notification.category"),
        (update("0" * 24, "data", data=struct(text="x" * 17_000)), "INVALID_FIELDS", "notification.data"),
        (update("nonsense", "title", title="x"), "INVALID_FIELDS", "notification.id"),
    ],
)
async def test_a_wrong_update_names_its_field(
    pymongo_notifications: Notifications,
    request_: service.UpdateNotificationRequest,
    expected: str,
    field: str,
) -> None:
    """A mask that is empty, or names what cannot change or become empty, is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.feed.UpdateNotification(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (reason(caught.value), violations(caught.value)) == (expected, [field])


@pytest.mark.parametrize("etag", ["", "outdated", "1-zz", "-", "0-", "999999999999-fffffffffffffffff"])
async def test_an_etag_guards_update_and_delete(notifications: Notifications, user_id: str, etag: str) -> None:
    """AIP-154: after another change, and with one that was never issued, nothing happens."""
    feed, first = notifications.feed, await created(notifications, user_id)
    await feed.UpdateNotification(update(first.id, "title", title="Meanwhile"))
    current = (await feed.GetNotification(service.GetNotificationRequest(id=first.id))).notification
    for call in (
        feed.UpdateNotification(update(first.id, "title", title="New", etag=etag or first.etag)),
        feed.DeleteNotification(service.DeleteNotificationRequest(id=first.id, etag=etag or first.etag)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert (reason(caught.value), metadata(caught.value)) == ("ETAG_MISMATCH", {"current_etag": current.etag})
    found = await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    assert found.notification == current
    await feed.DeleteNotification(service.DeleteNotificationRequest(id=first.id, etag=current.etag))


async def test_of_two_updates_with_one_etag_one_wins(notifications: Notifications, user_id: str) -> None:
    """A race is decided by the database: exactly one of twenty succeeds."""
    feed, first = notifications.feed, await created(notifications, user_id)
    calls = [feed.UpdateNotification(update(first.id, "title", title=f"{n}", etag=first.etag)) for n in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, service.UpdateNotificationResponse)]
    assert len(won) == 1
    assert {reason(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)} == {"ETAG_MISMATCH"}


async def test_what_is_not_there_or_not_the_users_is_not_found(notifications: Notifications, user_id: str) -> None:
    """Get, update and delete tell nothing of another user's notification, with an etag or without."""
    feed, theirs = notifications.feed, await created(notifications, f"{user_id}_other")
    for key, etag in ((theirs.id, ""), (theirs.id, theirs.etag), (str(ObjectId()), ""), (str(ObjectId()), "1-1")):
        for call in (
            feed.GetNotification(service.GetNotificationRequest(id=key, user_id=user_id)),
            feed.UpdateNotification(update(key, "title", title="New", user_id=user_id, etag=etag)),
            feed.DeleteNotification(service.DeleteNotificationRequest(id=key, user_id=user_id, etag=etag)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"
    found = await feed.GetNotification(service.GetNotificationRequest(id=theirs.id))
    assert found.notification == theirs


async def test_a_second_delete_finds_nothing(notifications: Notifications, user_id: str) -> None:
    """A deleted notification is gone for every call."""
    feed, gone = notifications.feed, await created(notifications, user_id)
    request = service.DeleteNotificationRequest(id=gone.id, user_id=user_id)
    await feed.DeleteNotification(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.DeleteNotification(request)
    assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"


async def test_everything_of_a_user_goes_in_batches(
    notifications: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than one command deletes go all the same, another user's stay, and a repeat says 0."""
    monkeypatch.setattr(repository, "DELETE_BATCH", 10)
    raw.notifications.insert_many([row(user_id) for _ in range(35)] + [row(f"{user_id}_other")])
    request = service.DeleteUserNotificationsRequest(user_id=user_id)
    assert (await notifications.feed.DeleteUserNotifications(request)).deleted_count == 35
    assert (await notifications.feed.DeleteUserNotifications(request)).deleted_count == 0
    assert raw.notifications.count_documents({"userId": f"{user_id}_other"}) == 1


async def test_category_and_data_are_changed_and_removed(notifications: Notifications, user_id: str) -> None:
    """What the mask names takes the value given, and one that is not given removes it."""
    feed, first = notifications.feed, await created(notifications, user_id)
    data = struct(step=2, **{"$ref": "a key like any other"})
    changed = (
        await feed.UpdateNotification(update(first.id, "category", "data", category="$news", data=data))
    ).notification
    assert (changed.category, changed.data, changed.title) == ("$news", data, first.title)
    removed = (await feed.UpdateNotification(update(first.id, "category", "data"))).notification
    assert (removed.category, removed.HasField("data")) == ("", False)
    found = await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    assert found.notification == removed


async def test_what_was_read_can_be_changed_and_sent_back(notifications: Notifications, user_id: str) -> None:
    """AIP-134: the whole resource with its etag; what the mask does not name is not looked at."""
    feed, first = notifications.feed, await created(notifications, user_id)
    first.title = "Changed"
    request = service.UpdateNotificationRequest(notification=first, update_mask=FieldMask(paths=["title"]))
    assert (await feed.UpdateNotification(request)).notification.title == "Changed"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.UpdateNotification(request)
    assert reason(caught.value) == "ETAG_MISMATCH"


async def test_a_deletion_may_be_of_what_is_missing(notifications: Notifications, user_id: str) -> None:
    """`allow_missing` is for what is not there, or not the user's; it changes nothing about etags."""
    feed, first = notifications.feed, await created(notifications, user_id)
    delete = service.DeleteNotificationRequest(id=first.id, user_id=user_id, etag='"0-0"', allow_missing=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.DeleteNotification(delete)
    assert reason(caught.value) == "ETAG_MISMATCH"
    strange = service.DeleteNotificationRequest(id=first.id, user_id="another", allow_missing=True)
    await feed.DeleteNotification(strange)
    assert (await feed.GetNotification(service.GetNotificationRequest(id=first.id))).notification == first
    delete.etag = first.etag
    for _ in range(2):
        await feed.DeleteNotification(delete)
        delete.etag = ""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    assert reason(caught.value) == "NOTIFICATION_NOT_FOUND"
