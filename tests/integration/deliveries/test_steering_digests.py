"""CancelDelivery, RetryDelivery and reports, of digests and of what they carry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2 as service
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed

from notifications_service.outbox import following
from tests.harness.clocks import stored_now
from tests.harness.notifications import Notifications
from tests.harness.patience import until
from tests.harness.users import reason
from tests.integration.deliveries.rows import delivery, mailed, sum_of
from tests.integration.notifications.building import row as notification

HOUR = timedelta(hours=1)
STATE = notification_pb2.DeliveryState.Name
ALL = 3


def waiting(raw: Any, user_id: str, number: int = ALL, **fields: Any) -> list[str]:
    """Store items that wait for the digest of the next hour, with their notifications; return their ids."""
    due = stored_now() + HOUR
    waits = {"category": "news", "lane": "digest", "deferral": "digest", "dueAt": due, "digestAt": due}
    rows = [delivery(user_id, **(waits | fields)) for _ in range(number)]
    raw.deliveries.insert_many(rows)
    raw.notifications.insert_many(
        notification(user_id, _id=row["notificationId"], delivery=sum_of(row)) for row in rows
    )
    return [row["_id"] for row in rows]


def carried(raw: Any, user_id: str, state: str, number: int = ALL) -> tuple[str, list[str]]:
    """Store a digest in this state with what it carries; return its id, and theirs."""
    ends: dict[str, Any] = {} if state in {"pending", "sending"} else {"finishedAt": stored_now()}
    digest = delivery(user_id, kind="digest", category="news", state=state, lane="digest", **ends)
    digest.pop("notificationId")
    if ends:
        digest.pop("lane")
    raw.deliveries.insert_one(digest)
    theirs: dict[str, Any] = ends or {"lane": "carried", "dueAt": stored_now()}
    items = [
        delivery(user_id, category="news", state=state if ends else "pending", digestDeliveryId=digest["_id"], **theirs)
        for _ in range(number)
    ]
    raw.deliveries.insert_many(items)
    raw.notifications.insert_many(
        notification(user_id, _id=row["notificationId"], delivery=sum_of(row)) for row in items
    )
    return digest["_id"], [row["_id"] for row in items]


async def get(running: Notifications, id_: str) -> pb.Delivery:
    """Read a delivery."""
    return (await running.deliveries.GetDelivery(service.GetDeliveryRequest(id=id_))).delivery


async def told(running: Notifications, *ids: str) -> list[tuple[str, bool]]:
    """Return the state of each delivery, and whether a digest carries it."""
    found = [await get(running, id_) for id_ in ids]
    return [(STATE(each.state).removeprefix("DELIVERY_STATE_"), bool(each.digest_delivery_id)) for each in found]


async def summed(running: Notifications, id_: str) -> str:
    """Return the state by which the notification of a delivery sums it up."""
    key = (await get(running, id_)).notification_id
    answer = await running.feed.GetNotification(feed.GetNotificationRequest(id=key))
    return STATE(answer.notification.delivery_state).removeprefix("DELIVERY_STATE_")


async def conflicts(call: Any) -> bool:
    """Say whether a call is refused for the state of its delivery."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason(error) == "DELIVERY_STATE_CONFLICT"
    return False


async def test_what_waits_for_a_digest_says_so(notifications: Notifications, raw: Any, user_id: str) -> None:
    """In a get, in lists and in counts, with the time."""
    first, *_ = waiting(raw, user_id)
    chosen = pb.DeliveryFilter(user_id=user_id, deferrals=[pb.DELIVERY_DEFERRAL_DIGEST])
    answer = await notifications.deliveries.ListDeliveries(
        service.ListDeliveriesRequest(filter=chosen, include_total=True)
    )
    assert answer.total_size == len(answer.deliveries) == ALL
    found = await get(notifications, first)
    assert found.deferral == pb.DELIVERY_DEFERRAL_DIGEST
    assert found.deferred_until.ToDatetime() == raw.deliveries.find_one({"_id": first})["dueAt"]
    assert (found.digest_delivery_id, STATE(found.state)) == ("", "DELIVERY_STATE_PENDING")


async def test_what_waits_can_be_cancelled_and_queued_again(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Queued by hand, it is asked about anew, and goes with the next digest, not with one of the past."""
    [first] = waiting(raw, user_id, 1)
    await notifications.deliveries.CancelDelivery(service.CancelDeliveryRequest(id=first))
    assert await told(notifications, first) == [("CANCELLED", False)]
    assert not {"lane", "digestAt", "dueAt"} & raw.deliveries.find_one({"_id": first}).keys()
    before = stored_now()
    await notifications.deliveries.RetryDelivery(service.RetryDeliveryRequest(id=first))
    row = raw.deliveries.find_one({"_id": first})
    assert (row["state"], row.get("lane")) == ("pending", None)
    assert row["queuedAt"] >= before


async def test_an_item_leaves_a_digest_that_is_not_being_sent(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Cancelled by itself; the digest and the others stay, and a claim that comes at once conflicts with that."""
    digest, (first, *others) = carried(raw, user_id, "pending")
    await notifications.deliveries.CancelDelivery(service.CancelDeliveryRequest(id=first))
    assert await told(notifications, first) == [("CANCELLED", False)]
    assert await told(notifications, digest, *others) == [("PENDING", False), *[("PENDING", True)] * 2]
    assert raw.deliveries.find_one({"_id": digest})["rev"] == 2
    assert await summed(notifications, first) == "CANCELLED"


async def test_what_may_be_on_its_way_is_not_cancelled(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Neither the digest nor one that it carries."""
    digest, items = carried(raw, user_id, "sending")
    calls = notifications.deliveries
    for id_ in (digest, items[0]):
        assert await conflicts(calls.CancelDelivery(service.CancelDeliveryRequest(id=id_)))
    assert await told(notifications, digest, *items) == [("SENDING", False), *[("PENDING", True)] * ALL]


async def test_with_a_digest_all_that_it_carries_is_cancelled_and_queued(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """And their notifications sum that up each time."""
    digest, items = carried(raw, user_id, "pending")
    calls = notifications.deliveries
    await calls.CancelDelivery(service.CancelDeliveryRequest(id=digest))
    assert await told(notifications, digest, *items) == [("CANCELLED", False), *[("CANCELLED", True)] * ALL]
    assert {await summed(notifications, item) for item in items} == {"CANCELLED"}
    await calls.RetryDelivery(service.RetryDeliveryRequest(id=digest))
    assert await told(notifications, digest, *items) == [("PENDING", False), *[("PENDING", True)] * ALL]
    assert {await summed(notifications, item) for item in items} == {"PENDING"}
    lanes = {row["_id"]: row["lane"] for row in raw.deliveries.find({"userId": user_id})}
    assert lanes == {digest: "digest"} | dict.fromkeys(items, "carried")


async def test_an_item_of_a_digest_that_failed_goes_with_the_next(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """It is that digest's no more: who queues that again later does not send it twice."""
    digest, (first, *others) = carried(raw, user_id, "failed")
    calls = notifications.deliveries
    await calls.RetryDelivery(service.RetryDeliveryRequest(id=first))
    await calls.RetryDelivery(service.RetryDeliveryRequest(id=digest))
    assert await told(notifications, first, *others) == [("PENDING", False), *[("PENDING", True)] * 2]
    row = raw.deliveries.find_one({"_id": first})
    assert (row.get("lane"), "queuedAt" in row) == (None, True)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_batch_takes_digests_with_what_they_carry(
    notifications: Notifications, raw: Any, user_id: str, *, reverse: bool
) -> None:
    """In whatever order they are named, the items stay in their digest; and by a filter the same."""
    digest, items = carried(raw, user_id, "pending")
    ids = sorted([digest, *items], reverse=reverse)
    calls = notifications.deliveries
    answer = await calls.BatchCancelDeliveries(
        service.BatchCancelDeliveriesRequest(ids=service.BatchCancelDeliveriesRequest.Ids(ids=ids))
    )
    assert [each.id for each in answer.outcomes] == ids
    assert answer.changed_count == len(ids)
    assert await told(notifications, digest, *items) == [("CANCELLED", False), *[("CANCELLED", True)] * ALL]
    again = await calls.BatchRetryDeliveries(
        service.BatchRetryDeliveriesRequest(filter=pb.DeliveryFilter(user_id=user_id))
    )
    assert again.changed_count == len(ids)
    assert await told(notifications, digest, *items) == [("PENDING", False), *[("PENDING", True)] * ALL]


async def test_a_digest_that_came_back_takes_its_items_along(
    notifications: Notifications, raw: Any, user_id: str
) -> None:
    """Its address is suppressed, and all of them say that they bounced."""
    digest, items = carried(raw, user_id, "sent")
    raw.deliveries.update_one({"_id": digest}, {"$set": {"log": [mailed(f"{user_id}@example.com")]}})
    request = service.ReportDeliveryEventRequest(delivery_id=digest, event=service.DELIVERY_EVENT_HARD_BOUNCE)
    answer = await notifications.deliveries.ReportDeliveryEvent(request)
    assert answer.suppression.delivery_id == digest
    assert await told(notifications, digest, *items) == [("BOUNCED", False), *[("BOUNCED", True)] * ALL]
    assert {await summed(notifications, item) for item in items} == {"BOUNCED"}


@pytest.mark.long
async def test_the_items_of_a_large_digest_follow_in_the_end(
    pymongo_notifications: Notifications, raw: Any, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a transaction takes: the rest comes soon after, also where this process ends before."""
    monkeypatch.setattr(following, "BATCH", 2)
    digest, items = carried(raw, user_id, "pending", 5)
    await pymongo_notifications.deliveries.CancelDelivery(service.CancelDeliveryRequest(id=digest))
    following_is_left = {"_id": digest, "followAt": {"$exists": True}}
    await until_gone(raw, following_is_left)
    assert {state for state, _ in await told(pymongo_notifications, *items)} == {"CANCELLED"}


async def until_gone(raw: Any, query: dict[str, Any]) -> None:
    """Wait until nothing matches."""
    await until(lambda: raw.deliveries.count_documents(query) == 0, "what follows")


async def test_nothing_of_a_user_who_is_deleted_is_left(notifications: Notifications, raw: Any, user_id: str) -> None:
    """Neither what waits, nor digests, nor what they carry."""
    waiting(raw, user_id)
    carried(raw, user_id, "pending")
    carried(raw, user_id, "sent")
    await notifications.feed.DeleteUserNotifications(feed.DeleteUserNotificationsRequest(user_id=user_id))
    assert raw.deliveries.count_documents({"userId": user_id}) == 0
