"""Lists and counts: filters, masks, totals and page tokens, against a plain model."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.users import reason, violations
from tests.integration.notifications.building import create, row

TYPES = {"email": pb.NOTIFICATION_TYPE_EMAIL, "push": pb.NOTIFICATION_TYPE_PUSH, "in-app": pb.NOTIFICATION_TYPE_IN_APP}

# Of all filters; prime to the number of values of each condition, so that every part has all of them.
PARTS = 7


def many(user_id: str, number: int) -> list[dict[str, Any]]:
    """Make rows of all kinds, several in each millisecond, as both systems write them."""
    chance = random.Random(number)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    rows = []
    for _ in range(number):
        level = chance.randrange(4)
        flags = {"seen": level > 0, "read": level > 1, "archived": level > 2}
        rows.append(
            row(
                user_id,
                type=chance.choice(sorted(TYPES)),
                category=chance.choice(["billing", "social", "$type"]),
                createdAt=start + timedelta(milliseconds=chance.randrange(40)),
                **chance.choice([{}, {"threadKey": "order:1"}, {"threadKey": "$type"}]),
                **(flags if chance.random() < 0.7 else {"read": level > 1}),
            )
        )
    return rows


def newest_first(rows: list[dict[str, Any]]) -> list[str]:
    """The ids of rows in the order of the feed."""
    ordered = sorted(rows, key=lambda item: (item["createdAt"], item["_id"]), reverse=True)
    return [str(item["_id"]) for item in ordered]


def matching(rows: list[dict[str, Any]], wanted: service.NotificationFilter) -> list[dict[str, Any]]:
    """The plain model of a filter."""
    now = datetime.now(UTC)

    def matches(item: dict[str, Any]) -> bool:
        archived = item.get("archived", False)
        read = item["read"] or archived
        state = {"archived": archived, "read": read, "seen": item.get("seen", False) or read}
        flags: dict[str, Any] = {field.name: value for field, value in wanted.ListFields()}
        created = Timestamp()
        created.FromDatetime(item["createdAt"])
        at = created.ToNanoseconds()
        return (
            all(flags.get(name, value) == value for name, value in state.items())
            and (not wanted.types or TYPES[item["type"]] in wanted.types)
            and (not wanted.categories or item["category"] in wanted.categories)
            and (not wanted.thread_keys or item.get("threadKey") in wanted.thread_keys)
            and item.get("expiresAt", now + timedelta(days=1)) > now
            and (not wanted.HasField("created_after") or at >= wanted.created_after.ToNanoseconds())
            and (not wanted.HasField("created_before") or at < wanted.created_before.ToNanoseconds())
        )

    return [item for item in rows if matches(item)]


def all_filters(rows: list[dict[str, Any]]) -> list[service.NotificationFilter]:
    """Every combination of conditions, with and without each."""
    times = sorted(item["createdAt"] for item in rows)
    after, before = Timestamp(), Timestamp()
    after.FromDatetime(times[len(times) // 4])
    before.FromDatetime(times[-len(times) // 4])
    # Between two whole milliseconds: rows of the one before are not "after" it.
    after.nanos += 1
    flags = itertools.product((None, True, False), repeat=3)
    others = itertools.product((False, True), repeat=4)
    return [
        service.NotificationFilter(
            seen=seen,
            read=read,
            archived=archived,
            types=[TYPES["email"], TYPES["push"]] if typed else [],
            categories=["$type", "social"] if sorted_out else [],
            created_after=after if late else None,
            created_before=before if early else None,
        )
        for (seen, read, archived), (typed, sorted_out, late, early) in itertools.product(flags, others)
    ]


def in_threads(filters: list[service.NotificationFilter]) -> list[service.NotificationFilter]:
    """Every ninth of the filters, for two threads besides."""
    threads = service.NotificationFilter(thread_keys=["$type", "order:2", "order:1"])
    chosen = []
    for each in filters[::9]:
        threaded = service.NotificationFilter()
        threaded.CopyFrom(each)
        threaded.MergeFrom(threads)
        chosen.append(threaded)
    return chosen


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_filter_lists_and_counts_what_the_model_says(
    pymongo_notifications: Notifications, raw: Any, user_id: str, part: int
) -> None:
    """All 432 combinations, and some of threads: the right rows in order, and as many in the count and the total."""
    feed, rows = pymongo_notifications.feed, many(user_id, 97)
    for number, each in enumerate(rows[::2]):
        # Every other one of these has expired.
        each["expiresAt"] = each["createdAt"] + timedelta(days=number % 2)
    raw.notifications.insert_many([*rows, row(f"{user_id}_other")])
    filters = [*all_filters(rows), *in_threads(all_filters(rows))][part::PARTS]
    for wanted in filters:
        request = service.ListNotificationsRequest(
            user_id=user_id, filter=wanted, page_size=100, include_total=True, read_mask=FieldMask(paths=["id"])
        )
        page = await feed.ListNotifications(request)
        expected = newest_first(matching(rows, wanted))
        assert [item.id for item in page.notifications] == expected, wanted
        assert page.total_size == len(expected), wanted
        stats = await feed.GetNotificationStats(service.GetNotificationStatsRequest(user_id=user_id, filter=wanted))
        assert stats.total.total == sum(entry.total for entry in stats.types) == len(expected)
    for twenty in (filters[start : start + 20] for start in range(0, len(filters), 20)):
        counted = await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id, filters=twenty))
        assert counted.counts == [len(matching(rows, wanted)) for wanted in twenty]


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_pages_join_into_the_whole_list(notifications: Notifications, raw: Any, user_id: str, size: int) -> None:
    """Whatever the size, each row is there once, in order, though many share a millisecond."""
    rows = many(user_id, 50)
    raw.notifications.insert_many(rows)
    request = service.ListNotificationsRequest(user_id=user_id, page_size=size)
    found: list[str] = []
    while True:
        page = await notifications.feed.ListNotifications(request)
        found += [item.id for item in page.notifications]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == newest_first(rows)


@pytest.mark.parametrize(("size", "rows_shown"), [(0, 20), (5, 5), (100, 100), (2_000_000_000, 100)])
async def test_page_sizes_are_those_of_the_contract(
    pymongo_notifications: Notifications, raw: Any, user_id: str, size: int, rows_shown: int
) -> None:
    """AIP-158: none is 20, and more than 100 is 100."""
    raw.notifications.insert_many(many(user_id, 101))
    request = service.ListNotificationsRequest(user_id=user_id, page_size=size)
    assert len((await pymongo_notifications.feed.ListNotifications(request)).notifications) == rows_shown


async def test_a_page_token_serves_only_its_own_list(
    pymongo_notifications: Notifications, raw: Any, user_id: str
) -> None:
    """A token that was altered, made up, or given with another user or filter is refused with its reason."""
    feed = pymongo_notifications.feed
    raw.notifications.insert_many(many(user_id, 3))
    request = service.ListNotificationsRequest(user_id=user_id, page_size=1)
    token = (await feed.ListNotifications(request)).next_page_token
    read = service.ListNotificationsRequest(
        user_id=user_id, filter=service.NotificationFilter(read=True), page_token=token
    )
    altered = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    for wrong, expected in (
        (service.ListNotificationsRequest(user_id=user_id, page_token=altered), "PAGE_TOKEN_INVALID"),
        (service.ListNotificationsRequest(user_id=user_id, page_token="bm9uc2Vuc2U"), "PAGE_TOKEN_INVALID"),
        (service.ListNotificationsRequest(user_id="other", page_token=token), "PAGE_TOKEN_FILTER_MISMATCH"),
        (read, "PAGE_TOKEN_FILTER_MISMATCH"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await feed.ListNotifications(wrong)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason(caught.value) == expected
    # Size, mask and total may change from page to page, and an empty filter is none.
    request = service.ListNotificationsRequest(
        user_id=user_id, page_size=2, page_token=token, filter=service.NotificationFilter(), include_total=True
    )
    assert len((await feed.ListNotifications(request)).notifications) == 2


async def test_a_page_token_of_an_old_key_is_outdated(mongodb_module_database: MongoDatabase, user_id: str) -> None:
    """Once the key that sealed it is gone from the ring a token is invalid; while it is there, it serves."""
    old, new = "old:" + "b2xk" * 10 + "b2w=", "new:" + "bmV3" * 10 + "bmU="
    request = service.ListNotificationsRequest(user_id=user_id, page_size=1)
    async with running_notifications(mongodb_module_database, secret_keys=old) as running:
        for _ in range(2):
            await running.feed.CreateNotification(create(user_id))
        request.page_token = (await running.feed.ListNotifications(request)).next_page_token
    async with running_notifications(mongodb_module_database, secret_keys=f"{new},{old}") as running:
        assert len((await running.feed.ListNotifications(request)).notifications) == 1
    async with running_notifications(mongodb_module_database, secret_keys=new) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.feed.ListNotifications(request)
    assert reason(caught.value) == "PAGE_TOKEN_INVALID"


async def test_a_read_mask_leaves_the_other_fields_out(
    pymongo_notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Each field of the contract alone is what the whole row has there, in a list and in a get."""
    feed = pymongo_notifications.feed
    data = {"plan": "pro", "seats": 3}
    document = row(user_id, read=True, readAt=datetime.now(UTC), archived=True, category="billing", data=data)
    raw.notifications.insert_one(document)
    get = service.GetNotificationRequest(id=str(document["_id"]), user_id=user_id)
    whole = (await feed.GetNotification(get)).notification
    for name in pb.Notification.DESCRIPTOR.fields_by_name:
        mask = FieldMask(paths=[name])
        only = pb.Notification()
        FieldMask(paths=[name]).MergeMessage(whole, only)
        listed = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, read_mask=mask))
        get.read_mask.CopyFrom(mask)
        assert list(listed.notifications) == [only]
        assert (await feed.GetNotification(get)).notification == only


@pytest.mark.parametrize("path", ["titel", "id.x", ""])
async def test_an_unknown_path_in_a_mask_is_named(
    pymongo_notifications: Notifications, user_id: str, path: str
) -> None:
    """A mask that names no field is refused, not ignored."""
    mask = FieldMask(paths=["title", path])
    for call in (
        pymongo_notifications.feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id, read_mask=mask)),
        pymongo_notifications.feed.GetNotification(service.GetNotificationRequest(id=str(ObjectId()), read_mask=mask)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (reason(caught.value), violations(caught.value)) == ("FIELD_MASK_INVALID", ["read_mask"])


async def test_a_negative_page_size_is_refused(pymongo_notifications: Notifications, user_id: str) -> None:
    """AIP-158."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.feed.ListNotifications(
            service.ListNotificationsRequest(user_id=user_id, page_size=-1)
        )
    assert (reason(caught.value), violations(caught.value)) == ("INVALID_FIELDS", ["page_size"])
