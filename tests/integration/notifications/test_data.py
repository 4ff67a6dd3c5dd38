"""A caller's JSON comes back as it was given, by every way out, whatever MongoDB or its driver would make of it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service
from vibework.notifications.v1.notification_pb2 import Notification

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.users import reason, violations
from tests.integration.notifications.building import create

# Words that mean something to MongoDB, to its driver, or to programs in JavaScript.
KEYS = st.sampled_from(
    [
        *("$ref", "$id", "$db", "$set", "$date", "$numberLong", "$oid", "$where", "$", "", ".", "a.b", "a.$", "_id"),
        *("__proto__", "constructor", "toJSON", "_bsontype", "unreadable", "é", "\U0001f389", "\u0001", " ", "__v"),
    ]
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 5e-324, 2.0**31, -(2.0**31) - 1, 2.0**53 - 1, 2.0**53, 2.0**53 + 2, 2.0**63, 1e308, 0.1]
)


def references(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return what a driver of MongoDB takes for a reference, and what nearly is one."""
    database = st.none() | st.just("z") | st.just(7)
    return st.fixed_dictionaries({"$ref": st.just("x") | inner, "$id": inner}, optional={"$db": database, "k": inner})


JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4) | references(inner),
    max_leaves=12,
)


def examples() -> list[dict[str, Any]]:
    """Return objects of all kinds, the same each time: calls to a server are no part of the search for them."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=60, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(KEYS, JSON, max_size=4))
    def collect(data: dict[str, Any]) -> None:
        found.append(data)

    collect()
    return found


def struct_of(data: dict[str, Any]) -> Struct:
    """Return JSON as a Struct."""
    return json_format.ParseDict(data, Struct())


async def ways_out(notifications: Notifications, user_id: str, data: Struct) -> dict[str, Struct]:
    """Create a notification with this data; return the data as each way out tells it."""
    feed = notifications.feed
    request = create(user_id, data=data, request_id=str(uuid4()))
    first, repeated = [(await feed.CreateNotification(request)).notification for _ in range(2)]
    got = await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    listed = await feed.ListNotifications(service.ListNotificationsRequest(user_id=user_id))
    watched = await first_of_a_snapshot(notifications, user_id)
    mark = service.MarkNotificationsRequest(user_id=user_id, ids=[first.id], mark=service.NOTIFICATION_MARK_READ)
    assert (await feed.MarkNotifications(mark)).changed_count == 1
    renamed = Notification(id=first.id, title="New")
    update = service.UpdateNotificationRequest(notification=renamed, update_mask=FieldMask(paths=["title"]))
    updated = (await feed.UpdateNotification(update)).notification
    everything = service.MarkAllNotificationsRequest(user_id=user_id, mark=service.NOTIFICATION_MARK_UNSEEN)
    assert (await feed.MarkAllNotifications(everything)).changed_count == 1
    marked = await feed.GetNotification(service.GetNotificationRequest(id=first.id))
    await feed.DeleteUserNotifications(service.DeleteUserNotificationsRequest(user_id=user_id))
    return {
        "create": first.data,
        "repeat": repeated.data,
        "watch": watched.data,
        "get": got.notification.data,
        "list": listed.notifications[0].data,
        "update": updated.data,
        "after marks": marked.notification.data,
    }


async def first_of_a_snapshot(notifications: Notifications, user_id: str) -> pb.Notification:
    """Watch, and return the first notification that was there before."""
    snapshot = service.WatchNotificationsRequest.Snapshot()
    stream = notifications.feed.WatchNotifications(
        service.WatchNotificationsRequest(user_id=user_id, snapshot=snapshot)
    )
    found = None
    async for event in stream:
        if event.HasField("snapshot"):
            found = event.snapshot
            break
    stream.cancel()
    assert found is not None
    return found


def exact(data: Struct) -> bytes:
    """Return the bytes of a Struct, in which minus zero is not zero."""
    return data.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "data",
    [
        {"zero": -0.0},
        {"$ref": "x"},
        {"$ref": 5, "$id": 1},
        {"$ref": "x", "$id": 1},
        {"$ref": "x", "$id": {"$ref": "y", "$id": None}, "$db": "z", "more": [1]},
        {"list": [{"$id": 1, "$ref": "x"}], "object": {"$ref": "x", "$id": -0.0}},
        {"$ref": "x", "$id": 1, "$db": 7},
        {"large": 2.0**53 + 2, "small": 5e-324},
    ],
)
async def test_what_looks_like_something_else_comes_back(
    notifications: Notifications, user_id: str, data: dict[str, Any]
) -> None:
    """References of MongoDB, minus zero, and numbers at the ends of what JSON has: under both drivers."""
    given_data = struct_of(data)
    for way, found in (await ways_out(notifications, user_id, given_data)).items():
        assert exact(found) == exact(given_data), way


async def test_any_json_comes_back(mongodb_module_database: MongoDatabase, user_id: str) -> None:
    """What is accepted is read back to the bit, and what would not be is refused by its name."""
    tried = [*examples(), {"in": [{"$ref": "x", "$id": 1, "$db": None}]}]
    async with running_notifications(mongodb_module_database) as running:
        for start in range(0, len(tried), 20):
            part = tried[start : start + 20]
            await asyncio.gather(*(comes_back(running, f"{user_id}_{at}", data) for at, data in enumerate(part)))


async def comes_back(running: Notifications, user_id: str, data: dict[str, Any]) -> None:
    """Assert that data comes back as it is, or is refused for the one reason there is."""
    given_data = struct_of(data)
    if not has_reference_without_database(data):
        ways = await ways_out(running, user_id, given_data)
        assert {exact(way) for way in ways.values()} == {exact(given_data)}, data
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ways_out(running, user_id, given_data)
    assert (reason(caught.value), set(violations(caught.value))) == ("INVALID_FIELDS", {"content.data"}), data


def has_reference_without_database(value: Any) -> bool:
    """Whether there is a reference of MongoDB whose database is null: its driver loses the null."""
    if isinstance(value, list):
        return any(map(has_reference_without_database, value))
    if not isinstance(value, dict):
        return False
    is_one = isinstance(value.get("$ref"), str) and "$id" in value and "$db" in value and value["$db"] is None
    return is_one or any(map(has_reference_without_database, value.values()))
